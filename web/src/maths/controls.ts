/**
 * The same picture where there is nothing to see: points without the structure of a form's own, so
 * that a reader can tell a ring from what any cloud looks like on three axes.
 */
import type { Control, FormPoints } from "../data/types";
import { type DrawnPoints, FULL } from "./points";
import { normal, random, type Random } from "./random";

/**
 * Normal points with the mean and the covariance of the form's own on all stored axes, for the
 * present ones and for those drawn at random on their own. Values are pᵀAp + b·p + c of the new
 * points: without the remainder, which stored axes do not hold.
 */
export function gaussianControl(page: DrawnPoints, seed: number): FormPoints {
  const draw = random(seed);
  const columns = coordinates(page);
  for (const group of groups(page)) {
    const means = columns.map((column) => mean(group.map((i) => column[i])));
    const factor = choleskyFactor(covariance(columns, means, group));
    for (const i of group) {
      const z = means.map(() => normal(draw));
      columns.forEach((column, a) => {
        column[i] = means[a];
        for (let k = 0; k <= a; k++) column[i] += factor[a][k] * z[k];
      });
    }
  }
  return withCoordinates(page, columns);
}

/**
 * The form's own coordinates, each axis dealt out anew among the points: every axis looks as it did,
 * and nothing ties one to another. Present points and those drawn at random are dealt separately.
 */
export function shuffledControl(page: DrawnPoints, seed: number): FormPoints {
  const draw = random(seed);
  const columns = coordinates(page);
  for (const column of columns) {
    for (const group of groups(page)) shuffle(column, group, draw);
  }
  return withCoordinates(page, columns);
}

/** The form along random axes whose effective rank is nearest to the form's, with its own points. */
export function randomForm(controls: readonly Control[], page: FormPoints): FormPoints | null {
  const wanted = effectiveRank(page.spectrum);
  const distance = (control: Control) => Math.abs(control.effectiveRank - wanted);
  return controls.reduce<Control | null>(
    (best, control) => (best === null || distance(control) < distance(best) ? control : best),
    null,
  );
}

/** (Σ|λ|)²/Σλ²: how many eigenvalues there would be if all were as large; 0 without any. */
export function effectiveRank(spectrum: ArrayLike<number>): number {
  let total = 0;
  let squares = 0;
  for (let i = 0; i < spectrum.length; i++) {
    total += Math.abs(spectrum[i]);
    squares += spectrum[i] ** 2;
  }
  return squares > 0 ? total ** 2 / squares : 0;
}

/** (r)(n) coordinates in real units. */
function coordinates(page: FormPoints): Float64Array[] {
  const n = page.value.length;
  return Array.from({ length: page.axes }, (_, a) =>
    Float64Array.from(page.coordinates.subarray(a * n, (a + 1) * n), (stored) => {
      return (stored * page.scale[a]) / FULL;
    }),
  );
}

/** The numbers of the points that are present, and of those drawn at random. */
function groups(page: DrawnPoints): number[][] {
  const all = Array.from(page.value, (_, i) => i);
  if (!page.drawn) return [all];
  return [0, 1].map((drawn) => all.filter((i) => page.drawn![i] === drawn));
}

const mean = (numbers: number[]) => numbers.reduce((sum, x) => sum + x, 0) / numbers.length;

function covariance(columns: Float64Array[], means: number[], group: number[]): number[][] {
  return columns.map((x, a) =>
    columns.map((y, b) => mean(group.map((i) => (x[i] - means[a]) * (y[i] - means[b])))),
  );
}

/** L with LLᵀ = the matrix; an axis along which the points do not vary gets zeros. */
function choleskyFactor(matrix: number[][]): number[][] {
  const factor = matrix.map((row) => row.map(() => 0));
  matrix.forEach((row, i) => {
    for (let j = 0; j <= i; j++) {
      let left = row[j];
      for (let k = 0; k < j; k++) left -= factor[i][k] * factor[j][k];
      if (i === j) factor[i][i] = left > 1e-12 * row[i] ? Math.sqrt(left) : 0;
      else factor[i][j] = factor[j][j] > 0 ? left / factor[j][j] : 0;
    }
  });
  return factor;
}

/** Fisher and Yates, among the places of a group. */
function shuffle(column: Float64Array, group: number[], draw: Random) {
  for (let last = group.length - 1; last > 0; last--) {
    const other = Math.floor(draw() * (last + 1));
    const [i, j] = [group[last], group[other]];
    [column[i], column[j]] = [column[j], column[i]];
  }
}

/** The form on new points, stored as the page's own are. */
function withCoordinates(page: FormPoints, columns: Float64Array[]): FormPoints {
  const n = page.value.length;
  const r = page.axes;
  const whole = new Float64Array(n).map((_, i) => {
    let value = page.constant;
    for (let a = 0; a < r; a++) {
      let row = page.linear[a];
      for (let b = 0; b < r; b++) row += page.form[a * r + b] * columns[b][i];
      value += columns[a][i] * row;
    }
    return value;
  });
  const stored = columns.map(toStored);
  const value = toStored(whole);
  const all = new Int16Array(r * n);
  stored.forEach(({ numbers }, a) => all.set(numbers, a * n));
  return {
    spectrum: page.spectrum,
    axes: r,
    axisKind: page.axisKind,
    form: page.form,
    linear: page.linear,
    constant: page.constant,
    scale: Float32Array.from(stored, ({ scale }) => scale),
    valueScale: value.scale,
    remainder: 0,
    coordinates: all,
    value: value.numbers,
  };
}

function toStored(column: Float64Array): { numbers: Int16Array; scale: number } {
  const scale = Math.fround(column.reduce((most, x) => Math.max(most, Math.abs(x)), 0)) || 1;
  const numbers = Int16Array.from(column, (x) =>
    Math.max(-FULL, Math.min(FULL, Math.round((x / scale) * FULL))),
  );
  return { numbers, scale };
}
