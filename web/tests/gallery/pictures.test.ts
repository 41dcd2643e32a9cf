import { describe, expect, it } from "vitest";
import { axesPicture, axisPicture, gapOf, rowPicture } from "../../src/app/gallery/pictures";
import { axisText, bySign, curvature } from "../../src/app/gallery/eigenvalues";
import type { Page } from "../../src/data/types";
import { heat } from "../../src/maths/colour";
import { openAtlas } from "../../src/data/open";
import { goldenImages } from "../data/golden";

/** Two axes of 2 × 3 pixels with one channel; the second is half as strong. */
const page = {
  axes: 2,
  axisKind: Uint8Array.of(0, 2),
  form: Float32Array.of(-0.5, 0, 0, 0),
  images: Int8Array.from([127, 0, -127, 64, 0, 0, 127, 0, -127, 0, 0, 0]),
  imageScale: Float32Array.of(2, 1),
} as unknown as Page;

const bytes = (t: number, shade: "light" | "dark") =>
  heat(t, shade).map((c) => Math.round(255 * c));
const pixel = (rgba: Uint8ClampedArray, width: number, x: number, y: number) =>
  [...rgba.subarray(4 * (y * width + x), 4 * (y * width + x) + 4)];

describe("axes as pictures", () => {
  it("are heat maps, row by row, with zero in the middle of the map", () => {
    for (const shade of ["light", "dark"] as const) {
      const { width, height, rgba } = axisPicture(page, 0, [2, 3, 1], shade);
      expect([width, height]).toEqual([3, 2]);
      expect(pixel(rgba, 3, 0, 0)).toEqual([...bytes(1, shade), 255]);
      expect(pixel(rgba, 3, 1, 0)).toEqual([...bytes(0, shade), 255]);
      expect(pixel(rgba, 3, 2, 0)).toEqual([...bytes(-1, shade), 255]);
      expect(pixel(rgba, 3, 0, 1)).toEqual([...bytes(129 / 256, shade), 255]);
    }
  });

  it("share one scale within a form", () => {
    const { rgba } = axisPicture(page, 1, [2, 3, 1], "light");
    expect(pixel(rgba, 3, 0, 0)).toEqual([...bytes(0.5, "light"), 255]);
    expect(pixel(rgba, 3, 2, 0)).toEqual([...bytes(-0.5, "light"), 255]);
  });

  it("stand side by side with a gap that is clear", () => {
    const strip = axesPicture(page, [1, 0], [2, 3, 1], "dark");
    expect([strip.width, strip.height]).toEqual([6 + gapOf(3), 2]);
    expect(pixel(strip.rgba, strip.width, 3, 1)).toEqual([0, 0, 0, 0]);
    expect(pixel(strip.rgba, strip.width, 4, 0)).toEqual([...bytes(1, "dark"), 255]);
  });

  it("of colour images have these colours about a middle grey", () => {
    const coloured = {
      ...page,
      axes: 1,
      images: Int8Array.from([127, -127, 0, 0, 0, 0]),
      imageScale: Float32Array.of(3),
    };
    const { rgba } = axisPicture(coloured, 0, [1, 2, 3], "light");
    expect(pixel(rgba, 2, 0, 0)).toEqual([255, 0, 128, 255]);
    expect(pixel(rgba, 2, 1, 0)).toEqual([128, 128, 128, 255]);
  });

  it("are drawn from the atlas that Python wrote", async () => {
    const atlas = await openAtlas(goldenImages());
    const form = await atlas.page(0);
    const { rgba } = axisPicture(form, 1, atlas.manifest.imageShape!, "light");
    const numbers = form.images!.subarray(64, 128);
    const [most, least] = [Math.max(...numbers), Math.min(...numbers)];
    const redness = (at: number) => rgba[4 * at] - rgba[4 * at + 2];
    expect(redness(numbers.indexOf(most))).toBeGreaterThan(60);
    expect(redness(numbers.indexOf(least))).toBeLessThan(-60);
  });
});

describe("rows as pictures", () => {
  it("are grey for one channel and coloured for three", () => {
    expect([...rowPicture(Uint8Array.of(7, 200), [1, 2, 1]).rgba]).toEqual([
      7, 7, 7, 255, 200, 200, 200, 255,
    ]);
    expect([...rowPicture(Uint8Array.of(1, 2, 3), [1, 1, 3]).rgba]).toEqual([1, 2, 3, 255]);
  });
});

describe("axes by sign", () => {
  const signed = (values: number[]) => {
    const form = new Float32Array(values.length ** 2);
    values.forEach((value, i) => (form[i * values.length + i] = value));
    return { axes: values.length, form } as unknown as Page;
  };

  it("are the strongest first on both sides, and a flat one is on neither", () => {
    expect(bySign(signed([-3, 2, 0.5, -4, 0, 2.5]))).toEqual({
      positive: [5, 1, 2],
      negative: [3, 0],
    });
  });

  it("can all be of one sign", () => {
    expect(bySign(signed([1, 2]))).toEqual({ positive: [1, 0], negative: [] });
  });
});

describe("what is said of an axis", () => {
  it("is its kind and its eigenvalue with a true minus", () => {
    expect(curvature(page, 0)).toBe(-0.5);
    expect(axisText(page, 0)).toBe("axis 1, eigenvalue −0.5");
    expect(axisText(page, 1)).toBe("axis 2, principal, curvature 0");
  });
});
