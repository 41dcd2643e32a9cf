import { describe, expect, it } from "vitest";
import type { Score } from "../../src/data/types";
import { byName, described, isScored, nullTitle, verdict } from "../../src/app/form/verdict";

const score = (name: string, against: string, pValue: number): Score => ({
  name,
  value: 0.5,
  null: against,
  mean: 0.2,
  sd: 0.1,
  z: 3,
  pValue,
  draws: 199,
});

const SCORES = [
  score("ring", "gaussian", 0.005),
  score("ring", "random_forms", 0.04),
  score("dimension", "gaussian", 0.0001),
  score("clustering", "gaussian", 0.5),
];

describe("what is examined", () => {
  it("is every latent, and an output only where it has scores", () => {
    expect(isScored("latent", [])).toBe(true);
    expect(isScored("output", [])).toBe(false);
    expect(isScored("composed", [])).toBe(false);
    expect(isScored("output", SCORES)).toBe(true);
  });
});

describe("the verdict", () => {
  it("of a ring has the larger p of its two nulls, and names both", () => {
    const found = verdict("ring", SCORES);
    expect(found.title).toBe("Ring");
    expect(found.pValue).toBe(0.04);
    expect(found.sentence).toContain("p = 0.04");
    expect(found.sentence).toContain("Gaussian clouds of as many points and random forms");
    expect(found.sentence).toContain("199 draws");
  });

  it("of another shape is read from that shape's score", () => {
    expect(verdict("curved", SCORES).sentence).toContain("p < 0.001 for its dimension");
    expect(verdict("clusters", SCORES).sentence).toContain("p = 0.5 for its clustering");
    expect(verdict("blob", SCORES).sentence).toContain("p = 0.04");
  });

  it("has no p where nothing was scored", () => {
    expect(verdict("unscored", SCORES).pValue).toBeNull();
    expect(verdict("ring", []).pValue).toBeNull();
    expect(verdict("ring", []).sentence).not.toMatch(/p =|Infinity/);
  });
});

it("puts the nulls of a score together, in their order", () => {
  const groups = byName(SCORES);
  expect(groups.map(({ name }) => name)).toEqual(["ring", "dimension", "clustering"]);
  expect(groups[0].nulls.map((each) => each.null)).toEqual(["gaussian", "random_forms"]);
});

it("describes a score as the atlas does, and else spells out its name", () => {
  const ring = { name: "ring", title: "Roundness", definition: "How round.", logarithmic: false };
  expect(described("ring", [ring])).toMatchObject({ title: "Roundness", definition: "How round." });
  expect(described("token_order", [ring])).toEqual({ title: "Token order", definition: null });
  expect(nullTitle("shuffled_rows")).toBe("shuffled rows");
});
