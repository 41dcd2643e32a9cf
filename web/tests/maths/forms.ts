/** Random forms on random points, stored as an atlas stores them, with what they were made from. */
import type { FormPoints } from "../../src/data/types";
import { normal, type Random } from "../../src/maths/random";

export interface Made {
  page: FormPoints & { drawn: Uint8Array };
  /** (n)(r) */
  points: number[][];
  values: number[];
  form: number[][];
  linear: number[];
  constant: number;
}

export function makeForm(draw: Random, { n = 40, r = 5, unstored = 0.3, spread = 1 } = {}): Made {
  const form = Array.from({ length: r }, () => Array<number>(r).fill(0));
  for (let i = 0; i < r; i++) {
    for (let j = 0; j <= i; j++) form[i][j] = form[j][i] = Math.fround(normal(draw));
  }
  const linear = Array.from({ length: r }, () => Math.fround(normal(draw)));
  const constant = Math.fround(normal(draw));
  const points = Array.from({ length: n }, () =>
    Array.from({ length: r }, (_, a) => spread * (a + 1) * normal(draw) + a),
  );
  const values = points.map((p) => valueAt(p, form, linear, constant) + unstored * normal(draw));
  const scale = Array.from({ length: r }, (_, a) => Math.max(...points.map((p) => Math.abs(p[a]))));
  const valueScale = Math.max(...values.map(Math.abs));
  const stored = (x: number, most: number) => Math.round((x / most) * 32767);
  return {
    points,
    values,
    form,
    linear,
    constant,
    page: {
      spectrum: Float32Array.from({ length: r }, (_, a) => r - a),
      axes: r,
      axisKind: new Uint8Array(r),
      form: Float32Array.from(form.flat()),
      linear: Float32Array.from(linear),
      constant,
      scale: Float32Array.from(scale),
      valueScale,
      remainder: unstored,
      coordinates: Int16Array.from(scale.flatMap((s, a) => points.map((p) => stored(p[a], s)))),
      value: Int16Array.from(values, (v) => stored(v, valueScale)),
      drawn: Uint8Array.from({ length: n }, (_, i) => Number(i % 4 === 3)),
    },
  };
}

/** f(p) by its definition. */
export function valueAt(p: number[], form: number[][], linear: number[], constant: number): number {
  let value = constant;
  for (let i = 0; i < p.length; i++) {
    value += linear[i] * p[i];
    for (let j = 0; j < p.length; j++) value += p[i] * form[i][j] * p[j];
  }
  return value;
}
