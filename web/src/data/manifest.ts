/** atlas.json: read first, and the place where a folder that this page cannot show is told so. */
import { AtlasError, type Manifest, type Measure, type Modality, type Statistic } from "./types";

export const MANIFEST = "atlas.json";
const FORMAT = "quadric-atlas";
const VERSION = 1;
/** What rows are called, by modality. */
export const ROWS: Record<Modality, string> = { text: "tokens", image: "images", vector: "vectors" };

export function parseManifest(bytes: ArrayBuffer | Uint8Array): Manifest {
  let content: unknown;
  try {
    content = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    throw new AtlasError(`${MANIFEST} is damaged: ${(error as Error).message}`);
  }
  const at = new Keys(content, "");
  const format = at.text("format");
  if (format !== FORMAT) {
    throw new AtlasError(`${MANIFEST} says it is a ${quote(format)}, and not a ${quote(FORMAT)}`);
  }
  const version = at.whole("version", 1);
  if (version > VERSION) {
    throw new AtlasError(
      `${MANIFEST} is of version ${version}, this page reads up to ${VERSION}: ` +
        "open it with a newer quadric",
    );
  }
  const manifest: Manifest = {
    format,
    version,
    title: at.text("title"),
    created: at.text("created"),
    quadricVersion: at.text("quadric_version"),
    modality: at.oneOf("modality", Object.keys(ROWS)) as Modality,
    facts: at.texts("facts"),
    forms: at.whole("forms"),
    shardSize: at.whole("shard_size", 1),
    rows: at.whole("rows"),
    contextSize: at.whole("context_size", 1),
    statistics: at.each("statistics", (s): Statistic => ({
      name: s.text("name"),
      title: s.text("title"),
      definition: s.text("definition"),
      logarithmic: s.flag("logarithmic"),
    })),
    colour: at.text("colour"),
    size: at.text("size"),
    measures: at.each("measures", (m): Measure => ({
      name: m.text("name"),
      title: m.text("title"),
      definition: m.text("definition"),
    })),
    controls: at.has("controls") ? at.whole("controls") : 0,
    comparison: at.has("comparison")
      ? { title: at.within("comparison").text("title"), facts: at.within("comparison").texts("facts") }
      : null,
    imageShape: at.has("image_shape")
      ? (at.numbers("image_shape", 3) as [number, number, number])
      : null,
    pixelRange: at.has("pixel_range") ? (at.numbers("pixel_range", 2) as [number, number]) : null,
  };
  for (const key of ["colour", "size"] as const) {
    if (!manifest.statistics.some((statistic) => statistic.name === manifest[key])) {
      throw new AtlasError(
        `${MANIFEST}: "${key}" is ${quote(manifest[key])}, which is not one of its statistics`,
      );
    }
  }
  if (manifest.modality === "image" && !manifest.imageShape) {
    throw at.wrong("image_shape", "three numbers");
  }
  return manifest;
}

/** The keys of one object of the file, with an error for each that is missing or of another kind. */
class Keys {
  readonly #content: Record<string, unknown>;
  readonly #path: string;

  constructor(content: unknown, path: string) {
    if (typeof content !== "object" || content === null || Array.isArray(content)) {
      const name = path ? `${MANIFEST}: "${path.slice(0, -1)}"` : MANIFEST;
      throw new AtlasError(`${name} is ${quote(content)}, and should be an object`);
    }
    this.#content = content as Record<string, unknown>;
    this.#path = path;
  }

  /** Whether an optional key is there; null stands for its absence. */
  has(key: string): boolean {
    return Object.hasOwn(this.#content, key) && this.#content[key] !== null;
  }

  wrong(key: string, expected: string): AtlasError {
    const name = `"${this.#path}${key}"`;
    if (!Object.hasOwn(this.#content, key)) {
      return new AtlasError(`${MANIFEST} has no ${name}, which should be ${expected}`);
    }
    const found = quote(this.#content[key]);
    return new AtlasError(`${MANIFEST}: ${name} is ${found}, and should be ${expected}`);
  }

  #take<T>(key: string, expected: string, holds: (value: unknown) => boolean): T {
    if (!Object.hasOwn(this.#content, key) || !holds(this.#content[key])) {
      throw this.wrong(key, expected);
    }
    return this.#content[key] as T;
  }

  text(key: string): string {
    return this.#take(key, "text", (value) => typeof value === "string");
  }

  flag(key: string): boolean {
    return this.#take(key, "true or false", (value) => typeof value === "boolean");
  }

  whole(key: string, least = 0): number {
    return this.#take(
      key,
      `a whole number from ${least}`,
      (value) => Number.isSafeInteger(value) && (value as number) >= least,
    );
  }

  oneOf(key: string, names: string[]): string {
    return this.#take(key, `one of ${names.join(", ")}`, (v) => names.includes(v as string));
  }

  numbers(key: string, count: number): number[] {
    return this.#take(
      key,
      `${count} numbers`,
      (v) => Array.isArray(v) && v.length === count && v.every((n) => Number.isFinite(n)),
    );
  }

  within(key: string): Keys {
    if (!this.has(key)) throw this.wrong(key, "an object");
    return new Keys(this.#content[key], `${this.#path}${key}.`);
  }

  /** Names and texts in their order. */
  texts(key: string): Record<string, string> {
    const inner = this.within(key);
    return Object.fromEntries(Object.keys(inner.#content).map((name) => [name, inner.text(name)]));
  }

  each<T>(key: string, read: (entry: Keys) => T): T[] {
    const entries = this.#take<unknown[]>(key, "a list", Array.isArray);
    return entries.map((entry, i) => read(new Keys(entry, `${this.#path}${key}[${i}].`)));
  }
}

function quote(value: unknown): string {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
}
