import { expect, it } from "vitest";
import { colours, radius, sizes } from "../../../src/app/map/marks";
import { scaleOf } from "../../../src/app/map/scale";

const column = Float32Array.of(0, 5, 10, NaN);
const scale = scaleOf(column, false);

it("gives equal steps of a number equal steps of area", () => {
  const [small, middle, large, unknown] = sizes(column, scale, 4).map((r) => r * r);
  expect(middle - small).toBeCloseTo(large - middle, 4);
  expect(large).toBeGreaterThan(small);
  expect(unknown).toBe(small);
});

it("draws all alike without a statistic, and no mark out of bounds", () => {
  expect(new Set(sizes(null, null, 3)).size).toBe(1);
  expect(radius(7, 4)).toBe(radius(1, 4));
  expect(radius(-7, 4)).toBe(radius(0, 4));
});

it("leaves an unknown number unknown to the colours", () => {
  expect([...colours(column, scale)]).toEqual([0, 0.5, 1, NaN]);
});
