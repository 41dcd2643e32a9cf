import { describe, expect, it } from "vitest";
import { bars, placeOf, ticks } from "../../src/app/form/histogram";

const EDGES = [-10, -1, -0.1, 0.1, 1, 10];

describe("a histogram", () => {
  it("shows one row beside a million", () => {
    const [few, none, many] = bars([0, 1, 2, 3], [1, 0, 999_999]);
    expect(many.height).toBe(1);
    expect(none.height).toBe(0);
    expect(few.height).toBeCloseTo(Math.log(2) / Math.log(1e6), 10);
    expect([few.low, few.high]).toEqual([0, 1]);
  });

  it("has no bars where nothing was counted", () => {
    expect(bars([], [])).toEqual([]);
    expect(bars([0, 1], [0])[0].height).toBe(0);
  });

  it("places a value by the bars, which are equally wide", () => {
    expect(placeOf(EDGES, -10)).toBe(0);
    expect(placeOf(EDGES, 10)).toBe(1);
    expect(placeOf(EDGES, 0)).toBeCloseTo(0.5, 12);
    expect(placeOf(EDGES, 5.5)).toBeCloseTo(0.9, 12);
    EDGES.forEach((edge, i) => expect(placeOf(EDGES, edge)).toBeCloseTo(i / 5, 12));
  });

  it("has no place for what is beyond its edges", () => {
    expect(placeOf(EDGES, 10.1)).toBeNull();
    expect(placeOf(EDGES, -11)).toBeNull();
    expect(placeOf(EDGES, NaN)).toBeNull();
    expect(placeOf([], 0)).toBeNull();
  });

  it("marks zero and powers of ten, from the left and apart from each other", () => {
    const marks = ticks(EDGES);
    expect(marks.map(({ value }) => value)).toEqual([-10, -1, 0, 1, 10]);
    const crowded = ticks(EDGES, 0.3).map(({ value }) => value);
    expect(crowded).toEqual([-10, 0, 10]);
  });
});
