import { describe, expect, it } from "vitest";
import { eigen3 } from "../../src/maths/eigen";
import { levels, nameQuadric } from "../../src/maths/quadric";
import { normal, random } from "../../src/maths/random";
import type { Slice } from "../../src/scene/types";
// Written by the Python function: python web/tests/maths/quadrics.py > web/tests/maths/quadrics.json
import cases from "./quadrics.json";
import { rotationOf } from "./rotations";

function turned(values: number[], linear: number[], constant: number, r: number[][]): Slice {
  const quadratic = new Float32Array(9);
  for (let i = 0; i < 3; i++) {
    for (let j = 0; j < 3; j++) {
      for (let k = 0; k < 3; k++) quadratic[3 * i + j] += r[i][k] * values[k] * r[j][k];
    }
  }
  const b = r.map((row) => row.reduce((sum, x, k) => sum + x * linear[k], 0));
  return { quadratic, linear: b as [number, number, number], constant };
}

const UPRIGHT = [
  [1, 0, 0],
  [0, 1, 0],
  [0, 0, 1],
];

describe("names of quadrics", () => {
  it("are those of Python on the eigenvectors' own axes", () => {
    expect(cases.length).toBeGreaterThan(500);
    for (const { values, linear, level, name } of cases) {
      const found = nameQuadric(turned(values, linear, 0, UPRIGHT), level);
      expect(found, JSON.stringify({ values, linear, level })).toBe(name);
    }
  });

  it("are the same on axes turned anyhow, and with a constant that the level contains", () => {
    const draw = random(1);
    for (const { values, linear, level, name } of cases) {
      const constant = Math.fround(normal(draw));
      const slice = turned(values, linear, constant, rotationOf(draw));
      // Turning in 32 bits leaves 1e-7 of what was zero, which must not be taken for a slope.
      expect(nameQuadric(slice, level + constant), JSON.stringify({ values, linear, level })).toBe(
        name,
      );
    }
  });
});

describe("eigenvalues", () => {
  it("give the matrix back, the largest first, with orthonormal vectors", () => {
    const draw = random(2);
    for (let trial = 0; trial < 200; trial++) {
      const a = new Float64Array(9);
      for (let i = 0; i < 3; i++) {
        for (let j = 0; j <= i; j++) a[3 * i + j] = a[3 * j + i] = normal(draw);
      }
      if (trial === 0) a.fill(0);
      if (trial === 1) a.set([2, 0, 0, 0, 2, 0, 0, 0, 2]);
      if (trial === 2) a.set([1, 1, 1, 1, 1, 1, 1, 1, 1]);
      if (trial === 3) a.set([1e8, 1e-3, 0, 1e-3, 1e-8, 0, 0, 0, 1]);
      const { values, vectors } = eigen3(a);
      const size = Math.max(...a.map(Math.abs), 1e-300);
      expect(values[0]).toBeGreaterThanOrEqual(values[1]);
      expect(values[1]).toBeGreaterThanOrEqual(values[2]);
      for (let i = 0; i < 3; i++) {
        for (let j = 0; j < 3; j++) {
          const back = values.reduce((s, value, k) => s + value * vectors[k][i] * vectors[k][j], 0);
          expect(Math.abs(back - a[3 * i + j])).toBeLessThan(1e-13 * size + 1e-300);
          const product = vectors[i].reduce((s, x, k) => s + x * vectors[j][k], 0);
          expect(product).toBeCloseTo(i === j ? 1 : 0, 12);
        }
      }
    }
  });
});

describe("levels", () => {
  it("start at the median of the stronger half of the dominant sign among present points", () => {
    // Present: −8 … −1 and 1, 2; the negative ones dominate, and the median of −8 … −5 is −6.5; by
    // linear quantiles of eight numbers the third quartile lies a quarter nearer to the middle.
    const present = [-1, -2, -3, -4, -5, -6, -7, -8, 1, 2];
    const values = Float32Array.from([...present, 100, 200]);
    const drawn = Uint8Array.from([...present.map(() => 0), 1, 1]);
    const found = levels(values, drawn);
    expect(found.start).toBeCloseTo(-6.25, 6);
    expect(found.least).toBeLessThan(-6.25);
    expect(found.most).toBeGreaterThan(100);
  });

  it("hold zero and do not follow a single outlier", () => {
    const values = Float32Array.from({ length: 1001 }, (_, i) => 1 + i / 1000);
    values[0] = 1e6;
    const found = levels(values);
    expect(found.least).toBe(0);
    expect(found.most).toBeLessThan(2.1);
    expect(found.start).toBeCloseTo(1.75, 1);
  });

  it("are a range even where nothing varies or nothing is known", () => {
    for (const values of [[], [0, 0], [NaN], [-2, -2]]) {
      const { least, most, start } = levels(Float32Array.from(values));
      expect(least).toBeLessThan(most);
      expect(start).toBeGreaterThanOrEqual(least);
      expect(start).toBeLessThanOrEqual(most);
    }
  });
});
