/** Colours of points and marks as numbers for shaders; the maps are those of maths/colour. */
import { mix as mixed, parseHex, sequential as sequentialOf } from "../maths/colour";
import type { Theme } from "./types";

/** Red, green, blue in 0 … 1. */
export type Rgb = [number, number, number];

const LEVELS = 256;
let probe: CanvasRenderingContext2D | null = null;
/** A theme has seven colours, and they are asked for on every frame. */
const known = new Map<string, Rgb>();

/** Any CSS colour. */
export function rgb(colour: string): Rgb {
  let found = known.get(colour);
  if (found === undefined) known.set(colour, (found = read(colour)));
  return found;
}

function read(colour: string): Rgb {
  if (/^#[0-9a-f]{6}$/i.test(colour)) return parseHex(colour);
  if (probe === null) {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = 1;
    probe = canvas.getContext("2d", { willReadFrequently: true })!;
  }
  probe.fillStyle = colour;
  probe.fillRect(0, 0, 1, 1);
  const [r, g, b] = probe.getImageData(0, 0, 1, 1).data;
  return [r / 255, g / 255, b / 255];
}

export function mix(a: Rgb, b: Rgb, t: number): Rgb {
  return mixed(a, b, t);
}

/** For a canvas or a style. */
export function css([r, g, b]: Rgb, alpha = 1): string {
  const byte = (v: number) => Math.round(255 * v);
  return `rgb(${byte(r)} ${byte(g)} ${byte(b)} / ${alpha})`;
}

/** The colour of a number from −1 to 1. */
export function diverging(t: number, theme: Theme): Rgb {
  const end = rgb(t < 0 ? theme.negative : theme.positive);
  return mix(rgb(theme.neutral), end, Math.min(1, Math.abs(t) || 0));
}

/** The colour of a statistic from 0 to 1. */
export function sequential(t: number, theme: Theme): Rgb {
  return sequentialOf(t, theme.dark ? "dark" : "light");
}

/** The colour of a statistic that is not known. */
export function unknown(theme: Theme): Rgb {
  return sequential(Number.NaN, theme);
}

/** Colours (n·3) as bytes of n numbers from −1 to 1, by a table of 513. */
export function divergingBytes(values: Float32Array, theme: Theme): Uint8Array<ArrayBuffer> {
  const table = tabulate(2 * LEVELS + 1, (i) => diverging(i / LEVELS - 1, theme));
  return looked(values, table, (v) => Math.round(LEVELS * (1 + clamp(v, -1))));
}

/** Colours (n·3) as bytes of n numbers from 0 to 1; NaN is unknown. */
export function sequentialBytes(values: Float32Array, theme: Theme): Uint8Array<ArrayBuffer> {
  const table = tabulate(LEVELS + 2, (i) =>
    i > LEVELS ? unknown(theme) : sequential(i / LEVELS, theme),
  );
  return looked(values, table, (v) => (v !== v ? LEVELS + 1 : Math.round(LEVELS * clamp(v, 0))));
}

const clamp = (v: number, low: number) => (v > low ? (v < 1 ? v : 1) : v <= low ? low : 0);

function tabulate(n: number, colour: (i: number) => Rgb): Uint8Array {
  const table = new Uint8Array(3 * n);
  for (let i = 0; i < n; i++) table.set(colour(i).map((v) => Math.round(255 * v)), 3 * i);
  return table;
}

function looked(values: Float32Array, table: Uint8Array, index: (v: number) => number) {
  const bytes = new Uint8Array(3 * values.length);
  for (let i = 0; i < values.length; i++) {
    const at = 3 * index(values[i]);
    bytes[3 * i] = table[at];
    bytes[3 * i + 1] = table[at + 1];
    bytes[3 * i + 2] = table[at + 2];
  }
  return bytes;
}
