/** Questions to the server of an atlas, with answers that are checked before a panel sees them. */
import { AtlasError, type Source } from "../../data/types";

/** A latent that responds to a token. */
export interface Response {
  id: number;
  value: number;
  label: string;
}

export interface Encoded {
  tokens: string[];
  /** For each token the latents that respond most, strongest first. */
  top: Response[][];
  /** Where the tokens lie on the form that was asked for: (tokens × r) and the form there. */
  path: { coordinates: number[][]; values: number[] } | null;
}

export interface Member {
  id: number;
  weight: number;
}

/** A sum of forms, in real units; the names are those of a form's page. */
export interface Composed {
  spectrum: number[];
  axes: number;
  axisKind: string[];
  /** (r·r), by rows. */
  form: number[];
  linear: number[];
  constant: number;
  /** (r × n) */
  coordinates: number[][];
  value: number[];
  row: number[];
  /** The token at each point; empty where rows are no text. */
  tokens: string[];
  /** The name of its level surface. */
  quadric: string;
}

export type Along = "gradient" | "level set";

export interface SteerQuestion {
  text: string;
  id: number;
  /** The token to move; null for the last. */
  position: number | null;
  along: Along;
  /** In norms of the activation along the gradient; in degrees along the level set. */
  amount: number;
  /** The plane of the turn, axes counted from 1. */
  axes: [number, number];
}

export interface TokenChange {
  token: string;
  /** Change of the logit. */
  logit: number;
  /** Its probability. */
  before: number;
  after: number;
}

export interface Steered {
  valueBefore: number;
  valueAfter: number;
  /** Length of the step as a share of the activation's norm. */
  moved: number;
  /** Degrees turned. */
  turned: number;
  /** KL(before ‖ after) of the next token, in nats. */
  kl: number;
  rising: TokenChange[];
  falling: TokenChange[];
  coordinatesBefore: number[];
  coordinatesAfter: number[];
  tokens: string[];
  position: number;
}

export async function encode(source: Source, text: string, id: number): Promise<Encoded> {
  const answer = await ask(source, "encode", { text, id });
  const tokens = answer.strings("tokens");
  const top = answer.list("top").map((list, token) =>
    (check("encode", "top", token, list, Array.isArray(list)) as unknown[]).map((entry) => {
      const response = new Answer("encode", entry);
      return {
        id: response.number("id"),
        value: response.number("value"),
        label: response.string("label"),
      };
    }),
  );
  answer.sameLength("top", top, tokens.length);
  if (answer.isNull("path")) return { tokens, top, path: null };
  const found = answer.part("path");
  const path = { coordinates: found.matrix("coordinates"), values: found.numbers("values") };
  found.sameLength("coordinates", path.coordinates, tokens.length);
  found.sameLength("values", path.values, tokens.length);
  return { tokens, top, path };
}

export async function compose(source: Source, members: Member[], points: number): Promise<Composed> {
  const answer = await ask(source, "compose", { members, points });
  const axes = answer.number("axes");
  const composed: Composed = {
    spectrum: answer.numbers("spectrum"),
    axes,
    axisKind: answer.strings("axis_kind"),
    form: answer.numbers("form"),
    linear: answer.numbers("linear"),
    constant: answer.number("constant"),
    coordinates: answer.matrix("coordinates"),
    value: answer.numbers("value"),
    row: answer.numbers("row"),
    tokens: answer.strings("tokens"),
    quadric: answer.string("quadric"),
  };
  answer.sameLength("axis_kind", composed.axisKind, axes);
  answer.sameLength("form", composed.form, axes * axes);
  answer.sameLength("linear", composed.linear, axes);
  answer.sameLength("coordinates", composed.coordinates, axes);
  for (const axis of composed.coordinates) {
    answer.sameLength("coordinates of an axis", axis, composed.value.length);
  }
  return composed;
}

export async function steer(source: Source, question: SteerQuestion): Promise<Steered> {
  const answer = await ask(source, "steer", question);
  return {
    valueBefore: answer.number("value_before"),
    valueAfter: answer.number("value_after"),
    moved: answer.number("moved"),
    turned: answer.number("turned"),
    kl: answer.number("kl"),
    rising: answer.list("rising").map(change),
    falling: answer.list("falling").map(change),
    coordinatesBefore: answer.numbers("coordinates_before"),
    coordinatesAfter: answer.numbers("coordinates_after"),
    tokens: answer.strings("tokens"),
    position: answer.number("position"),
  };
}

function change(entry: unknown): TokenChange {
  const answer = new Answer("steer", entry);
  return {
    token: answer.string("token"),
    logit: answer.number("logit"),
    before: answer.number("before"),
    after: answer.number("after"),
  };
}

async function ask(source: Source, path: string, body: unknown): Promise<Answer> {
  if (!source.ask) throw new AtlasError("this needs a server: open the atlas with quadric atlas serve");
  return new Answer(path, await source.ask<unknown>(path, body));
}

/** One object of an answer, read field by field; a field of another kind is an AtlasError. */
class Answer {
  readonly #fields: Record<string, unknown>;

  constructor(
    readonly path: string,
    value: unknown,
  ) {
    const object = typeof value === "object" && value !== null && !Array.isArray(value);
    this.#fields = check(path, "answer", null, value, object) as Record<string, unknown>;
  }

  isNull(name: string): boolean {
    return this.#fields[name] === null || this.#fields[name] === undefined;
  }

  part(name: string): Answer {
    return new Answer(this.path, this.#fields[name]);
  }

  number(name: string): number {
    const value = this.#fields[name];
    return check(this.path, name, null, value, Number.isFinite(value)) as number;
  }

  string(name: string): string {
    const value = this.#fields[name];
    return check(this.path, name, null, value, typeof value === "string") as string;
  }

  list(name: string): unknown[] {
    const value = this.#fields[name];
    return check(this.path, name, null, value, Array.isArray(value)) as unknown[];
  }

  numbers(name: string): number[] {
    return this.list(name).map((value, i) =>
      check(this.path, name, i, value, Number.isFinite(value)),
    ) as number[];
  }

  strings(name: string): string[] {
    return this.list(name).map((value, i) =>
      check(this.path, name, i, value, typeof value === "string"),
    ) as string[];
  }

  matrix(name: string): number[][] {
    return this.list(name).map((line, i) => {
      const numbers = Array.isArray(line) && line.every((value) => Number.isFinite(value));
      return check(this.path, name, i, line, numbers) as number[];
    });
  }

  sameLength(name: string, list: unknown[], length: number): void {
    if (list.length === length) return;
    throw new AtlasError(
      `the server's answer to ${this.path} has ${list.length} ${name} in place of ${length}; ` +
        "its version of quadric may be another than this page's",
    );
  }
}

function check(
  path: string,
  name: string,
  index: number | null,
  value: unknown,
  right: boolean,
): unknown {
  if (right) return value;
  const seen = value === undefined ? "nothing" : (JSON.stringify(value) ?? typeof value).slice(0, 40);
  const where = index === null ? name : `${name}[${index}]`;
  throw new AtlasError(
    `the server's answer to ${path} has ${seen} as ${where}; ` +
      "its version of quadric may be another than this page's",
  );
}
