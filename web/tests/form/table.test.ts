import { describe, expect, it } from "vitest";
import { aligned, decimalsFor, ordered, revealed, stretch } from "../../src/app/form/table";

describe("a table's order", () => {
  it("is that of the column, and of the points where they are equal", () => {
    const column = [2, -1, 2, 0];
    expect([...ordered(column, false)]).toEqual([1, 3, 0, 2]);
    expect([...ordered(column, true)]).toEqual([0, 2, 3, 1]);
  });
});

describe("the stretch in sight", () => {
  it("covers the box with a margin and stays inside the table", () => {
    expect(stretch(0, 100, 20, 1000)).toEqual({ first: 0, last: 11 });
    expect(stretch(1000, 100, 20, 1000)).toEqual({ first: 44, last: 61 });
    expect(stretch(19_900, 100, 20, 1000)).toEqual({ first: 989, last: 1000 });
    expect(stretch(0, 100, 20, 0)).toEqual({ first: 0, last: 0 });
  });

  it("is empty, not reversed, when a shorter table is still scrolled", () => {
    const { first, last } = stretch(5000, 100, 20, 3);
    expect(first).toBe(last);
  });

  it("moves only as far as a row needs", () => {
    expect(revealed(0, 50, 100, 20)).toBe(0);
    expect(revealed(4, 50, 100, 20)).toBe(50);
    expect(revealed(9, 50, 100, 20)).toBe(100);
  });
});

describe("numbers of a column", () => {
  it.each([
    [1.52, 2],
    [0.02, 4],
    [99, 1],
    [100, 0],
    [12_345, 0],
    [0, 0],
    [Infinity, 0],
  ])("up to %d have %d decimals", (most, decimals) => {
    expect(decimalsFor(most)).toBe(decimals);
  });

  it("have a true minus, and none before zero", () => {
    expect(aligned(-1.234, 2)).toBe("−1.23");
    expect(aligned(-0.001, 2)).toBe("0.00");
    expect(aligned(0, 0)).toBe("0");
    expect(aligned(0.5, 1, true)).toBe("+0.5");
    expect(aligned(0.001, 1, true)).toBe("0.0");
  });
});
