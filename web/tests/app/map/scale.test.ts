import { describe, expect, it } from "vitest";
import { beyond, histogram, middleScale, scaleOf } from "../../../src/app/map/scale";

describe("a linear scale", () => {
  const scale = scaleOf(Float32Array.of(4, NaN, -2, 1, Infinity), false);

  it("runs from the smallest to the largest finite number", () => {
    expect([scale.low, scale.high]).toEqual([-2, 4]);
    expect([-2, 1, 4].map(scale.position)).toEqual([0, 0.5, 1]);
    expect([0, 0.5, 1].map(scale.value)).toEqual([-2, 1, 4]);
    expect(scale.position(NaN)).toBeNaN();
    expect(scale.position(7)).toBeGreaterThan(1);
  });
});

describe("a logarithmic scale", () => {
  const column = Float32Array.of(0, 1, 10, 100, 1000, -3);
  const scale = scaleOf(column, true);

  it("has equal steps for equal factors", () => {
    expect(scale.low).toBe(1);
    expect(scale.position(10)).toBeCloseTo(1 / 3);
    expect(scale.value(2 / 3)).toBeCloseTo(100);
  });

  it("puts what has no logarithm at its start", () => {
    expect([0, -3].map(scale.position)).toEqual([0, 0]);
  });

  it("gives its ends exactly, so that a range at them loses no form", () => {
    const odd = scaleOf(Float32Array.of(0.1, 0.3), true);
    expect(odd.value(1)).toBe(Math.fround(0.3));
    expect(odd.value(0)).toBe(Math.fround(0.1));
  });
});

describe("a scale without width", () => {
  it("puts its only number in the middle", () => {
    expect(scaleOf(Float32Array.of(3, 3), false).position(3)).toBe(0.5);
    expect(scaleOf(Float32Array.of(NaN, NaN), false).position(NaN)).toBeNaN();
    expect(middleScale(Float32Array.of(NaN), true).position(1)).toBe(0.5);
  });
});

describe("the scale of the middle", () => {
  it("is not moved by a few far numbers", () => {
    const column = Float32Array.from({ length: 1001 }, (_, i) => i / 1024);
    column[1000] = 1e9;
    column[3] = NaN;
    const scale = middleScale(column, false);
    expect([scale.low, scale.high]).toEqual([2 / 1024, 998 / 1024]);
    expect(beyond(column, scale)).toEqual([true, true]);
    expect(beyond(column, scaleOf(column, false))).toEqual([false, false]);
  });
});

describe("a histogram", () => {
  it("counts every number once, the largest too, and NaN never", () => {
    const column = Float32Array.of(0, 0.2, 0.5, 0.99, 1, NaN);
    const scale = scaleOf(column, false);
    expect([...histogram(column, scale, 2)]).toEqual([2, 3]);
    expect([...histogram(column, scale, 2, Uint8Array.of(1, 0, 0, 0, 1, 1))]).toEqual([1, 1]);
  });
});
