/**
 * How the map is looked at, as its link says:
 *
 *     #/?colour=evidence&size=importance&kind=latent&shape=ring,curved&range=evidence:0.5:,density::2
 *       &q=march&sort=-evidence&box=-100,-100,2000,400&at=12
 */
import { KINDS, type Kind, type Manifest, SHAPES, type Shape } from "../../data/types";

/** Ends of a range; null where it is open. */
export type Ends = [number | null, number | null];
/** Smallest x and y and largest x and y, as in forms.arrow. */
export type Box = [number, number, number, number];

export interface Sort {
  name: string;
  descending: boolean;
}

export interface MapLook {
  colour: string;
  /** Null where all marks have one size. */
  size: string | null;
  /** Empty for all. */
  kinds: Kind[];
  shapes: Shape[];
  ranges: Record<string, Ends>;
  words: string;
  /** Null for the atlas' own order, best first. */
  sort: Sort | null;
  box: Box | null;
  /** The form that is marked, by its id. */
  at: number | null;
}

const EQUAL = "equal";
/** What can be sorted by beside statistics. */
export const COLUMNS = ["id", "name", "shape"] as const;

/** The look in a link; what is missing, malformed or unknown to this atlas is left at its start. */
export function readLook(parameters: URLSearchParams, manifest: Manifest): MapLook {
  const names = manifest.statistics.map((each) => each.name);
  const known = (name: string | null) => (name !== null && names.includes(name) ? name : null);
  const size = parameters.get("size");
  const sort = parameters.get("sort");
  const by = sort?.replace(/^-/, "") ?? "";
  const at = parameters.get("at");
  return {
    colour: known(parameters.get("colour")) ?? known(manifest.colour) ?? names[0],
    size: size === EQUAL ? null : (known(size) ?? known(manifest.size)),
    kinds: several(KINDS, parameters.get("kind")),
    shapes: several(SHAPES, parameters.get("shape")),
    ranges: readRanges(parameters.get("range"), names),
    words: parameters.get("q") ?? "",
    sort:
      sort !== null && [...names, ...COLUMNS].includes(by)
        ? { name: by, descending: sort.startsWith("-") }
        : null,
    box: readBox(parameters.get("box")),
    at: at !== null && /^\d+$/.test(at) ? Number(at) : null,
  };
}

/** The parts of a link that give this look; null where the map starts that way. */
export function writeLook(look: MapLook, manifest: Manifest): Record<string, string | null> {
  const ranges = Object.entries(look.ranges).map(
    ([name, [low, high]]) => `${name}:${low ?? ""}:${high ?? ""}`,
  );
  return {
    colour: look.colour === manifest.colour ? null : look.colour,
    size: look.size === manifest.size ? null : (look.size ?? EQUAL),
    kind: look.kinds.join(",") || null,
    shape: look.shapes.join(",") || null,
    range: ranges.join(",") || null,
    q: look.words || null,
    sort: look.sort && `${look.sort.descending ? "-" : ""}${look.sort.name}`,
    box: look.box?.join(",") ?? null,
    at: look.at === null ? null : String(look.at),
  };
}

/** Whether fewer than all forms may pass. */
export function filters(look: MapLook): boolean {
  return (
    look.kinds.length > 0 ||
    look.shapes.length > 0 ||
    Object.values(look.ranges).some(([low, high]) => low !== null || high !== null) ||
    look.words.trim() !== "" ||
    look.box !== null
  );
}

function several<T extends string>(all: readonly T[], text: string | null): T[] {
  const named = text?.split(",") ?? [];
  return all.filter((each) => named.includes(each));
}

function readRanges(text: string | null, names: string[]): Record<string, Ends> {
  const ranges: Record<string, Ends> = {};
  for (const part of text?.split(",") ?? []) {
    const [name, low, high, ...rest] = part.split(":");
    if (!names.includes(name) || high === undefined || rest.length > 0) continue;
    const ends = [low, high].map((end) => (end.trim() === "" ? null : Number(end)));
    if (ends.some((end) => end !== null && !Number.isFinite(end))) continue;
    ranges[name] = ends as Ends;
  }
  return ranges;
}

function readBox(text: string | null): Box | null {
  const parts = text?.split(",") ?? [];
  const box = parts.map(Number);
  const written = parts.every((part) => part.trim() !== "");
  return written && box.length === 4 && box.every(Number.isFinite) ? (box as Box) : null;
}
