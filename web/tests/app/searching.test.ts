import { expect, it } from "vitest";
import { find } from "../../src/app/searching";
import type { Index, Labels } from "../../src/data/types";

const id = Uint32Array.of(312, 40, 12);
const index = { count: 3, id, placeOf: (wanted: number) => id.indexOf(wanted) } as Index;
const labels = { search: () => [0, 1, 2] } as unknown as Labels;

it("puts the form of this very id first, once", () => {
  expect(find(index, labels, " 12 ")).toEqual([2, 0, 1]);
});

it("leaves words in the atlas' order", () => {
  expect(find(index, labels, "dozen 12")).toEqual([0, 1, 2]);
});

it("finds ids before the words are there", () => {
  expect(find(index, null, "12")).toEqual([2, 0]);
  expect(find(index, null, "march")).toEqual([]);
});
