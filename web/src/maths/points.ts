/**
 * A form's points in real units, and its slice on any three of its axes.
 *
 * With p the coordinates on all r stored axes, f(p) = pᵀAp + b·p + c + (what is not stored). On axes
 * i, j, k the slice keeps the entries of A and b that belong to them, and c; the rest is f − slice:
 * what the picture does not show.
 */
import type { FormPoints } from "../data/types";
import type { Slice } from "../scene/types";

/** The integer that stands for `scale`. */
export const FULL = 32767;

export type Axes = readonly [number, number, number];

/** Points that may say which of them are present and which were drawn at random. */
export type DrawnPoints = FormPoints & { drawn?: Uint8Array };

/** (3·n) point by point. An axis that is not stored, as in a form of two axes, is zero. */
export function positions(page: FormPoints, axes: Axes): Float32Array {
  const n = page.value.length;
  const result = new Float32Array(3 * n);
  axes.forEach((axis, k) => {
    if (axis >= page.axes) return;
    const unit = page.scale[axis] / FULL;
    const start = axis * n;
    for (let i = 0; i < n; i++) result[3 * i + k] = page.coordinates[start + i] * unit;
  });
  return result;
}

/** (n) the form at each point, on all of its axes. */
export function values(page: FormPoints): Float32Array {
  const unit = page.valueScale / FULL;
  return Float32Array.from(page.value, (value) => value * unit);
}

/** A, b and c on three axes. An axis that is not stored is flat. */
export function sliceOf(page: FormPoints, axes: Axes): Slice {
  const r = page.axes;
  const quadratic = new Float32Array(9);
  const linear: [number, number, number] = [0, 0, 0];
  axes.forEach((i, row) => {
    if (i >= r) return;
    linear[row] = page.linear[i];
    axes.forEach((j, column) => {
      if (j < r) quadratic[3 * row + column] = page.form[i * r + j];
    });
  });
  return { quadratic, linear, constant: page.constant };
}

/** (n) pᵀAp + b·p + c of positions given point by point. */
export function sliceValues(slice: Slice, positions: Float32Array): Float32Array {
  const { quadratic: a, linear: b, constant } = slice;
  const result = new Float32Array(positions.length / 3);
  for (let i = 0; i < result.length; i++) {
    const x = positions[3 * i];
    const y = positions[3 * i + 1];
    const z = positions[3 * i + 2];
    result[i] =
      x * (a[0] * x + a[1] * y + a[2] * z + b[0]) +
      y * (a[3] * x + a[4] * y + a[5] * z + b[1]) +
      z * (a[6] * x + a[7] * y + a[8] * z + b[2]) +
      constant;
  }
  return result;
}

/** (n) value − slice: the part of the form that the three axes do not show. */
export function rest(page: FormPoints, axes: Axes): Float32Array {
  const slice = sliceValues(sliceOf(page, axes), positions(page, axes));
  const whole = values(page);
  return whole.map((value, i) => value - slice[i]);
}

/** Standard deviation of the rest over the points that are present; over all where none is. */
export function restSpread(page: DrawnPoints, axes: Axes): number {
  const left = present(rest(page, axes), page.drawn);
  const mean = left.reduce((sum, value) => sum + value, 0) / left.length;
  return left.length ? Math.sqrt(meanSquare(left.map((value) => value - mean))) : 0;
}

/**
 * How much of the form the slice shows: 1 − Σ(value − slice)²/Σvalue² over the points that are
 * present; over all where none is. 1 where the slice is the value; 0 where it says no more than a
 * form that is zero everywhere, and below 0 where it says less. NaN where every value is zero.
 *
 * Squares are taken about zero and not about the mean: points of a form often lie on one of its
 * level sets, and a slice that gives just that level has no variance to explain.
 */
export function captured(page: DrawnPoints, axes: Axes): number {
  const left = meanSquare(present(rest(page, axes), page.drawn));
  return 1 - left / meanSquare(present(values(page), page.drawn));
}

const PRESENT = 0;

function present(numbers: Float32Array, drawn?: Uint8Array): Float32Array {
  return drawn?.includes(PRESENT) ? numbers.filter((_, i) => drawn[i] === PRESENT) : numbers;
}

function meanSquare(numbers: Float32Array): number {
  return numbers.reduce((sum, value) => sum + value * value, 0) / numbers.length;
}
