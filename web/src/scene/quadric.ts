/** A slice f = level as an equation in the coordinates of the scene, and its roots along a ray. */
import type { Bounds } from "./bounds";
import type { Vector } from "./orbit";
import type { Slice } from "./types";

/** uᵀau + b·u + c = 0, with a largest coefficient of one. */
export interface Equation {
  /** (3·3) by rows, symmetric. */
  a: number[];
  b: Vector;
  c: number;
}

/** Null where f is the same everywhere, so that there is no surface. */
export function equation(slice: Slice, level: number, bounds: Bounds): Equation | null {
  const { centre: m, scale: s } = bounds;
  const q = slice.quadratic;
  const at = (i: number, j: number) => (q[3 * i + j] + q[3 * j + i]) / 2;
  const a: number[] = [];
  const b: Vector = [...slice.linear];
  let c = slice.constant - level;
  for (let i = 0; i < 3; i++) {
    c += slice.linear[i] * m[i];
    for (let j = 0; j < 3; j++) {
      a.push(s * s * at(i, j));
      b[i] += 2 * at(i, j) * m[j];
      c += m[i] * at(i, j) * m[j];
    }
    b[i] *= s;
  }
  // Numbers of one size keep the shader's single precision exact enough for the discriminant.
  const bend = Math.max(...a.map(Math.abs), ...b.map(Math.abs));
  const largest = Math.max(bend, Math.abs(c));
  if (!(bend > 1e-9 * largest) || !Number.isFinite(largest)) return null;
  return {
    a: a.map((v) => v / largest),
    b: b.map((v) => v / largest) as Vector,
    c: c / largest,
  };
}

/**
 * The conic in which a plane o + s·right + t·up cuts the surface: its value at (s, t), as
 * [ss, st, tt, s, t, 1].
 */
export function cut({ a, b, c }: Equation, o: Vector, right: Vector, up: Vector): number[] {
  const form = (x: Vector, y: Vector) =>
    x.reduce((sum, v, i) => sum + v * (a[3 * i] * y[0] + a[3 * i + 1] * y[1] + a[3 * i + 2] * y[2]), 0);
  const dot = (x: Vector) => b[0] * x[0] + b[1] * x[1] + b[2] * x[2];
  return [
    form(right, right),
    2 * form(right, up),
    form(up, up),
    2 * form(o, right) + dot(right),
    2 * form(o, up) + dot(up),
    form(o, o) + dot(o) + c,
  ];
}
