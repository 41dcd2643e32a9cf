import { expect, it } from "vitest";
import { count, short } from "../../src/app/numbers";

it("shows three digits, a true minus and no number that is none", () => {
  const shown: [number, string][] = [
    [0, "0"],
    [-0.12345, "−0.123"],
    [12.345, "12.3"],
    [123456.7, "123,457"],
    [4096, "4,096"],
    [2.5e-7, "2.5e−7"],
    [-3e9, "−3e9"],
    [NaN, "–"],
    [-Infinity, "−∞"],
  ];
  for (const [value, text] of shown) expect(short(value)).toBe(text);
  expect(count(-1234567)).toBe("−1,234,567");
});
