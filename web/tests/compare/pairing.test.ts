import { expect, test } from "vitest";
import { aligned, correlation, typicalSize } from "../../src/app/compare/pairing";
import { positions, sliceOf, sliceValues } from "../../src/maths/points";
import { normal, random } from "../../src/maths/random";
import { makeForm } from "../maths/forms";

test("correlation is that of the textbook", () => {
  const a = Float32Array.from([1, 2, 3, 5]);
  expect(correlation(a, a.map((x) => 4 - 2 * x))).toBeCloseTo(-1, 6);
  // Σ(a−2.75)(b−1) = 1.75, Σ(a−2.75)² = 8.75, Σ(b−1)² = 2.
  expect(correlation(a, Float32Array.from([1, 0, 2, 1]))).toBeCloseTo(1 / Math.sqrt(17.5), 6);
  expect(correlation(a, Float32Array.from([2, 2, 2, 2]))).toBeNaN();
});

test("the typical size is that of the present points", () => {
  const values = Float32Array.from([3, -4, 100]);
  expect(typicalSize(values, Uint8Array.from([0, 0, 1]))).toBeCloseTo(Math.sqrt(12.5), 6);
  expect(typicalSize(values, Uint8Array.from([1, 1, 1]))).toBeCloseTo(Math.sqrt(10025 / 3), 4);
});

test("a form seen from its own first axes is itself, and a mirrored one comes back", () => {
  const { page } = makeForm(random(5), { r: 5, n: 200 });
  const reference = positions(page, [0, 1, 2]);
  const mirrored = reference.map((x, i) => (i % 3 === 1 ? -3 * x : 3 * x));
  for (const seen of [reference, mirrored]) {
    const found = aligned(page, seen);
    expect(found.error).toBeLessThan(1e-2);
  }
  const own = aligned(page, reference);
  const before = sliceValues(sliceOf(page, [0, 1, 2]), reference);
  const spread = Math.max(...before.map(Math.abs));
  sliceValues(own.slice, own.positions).forEach((value, i) =>
    expect(Math.abs(value - before[i]) / spread).toBeLessThan(0.02),
  );
});

test("clouds that have nothing in common leave nearly everything as error", () => {
  const draw = random(6);
  const { page } = makeForm(draw, { r: 3, n: 2000 });
  const noise = Float32Array.from({ length: 6000 }, () => normal(draw));
  expect(aligned(page, noise).error).toBeGreaterThan(0.95);
  expect(aligned(page, new Float32Array(6000)).error).toBe(1);
});

test("the error is the part of the reference that no turn and no scale can reach", () => {
  // On one axis p is 1 and −1; the reference has its points at a right angle. The best direction is
  // (1, −1)/√2, where both come to (½, −½, 0) and (−½, ½, 0): half of the square is left.
  const { page } = makeForm(random(7), { r: 1, n: 2 });
  const points = { ...page, scale: Float32Array.of(1), coordinates: Int16Array.of(32767, -32767) };
  const found = aligned(points, Float32Array.of(1, 0, 0, 0, 1, 0));
  expect(found.error).toBeCloseTo(Math.SQRT1_2, 6);
});
