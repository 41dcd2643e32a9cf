import { describe, expect, it } from "vitest";
import {
  captured,
  positions,
  rest,
  restSpread,
  sliceOf,
  sliceValues,
  values,
} from "../../src/maths/points";
import { random } from "../../src/maths/random";
import { openAtlas } from "../../src/data/open";
import { golden, surfaceOf } from "../data/golden";
import { makeForm, valueAt } from "./forms";

const TRIPLES = [
  [0, 1, 2],
  [4, 0, 2],
  [1, 3, 4],
] as const;

describe("points in real units", () => {
  const { page, points, values: whole } = makeForm(random(3));

  it("are point by point, within half a step of their scale", () => {
    for (const axes of TRIPLES) {
      const found = positions(page, axes);
      expect(found.length).toBe(3 * points.length);
      points.forEach((p, i) => {
        axes.forEach((axis, k) => {
          const step = page.scale[axis] / 32767;
          expect(Math.abs(found[3 * i + k] - p[axis])).toBeLessThan(0.501 * step);
        });
      });
    }
  });

  it("have the values of the whole form", () => {
    const step = page.valueScale / 32767;
    values(page).forEach((v, i) => expect(Math.abs(v - whole[i])).toBeLessThan(0.501 * step));
  });
});

describe("slices", () => {
  it("are the form with all other coordinates zero", () => {
    const { page, points, form, linear, constant } = makeForm(random(4));
    for (const axes of TRIPLES) {
      const slice = sliceOf(page, axes);
      const exact = Float32Array.from(points.flatMap((p) => axes.map((axis) => p[axis])));
      const found = sliceValues(slice, exact);
      points.forEach((p, i) => {
        const alone = p.map((x, axis) => (axes.includes(axis as never) ? x : 0));
        const expected = valueAt(alone, form, linear, constant);
        expect(Math.abs(found[i] - expected)).toBeLessThan(1e-4 * (1 + Math.abs(expected)));
      });
    }
  });

  it("are flat along axes that a form of one or two axes does not have", () => {
    for (const r of [1, 2]) {
      const { page, points, form, linear, constant } = makeForm(random(5), { r });
      const found = sliceValues(sliceOf(page, [0, 1, 2]), positions(page, [0, 1, 2]));
      points.forEach((p, i) => {
        const expected = valueAt(p, form, linear, constant);
        expect(Math.abs(found[i] - expected)).toBeLessThan(2e-3 * (1 + Math.abs(expected)));
      });
      expect(positions(page, [0, 1, 2]).filter((_, i) => i % 3 >= r).some(Boolean)).toBe(false);
    }
  });
});

describe("what a slice leaves out", () => {
  it("and the slice are the value", () => {
    const { page } = makeForm(random(6));
    const axes = [3, 1, 0] as const;
    const shown = sliceValues(sliceOf(page, axes), positions(page, axes));
    const left = rest(page, axes);
    values(page).forEach((v, i) => expect(shown[i] + left[i]).toBeCloseTo(v, 2));
  });

  it("is nothing but rounding where three axes are all there are", () => {
    const { page } = makeForm(random(7), { r: 3, unstored: 0 });
    expect(captured(page, [0, 1, 2])).toBeGreaterThan(0.9999);
    expect(restSpread(page, [0, 1, 2])).toBeLessThan(1e-3 * page.valueScale);
  });

  it("is measured on the present points alone, about its mean", () => {
    const { page, points, values: whole, form, linear, constant } = makeForm(random(8), { n: 400 });
    const axes = [0, 2, 4] as const;
    const left = points.map((p, i) => {
      const alone = p.map((x, axis) => (axes.includes(axis as never) ? x : 0));
      return whole[i] - valueAt(alone, form, linear, constant);
    });
    const present = (numbers: number[]) => numbers.filter((_, i) => page.drawn[i] === 0);
    const variance = (numbers: number[]) => {
      const mean = numbers.reduce((a, b) => a + b) / numbers.length;
      return numbers.reduce((sum, x) => sum + (x - mean) ** 2, 0) / numbers.length;
    };
    const spread = Math.sqrt(variance(present(left)));
    expect(restSpread(page, axes)).toBeCloseTo(spread, 1);
    expect(spread).not.toBeCloseTo(Math.sqrt(variance(left)), 1);
    const square = (numbers: number[]) => numbers.reduce((sum, x) => sum + x * x, 0);
    const share = 1 - square(present(left)) / square(present(whole));
    expect(captured(page, axes)).toBeCloseTo(share, 3);
    expect(share).not.toBeCloseTo(1 - square(left) / square(whole), 3);
  });

  it("is little where the points lie on one level set", async () => {
    // Values of 1 but for a remainder of 0.03: nothing varies, and yet the slice says all there is.
    const page = await (await openAtlas(golden())).page(1);
    expect(surfaceOf(1)).toMatchObject({ name: "one-sheet hyperboloid", level: 1 });
    expect(captured(page, [0, 1, 2])).toBeGreaterThan(0.99);
    expect(captured(page, [0, 1, 3])).toBeLessThan(0.8);
  });

  it("is measured on all points where none is present", () => {
    const { page } = makeForm(random(9));
    const all = restSpread({ ...page, drawn: undefined }, [0, 1, 2]);
    expect(restSpread({ ...page, drawn: page.drawn.map(() => 1) }, [0, 1, 2])).toBe(all);
  });
});
