/** The atlases that Python wrote for both languages' tests, and what is known of them. */
import { SURFACES } from "./surfaces";
import { DiskSource } from "./folder";

const FOLDER = new URL("../../../tests/atlas/golden", import.meta.url).pathname;
export const TEXT = `${FOLDER}/text`;
export const IMAGE = `${FOLDER}/image`;
export const golden = (changes = {}) => new DiskSource(TEXT, changes);
export const goldenImages = (changes = {}) => new DiskSource(IMAGE, changes);
export const HOSTILE = '<img src=x onerror="window.pwned=1">';

export const surfaceOf = (place: number) => SURFACES[place % SURFACES.length];

/** The token of a row, by the formula of src/quadric/atlas/folder/synthetic.py. */
export function tokenOf(row: number): number {
  const mixed = BigInt.asUintN(64, BigInt(row) * 0x9e3779b97f4a7c15n);
  return Number((mixed >> 40n) % 1024n);
}

/** Its text there; the ninth is hostile. */
export function wordOf(token: number): string {
  const odd = ["\n", " é", " 日本", "<b>", " &amp;", "\u200f", "\t", " \u{1f642}"];
  if (token === 9) return HOSTILE;
  if (token < odd.length) return odd[token];
  const syllable = (i: number) => "bdfgklmnprstvwyz"[i >> 1] + "ao"[i & 1];
  return ` ${syllable(token >> 5)}${syllable(token & 31)}`;
}

/** The byte of a row's image at x and y, likewise. */
export function pixelOf(row: number, x: number, y: number): number {
  const slope = Math.cos(row * 0.1) * (x / 7 - 0.5) + Math.sin(row * 0.1) * (y / 7 - 0.5);
  return 255 * Math.min(1, Math.max(0, 0.5 + 0.7 * slope));
}
