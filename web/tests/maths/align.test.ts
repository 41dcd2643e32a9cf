import { expect, it } from "vitest";
import type { FormPoints } from "../../src/data/types";
import { framePositions, frameSlice, matchingFrame, type Frame } from "../../src/maths/align";
import { sliceValues } from "../../src/maths/points";
import { normal, random, type Random } from "../../src/maths/random";
import { makeForm, valueAt } from "./forms";

/** Three random directions at right angles among r axes, by rows. */
function directionsOf(draw: Random, r: number): Frame {
  const rows: number[][] = [];
  while (rows.length < 3) {
    let row = Array.from({ length: r }, () => normal(draw));
    for (const other of rows) {
      const along = row.reduce((sum, x, j) => sum + x * other[j], 0);
      row = row.map((x, j) => x - along * other[j]);
    }
    rows.push(row.map((x) => x / Math.hypot(...row)));
  }
  return { directions: Float64Array.from(rows.flat()), width: r };
}

function cosine(a: Float32Array, b: Float32Array): number {
  const dot = (x: Float32Array, y: Float32Array) => x.reduce((sum, v, i) => sum + v * y[i], 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}

function expectOrthonormal({ directions, width }: Frame) {
  for (let a = 0; a < 3; a++) {
    for (let b = 0; b < 3; b++) {
      let product = 0;
      for (let j = 0; j < width; j++) product += directions[a * width + j] * directions[b * width + j];
      expect(product).toBeCloseTo(a === b ? 1 : 0, 6);
    }
  }
}

it("finds the directions from which the reference was seen, in any unit", () => {
  const draw = random(31);
  for (const r of [3, 4, 6, 8]) {
    const { page } = makeForm(draw, { r, n: 120 });
    const truth = directionsOf(draw, r);
    const reference = framePositions(page, truth).map((x) => 0.2 * x);
    const found = matchingFrame(page, reference);
    expectOrthonormal(found);
    expect(cosine(framePositions(page, found), reference)).toBeGreaterThan(0.9999);
    found.directions.forEach((x, i) => expect(x).toBeCloseTo(truth.directions[i], 1));
  }
});

it("is better than any other three directions", () => {
  const draw = random(32);
  const { page } = makeForm(draw, { r: 5, n: 60 });
  const reference = framePositions(page, directionsOf(draw, 5)).map((x) => x + 3 * normal(draw));
  const best = cosine(framePositions(page, matchingFrame(page, reference)), reference);
  expect(best).toBeLessThan(0.99);
  for (let trial = 0; trial < 3000; trial++) {
    const other = framePositions(page, directionsOf(draw, 5));
    expect(cosine(other, reference)).toBeLessThanOrEqual(best + 1e-6);
  }
});

it("is orthonormal for points in a plane, all at the origin, or on fewer axes than three", () => {
  const draw = random(33);
  const { page } = makeForm(draw, { r: 4, n: 30 });
  const flat = { ...page, scale: Float32Array.from([1, 1, 0, 0]) };
  const none = { ...page, scale: new Float32Array(4) };
  const two = makeForm(draw, { r: 2, n: 30 }).page;
  const reference = Float32Array.from({ length: 90 }, () => normal(draw));
  for (const points of [flat, none, two]) {
    expectOrthonormal(matchingFrame(points, reference));
    expectOrthonormal(matchingFrame(points, new Float32Array(90)));
  }
});

it("gives a point in the frame the value that the form has there", () => {
  const draw = random(34);
  for (const r of [2, 3, 5]) {
    const made = makeForm(draw, { r });
    const reference = Float32Array.from({ length: 120 }, () => normal(draw));
    const frame = matchingFrame(made.page, reference);
    const slice = frameSlice(made.page, frame);
    for (let trial = 0; trial < 20; trial++) {
      const q = [normal(draw), normal(draw), normal(draw)];
      const p = Array.from({ length: r }, (_, j) =>
        q.reduce((sum, x, a) => sum + x * frame.directions[a * frame.width + j], 0),
      );
      const value = valueAt(p, made.form, made.linear, made.constant);
      expect(sliceValues(slice, Float32Array.from(q))[0]).toBeCloseTo(value, 3);
    }
  }
});

it("needs as many points on either side", () => {
  const page: FormPoints = makeForm(random(1), { n: 4 }).page;
  expect(() => matchingFrame(page, new Float32Array(9))).toThrow("4 points");
});
