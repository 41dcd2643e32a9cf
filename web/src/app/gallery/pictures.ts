/**
 * Axes and rows as pictures: RGBA bytes for a canvas.
 *
 * An axis of grey images is a heat map, orange above zero and blue below, its zero the paper. An axis of
 * colour images is shown in these colours about a middle grey. All axes of a form share one scale.
 */
import type { Page } from "../../data/types";
import { heat, type Palette, PALETTES, scaleOf, type Shade } from "../../maths/colour";

/** Height, width, channels. */
export type ImageShape = readonly [number, number, number];

export interface Picture {
  width: number;
  height: number;
  /** (height·width·4) */
  rgba: Uint8ClampedArray<ArrayBuffer>;
}

/** Columns left empty between pictures in a strip, as a share of their width. */
const GAP = 1 / 12;
const LEVELS = 256;

export function gapOf(width: number): number {
  return Math.max(1, Math.round(width * GAP));
}

/** One axis. */
export function axisPicture(
  page: Page,
  axis: number,
  shape: ImageShape,
  shade: Shade,
  palette?: Palette,
): Picture {
  return axesPicture(page, [axis], shape, shade, palette);
}

/** Several axes side by side. */
export function axesPicture(
  page: Page,
  axes: readonly number[],
  [height, width, channels]: ImageShape,
  shade: Shade,
  palette: Palette = PALETTES[0],
): Picture {
  const gap = gapOf(width);
  const picture = blank(axes.length * width + (axes.length - 1) * gap, height);
  const size = height * width * channels;
  const unit = imageUnit(page);
  axes.forEach((axis, i) => {
    const numbers = page.images!.subarray(axis * size, (axis + 1) * size);
    const share = page.imageScale![axis] / 127 / unit;
    const left = i * (width + gap);
    if (channels === 1) paintHeat(picture, left, width, numbers, share, tableOf(shade, palette));
    else paint(picture, left, width, channels, (at) => 127.5 * (1 + numbers[at] * share));
  });
  return picture;
}

/** The image of a row; bytes as they are stored. */
export function rowPicture(bytes: Uint8Array, [height, width, channels]: ImageShape): Picture {
  const picture = blank(width, height);
  paint(picture, 0, width, channels, (at) => bytes[at]);
  return picture;
}

const units = new WeakMap<Page, number>();

/** The number that is drawn in full colour: the 99th percentile of the sizes on all axes. */
function imageUnit(page: Page): number {
  let unit = units.get(page);
  if (unit === undefined) {
    const size = page.images!.length / page.axes;
    const real = Float32Array.from(page.images!, (stored, at) => {
      return (stored * page.imageScale![Math.floor(at / size)]) / 127;
    });
    unit = scaleOf(real);
    units.set(page, unit);
  }
  return unit;
}

const tables = new Map<string, Uint8Array>();

/** Colours of −1 … 1 in equal steps, because a picture asks for thousands. */
function tableOf(shade: Shade, palette: Palette): Uint8Array {
  const key = `${shade} ${palette}`;
  let table = tables.get(key);
  if (!table) {
    table = new Uint8Array(3 * (2 * LEVELS + 1));
    for (let i = 0; i <= 2 * LEVELS; i++) {
      const colour = heat(i / LEVELS - 1, shade, palette);
      table.set(colour.map((c) => Math.round(255 * c)), 3 * i);
    }
    tables.set(key, table);
  }
  return table;
}

function blank(width: number, height: number): Picture {
  return { width, height, rgba: new Uint8ClampedArray(4 * width * height) };
}

function paintHeat(
  picture: Picture,
  left: number,
  width: number,
  numbers: Int8Array,
  share: number,
  table: Uint8Array,
) {
  for (let at = 0; at < numbers.length; at++) {
    const t = Math.max(-1, Math.min(1, numbers[at] * share));
    const from = 3 * Math.round(LEVELS * (1 + t));
    const to = 4 * (Math.floor(at / width) * picture.width + left + (at % width));
    picture.rgba.set(table.subarray(from, from + 3), to);
    picture.rgba[to + 3] = 255;
  }
}

/** Red, green and blue from the first three channels; grey from one, or from a first of two. */
function paint(
  picture: Picture,
  left: number,
  width: number,
  channels: number,
  byteAt: (at: number) => number,
) {
  const [green, blue] = channels >= 3 ? [1, 2] : [0, 0];
  for (let y = 0; y < picture.height; y++) {
    for (let x = 0; x < width; x++) {
      const at = (y * width + x) * channels;
      const to = 4 * (y * picture.width + left + x);
      picture.rgba[to] = byteAt(at);
      picture.rgba[to + 1] = byteAt(at + green);
      picture.rgba[to + 2] = byteAt(at + blue);
      picture.rgba[to + 3] = 255;
    }
  }
}
