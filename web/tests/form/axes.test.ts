import { describe, expect, it } from "vitest";
import { axisLabel, axisOfBar, axisTitle } from "../../src/app/form/axes";
import type { FormPoints } from "../../src/data/types";

/** A form of four axes: two eigenvectors, a shared direction and a flat one. */
function form(change: Partial<FormPoints> = {}): FormPoints {
  const diagonal = [0.9, -0.5, 0.3, 0];
  const quadratic = new Float32Array(16);
  diagonal.forEach((value, i) => (quadratic[5 * i] = value));
  return {
    spectrum: Float32Array.from([0.9, -0.5, 0.1]),
    axes: 4,
    axisKind: Uint8Array.from([0, 0, 1, 2]),
    form: quadratic,
    linear: new Float32Array(4),
    constant: 0,
    scale: new Float32Array(4).fill(1),
    valueScale: 1,
    remainder: 0,
    coordinates: new Int16Array(0),
    value: new Int16Array(0),
    ...change,
  };
}

describe("an axis", () => {
  it("is named by its kind and by what the form does along it", () => {
    expect(axisTitle(form(), 1)).toBe("2: eigenvector, λ = −0.5");
    expect(axisTitle(form(), 2)).toContain("shared direction");
    expect(axisTitle(form(), 2)).toContain("0.3");
    expect(axisTitle(form(), 3)).toContain("the form is flat here");
    expect(axisTitle(form(), 4)).toContain("not stored");
  });

  it("has its letter in the cloud", () => {
    expect(axisLabel(form(), 1, "x")).toBe("x: λ₂");
    expect(axisLabel(form(), 3, "z")).toBe("z: flat");
    expect(axisLabel(form(), 9, "y")).toBe("y");
  });
});

describe("the bars of a spectrum", () => {
  it("are those of the eigenvectors only", () => {
    expect([...axisOfBar(form())]).toEqual([0, 1, -1]);
  });

  it("are not a shared direction's, whatever the form does along it", () => {
    const alike = form();
    alike.form[10] = 0.1;
    expect([...axisOfBar(alike)]).toEqual([0, 1, -1]);
  });

  it("are found by their value, not by their place", () => {
    expect([...axisOfBar(form({ spectrum: Float32Array.from([0.9, 0.6, -0.5]) }))]).toEqual([0, -1, 1]);
  });

  it("belong to one axis each where two are equal", () => {
    const twice = form({ spectrum: Float32Array.from([0.9, 0.9]) });
    twice.form[5] = 0.9;
    expect([...axisOfBar(twice)]).toEqual([0, 1]);
  });
});
