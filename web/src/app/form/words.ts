/** The words behind the points of a form: which are frequent, where each has its middle, which are sought. */
import type { Atlas } from "../../data/types";
import { word } from "./token";

/** Labels beyond these would cover the cloud that they name. */
const MOST_LABELS = 16;
/** A word with fewer points has no place of its own; among points that were chosen it needs fewer. */
const LEAST_POINTS = 8;
const LEAST_CHOSEN = 3;
/** Rows that are asked for at a time. */
const BATCH = 512;
/** Pixels kept free between two labels. */
const GAP = 2;

export interface WordPlace {
  word: string;
  count: number;
  /** The mean of its points. */
  centre: [number, number, number];
}

/** In CSS pixels, from its upper left corner. */
export interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** The token of every row as it is shown, in the order of the rows. */
export async function readWords(
  atlas: Pick<Atlas, "passage">,
  rows: ArrayLike<number>,
): Promise<string[]> {
  const found = new Array<string>(rows.length).fill("");
  // Ascending, so that every file of tokens is read once however few are kept at a time.
  const order = Uint32Array.from({ length: rows.length }, (_, i) => i).sort((a, b) => rows[a] - rows[b]);
  for (let start = 0; start < order.length; start += BATCH) {
    await Promise.all(
      Array.from(order.subarray(start, start + BATCH), async (point) => {
        found[point] = word((await atlas.passage(rows[point], 1)).tokens[0]);
      }),
    );
  }
  return found;
}

/**
 * The most frequent words among some points, and where they are. `positions` (n·3) are of all
 * points; `chosen` says that the reader picked these, so that few of each are enough.
 */
export function frequentWords(
  words: readonly string[],
  points: Iterable<number>,
  positions: ArrayLike<number>,
  chosen: boolean,
): WordPlace[] {
  const groups = new Map<string, WordPlace>();
  for (const point of points) {
    const text = words[point];
    let group = groups.get(text);
    if (!group) groups.set(text, (group = { word: text, count: 0, centre: [0, 0, 0] }));
    group.count++;
    for (let k = 0; k < 3; k++) group.centre[k] += positions[3 * point + k];
  }
  const least = chosen ? LEAST_CHOSEN : LEAST_POINTS;
  return [...groups.values()]
    .filter(({ count }) => count >= least)
    .sort((a, b) => b.count - a.count || (a.word < b.word ? -1 : 1))
    .slice(0, MOST_LABELS)
    .map(({ word, count, centre }) => ({
      word,
      count,
      centre: centre.map((sum) => sum / count) as [number, number, number],
    }));
}

/**
 * Where boxes can be shown, those named first before the others: in their place, or if that is taken
 * a line above or below it; null where neither is free. `taken` is what stands in the view already.
 */
export function settled(
  boxes: readonly Box[],
  width: number,
  height: number,
  taken: readonly Box[] = [],
): (Box | null)[] {
  const kept = [...taken];
  return boxes.map((box) => {
    const free = [0, -1, 1]
      .map((lines) => ({ ...box, y: box.y + lines * box.height }))
      .find((tried) => inside(tried, width, height) && !kept.some((other) => overlap(tried, other)));
    if (free) kept.push(free);
    return free ?? null;
  });
}

function inside(box: Box, width: number, height: number): boolean {
  return box.x >= 0 && box.y >= 0 && box.x + box.width <= width && box.y + box.height <= height;
}

function overlap(a: Box, b: Box): boolean {
  return (
    a.x < b.x + b.width + GAP &&
    b.x < a.x + a.width + GAP &&
    a.y < b.y + b.height &&
    b.y < a.y + a.height
  );
}

/** What a reader wrote, as words: parted by commas or spaces, each once whatever its case. */
export function soughtIn(text: string): string[] {
  const found = new Map<string, string>();
  for (const each of text.split(/[\s,]+/)) {
    if (each && !found.has(each.toLowerCase())) found.set(each.toLowerCase(), each);
  }
  return [...found.values()];
}

/** (n) 1 for points whose word is one of the sought, in any case. */
export function matching(words: readonly string[], sought: readonly string[]): Uint8Array {
  const wanted = new Set(sought.map((each) => each.toLowerCase()));
  return Uint8Array.from(words, (each) => (wanted.has(each.toLowerCase()) ? 1 : 0));
}
