import { describe, expect, it } from "vitest";
import { held, honesty, misleads, percent } from "../../src/app/form/honesty";

const SHOWN = {
  cloud: "real" as const,
  captured: 0.83,
  spread: 0.12,
  remainder: 0.034,
  stored: 8,
  present: 1024,
  random: 512,
  scale: 1.5,
};

describe("what the picture holds", () => {
  it("is said in numbers", () => {
    const [slice, remainder, points] = honesty(SHOWN);
    expect(slice).toContain("83 % of the form's mean square");
    expect(slice).toContain("0.12");
    expect(remainder).toContain("8 stored axes");
    expect(remainder).toContain("0.034");
    expect(points).toContain("1,024");
    expect(points).toContain("half");
    expect(points).toContain("512");
    expect(points).toContain("without looking");
  });

  it("does not call a slice that is worse than nothing a share", () => {
    expect(honesty({ ...SHOWN, captured: -0.4 })[0]).toContain("no more");
    expect(honesty({ ...SHOWN, captured: -0.4 })[0]).toContain("−40 %");
  });

  it("speaks of all where only rounding is left out, also of values that are all zero", () => {
    for (const captured of [0.99, NaN, -Infinity]) {
      const exact = { ...SHOWN, captured, spread: 1e-4, remainder: 0 };
      expect(held(exact)).toBe("100 %");
      expect(honesty(exact)[0]).toContain("all of the form's value");
      expect(honesty(exact)[1]).toContain("Nothing lies beyond");
    }
  });

  it("has no percentage of nothing", () => {
    const nothing = { ...SHOWN, captured: -Infinity };
    expect(held(nothing)).toBe("–");
    expect(honesty(nothing)[0]).toContain("zero at every point");
    expect(honesty(nothing).join()).not.toMatch(/NaN|Infinity/);
  });

  it("does not call the points of a control rows", () => {
    const shuffled = honesty({ ...SHOWN, cloud: "shuffled" })[2];
    expect(shuffled).toContain("1,024 made-up points");
    expect(shuffled).not.toContain("rows");
    const random = honesty({ ...SHOWN, cloud: "random", random: 0 })[2];
    expect(random).toContain("the random form is most present");
  });

  it("does not mention random points where there are none", () => {
    expect(honesty({ ...SHOWN, random: 0 })[2]).not.toContain("without looking");
    expect(misleads({ ...SHOWN, random: 0 }).join()).not.toContain("faint");
  });
});

describe("where it misleads", () => {
  it("begins with a slice that holds less than half", () => {
    expect(misleads({ ...SHOWN, captured: 0.49 })[0]).toContain("Less than half");
    expect(misleads({ ...SHOWN, captured: NaN })[0]).toContain("Less than half");
    expect(misleads(SHOWN)[0]).not.toContain("Less than half");
  });

  it("says by how much the surface is moved, and where colours end", () => {
    const all = misleads(SHOWN).join();
    expect(all).toContain("0.12");
    expect(all).toContain("±1.5");
  });
});

it.each([
  [0.832, "83 %"],
  [0.0512, "5.1 %"],
  [0.9975, "99.8 %"],
  [0.9996, "> 99.9 %"],
  [1, "100 %"],
  [0, "0 %"],
  [-0.4, "−40 %"],
  [-0.0001, "0 %"],
])("%d is %s", (share, text) => {
  expect(percent(share)).toBe(text);
});
