import { expect, it } from "vitest";
import { positionOf, shortPosition } from "../../src/app/form/position";

it("counts texts and positions from 0, as the store does", () => {
  expect(positionOf(0, 128)).toBe("text 0, position 0");
  expect(positionOf(128 * 1500 + 127, 128)).toBe("text 1,500, position 127");
  expect(shortPosition(129, 128)).toBe("1, 1");
});

it("is the row itself where there is no text", () => {
  expect(positionOf(12_345, 1)).toBe("row 12,345");
  expect(shortPosition(12_345, 1)).toBe("12,345");
});
