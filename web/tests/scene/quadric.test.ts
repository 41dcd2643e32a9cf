import { describe, expect, test } from "vitest";
import { type Bounds, boundsOf, toUnit, UNIT } from "../../src/scene/bounds";
import { conicSegments } from "../../src/scene/conic";
import type { Vector } from "../../src/scene/orbit";
import { cut, type Equation, equation } from "../../src/scene/quadric";
import type { Slice } from "../../src/scene/types";

const SLICE: Slice = {
  quadratic: new Float32Array([1.5, 0.3, -0.2, 0.3, -0.8, 0.25, -0.2, 0.25, 0.6]),
  linear: [0.4, -0.7, 0.2],
  constant: 0.3,
};
const BOUNDS: Bounds = { centre: [5, -3, 2], half: [2, 1, 0.7], scale: 2, holdsOrigin: false };

function form(slice: Slice, p: ArrayLike<number>): number {
  let value = slice.constant;
  for (let i = 0; i < 3; i++) {
    value += slice.linear[i] * p[i];
    for (let j = 0; j < 3; j++) value += p[i] * slice.quadratic[3 * i + j] * p[j];
  }
  return value;
}

function left({ a, b, c }: Equation, u: ArrayLike<number>): number {
  return form({ quadratic: Float32Array.from(a), linear: b, constant: c }, u);
}

describe("equation", () => {
  test("is f − level in the scene's coordinates, up to one positive factor", () => {
    const terms = equation(SLICE, 1.7, BOUNDS)!;
    const ratios = [
      [5, -3, 2],
      [5.5, -2, 2.5],
      [3.2, -4, 1],
      [7, -3.3, 0.4],
    ].map((p) => (form(SLICE, p) - 1.7) / left(terms, toUnit(Float32Array.from(p), BOUNDS)));
    for (const ratio of ratios) expect(ratio).toBeCloseTo(ratios[0], 3);
    expect(ratios[0]).toBeGreaterThan(0);
    expect(Math.max(...[...terms.a, ...terms.b, terms.c].map(Math.abs))).toBe(1);
  });

  test("treats an unsymmetric matrix as the form that it is", () => {
    const lopsided = { ...SLICE, quadratic: new Float32Array([0, 2, 0, 0, 0, 0, 0, 0, 0]) };
    const even = { ...SLICE, quadratic: new Float32Array([0, 1, 0, 1, 0, 0, 0, 0, 0]) };
    expect(equation(lopsided, 0, BOUNDS)).toEqual(equation(even, 0, BOUNDS));
  });

  test("is null where the form is the same everywhere, and where a number is none", () => {
    const flat: Slice = { quadratic: new Float32Array(9), linear: [0, 0, 0], constant: 1 };
    expect(equation(flat, 1, UNIT)).toBeNull();
    expect(equation(flat, 0, UNIT)).toBeNull();
    expect(equation(SLICE, Number.NaN, UNIT)).toBeNull();
  });
});

test("a cut has the equation's values on its plane", () => {
  const terms = equation(SLICE, 0.2, BOUNDS)!;
  const [o, right, up]: Vector[] = [
    [0.1, 0.2, -0.3],
    [0.6, 0.8, 0],
    [0, 0, 1],
  ];
  const [ss, st, tt, s1, t1, one] = cut(terms, o, right, up);
  for (const [s, t] of [
    [0, 0],
    [0.5, -0.3],
    [-1, 0.8],
  ]) {
    const at = o.map((v, i) => v + s * right[i] + t * up[i]);
    const value = ss * s * s + st * s * t + tt * t * t + s1 * s + t1 * t + one;
    expect(value).toBeCloseTo(left(terms, at), 5);
  }
});

describe("conicSegments", () => {
  test("a circle's lie on it and go all round", () => {
    const segments = conicSegments([1, 0, 1, 0, 0, -0.64], 1.5, 64);
    let length = 0;
    for (let k = 0; k < segments.length; k += 4) {
      const [ax, ay, bx, by] = segments.slice(k, k + 4);
      expect(Math.hypot(ax, ay)).toBeCloseTo(0.8, 2);
      length += Math.hypot(bx - ax, by - ay);
    }
    expect(length).toBeCloseTo(2 * Math.PI * 0.8, 1);
  });

  test("nothing where there is no root", () => {
    expect(conicSegments([1, 0, 1, 0, 0, 1], 1, 16)).toEqual([]);
  });
});

describe("boundsOf", () => {
  const corners = [-1, 1].flatMap((x) => [-1, 1].flatMap((y) => [-1, 1].map((z) => [x, y, z])));

  test("is a little larger than the points", () => {
    const bounds = boundsOf(Float32Array.from(corners.flat()));
    expect(bounds.centre).toEqual([0, 0, 0]);
    for (const half of bounds.half) expect(half).toBeCloseTo(1.12);
    expect(bounds.holdsOrigin).toBe(true);
  });

  test("an outlier does not shrink the rest", () => {
    const points = Array.from({ length: 400 }, (_, i) => corners[i % 8]).flat();
    points[0] = 1000;
    expect(boundsOf(Float32Array.from(points)).scale).toBeLessThan(2);
  });

  test("holds the origin when it is near, and not when it is far", () => {
    const near = boundsOf(Float32Array.from(corners.flatMap(([x, y, z]) => [x + 2, y, z])));
    expect(near.holdsOrigin).toBe(true);
    expect(near.centre[0] - near.half[0]).toBeLessThan(0);
    const far = boundsOf(Float32Array.from(corners.flatMap(([x, y, z]) => [x + 9, y, z])));
    expect(far.holdsOrigin).toBe(false);
    expect(far.centre[0]).toBeCloseTo(9);
  });

  test("a flat cloud, a single point, none at all, and numbers that are none", () => {
    const flat = boundsOf(Float32Array.from([-1, 0, 0, 1, 0, 0, 0, 0.5, 0]));
    expect(Math.min(...flat.half)).toBeGreaterThan(0.4 * flat.scale);
    for (const points of [[0, 0, 0], [3, 3, 3], [], [Number.NaN, 1, 2]]) {
      const { half, scale, centre } = boundsOf(Float32Array.from(points));
      for (const v of [...half, scale]) expect(v).toBeGreaterThan(0);
      for (const v of centre) expect(Number.isFinite(v)).toBe(true);
    }
  });
});
