import { describe, expect, it } from "vitest";
import { rank } from "../../src/maths/rank";
import { extent, fromUnit, histogram, quantile, toUnit } from "../../src/maths/statistics";

describe("ranges", () => {
  it("are of the finite numbers, and of positive ones on a logarithmic scale", () => {
    expect(extent([3, NaN, -1, Infinity, 2])).toEqual([-1, 3]);
    expect(extent([0, 100, 1, -5], true)).toEqual([1, 100]);
    expect(extent([NaN])).toEqual([NaN, NaN]);
  });
});

describe("places in a range", () => {
  it("run from 0 to 1 and keep what is unknown", () => {
    expect([...toUnit([10, NaN, 20, 15])]).toEqual([0, NaN, 1, 0.5]);
    expect([...toUnit([1, 10, 100], true)].map((u) => +u.toFixed(6))).toEqual([0, 0.5, 1]);
  });
  it("go to the nearer end beyond it, like numbers without a logarithm", () => {
    expect([...toUnit([-5, 0, 5, Infinity], false, [0, 4])]).toEqual([0, 0, 1, 1]);
    expect([...toUnit([0, -1, 1, 100], true)]).toEqual([0, 0, 0, 1]);
  });
  it("are the middle where everything is the same, and NaN where nothing is known", () => {
    expect([...toUnit([7, 7])]).toEqual([0.5, 0.5]);
    expect([...toUnit([NaN, NaN])]).toEqual([NaN, NaN]);
  });
  it("lead back to the numbers", () => {
    for (const logarithmic of [false, true]) {
      const ends = [2, 50] as const;
      for (const value of [2, 3.7, 50]) {
        const [unit] = toUnit(Float64Array.of(value), logarithmic, ends);
        expect(fromUnit(unit, logarithmic, ends)).toBeCloseTo(value, 4);
      }
    }
  });
});

describe("quantiles", () => {
  it("lie between neighbours in proportion", () => {
    expect(quantile([4, 1, 3, 2], 0.5)).toBe(2.5);
    expect(quantile([4, 1, 3, 2], 0)).toBe(1);
    expect(quantile([4, 1, 3, 2], 1)).toBe(4);
    expect(quantile([], 0.5)).toBeNaN();
  });
});

describe("histograms", () => {
  it("count every finite number once, the largest in the last bin", () => {
    const { edges, counts } = histogram([0, 1, 2.4, 2.6, 10, NaN, Infinity], 4);
    expect([...edges]).toEqual([0, 2.5, 5, 7.5, 10]);
    expect([...counts]).toEqual([3, 1, 0, 1]);
  });
  it("leave out what lies beyond the ends they are given", () => {
    const { counts } = histogram([-1, 0, 0.6, 1, 2], 2, false, [0, 1]);
    expect([...counts]).toEqual([1, 2]);
  });
  it("have edges of equal ratio on a logarithmic scale", () => {
    const { edges, counts } = histogram([1, 5, 50, 100, 0], 2, true);
    edges.forEach((edge, i) => expect(edge).toBeCloseTo([1, 10, 100][i], 4));
    expect([...counts]).toEqual([2, 2]);
  });
});

describe("lists in the order of a statistic", () => {
  const column = Float32Array.from([2, NaN, 3, 2, -1, NaN, Infinity]);
  it("have what is unknown last either way, and equals as they were", () => {
    expect(rank([0, 1, 2, 3, 4, 5, 6], column)).toEqual([6, 2, 0, 3, 4, 1, 5]);
    expect(rank([3, 5, 2, 0, 1, 4], column, "ascending")).toEqual([4, 3, 0, 2, 5, 1]);
  });
  it("leave the list they are given as it is", () => {
    const places = [4, 2];
    rank(places, column);
    expect(places).toEqual([4, 2]);
  });
});
