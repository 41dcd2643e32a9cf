import { expect, test } from "vitest";
import { niceStep, ticks, tickText } from "../../src/scene/ticks";

test("steps are 1, 2 or 5 times a power of ten", () => {
  expect(niceStep(10, 10)).toBe(1);
  expect(niceStep(2.4, 10)).toBeCloseTo(0.2);
  expect(niceStep(47, 10)).toBe(5);
  expect(niceStep(0.0009, 10)).toBeCloseTo(0.0001);
  expect(niceStep(0, 10)).toBe(1);
  expect(niceStep(Number.NaN, 10)).toBe(1);
});

test("ticks are the multiples within, ends included", () => {
  expect(ticks(-1, 1, 0.5)).toEqual([-1, -0.5, 0, 0.5, 1]);
  expect(ticks(0.3, 0.9, 0.5)).toEqual([0.5]);
  expect(ticks(0.6, 0.9, 0.5)).toEqual([]);
});

test("texts have the decimals of their step, a true minus, and no −0", () => {
  expect(tickText(-1.234, 0.01)).toBe("−1.23");
  expect(tickText(12, 5)).toBe("12");
  expect(tickText(-0.001, 0.1)).toBe("0.0");
  expect(tickText(1234567, 1e5)).toBe("1.2e+6");
  expect(tickText(-0.00012, 0.00001)).toBe("−1.2e−4");
});
