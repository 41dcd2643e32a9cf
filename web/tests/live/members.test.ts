import { expect, test } from "vitest";
import { formatMembers, limited, parseMembers } from "../../src/app/live/members";

test("a link gives back its members", () => {
  const members = [
    { id: 12, weight: 1 },
    { id: 40, weight: -0.5 },
  ];
  expect(formatMembers(members)).toBe("12:1,40:-0.5");
  expect(parseMembers("12:1,40:-0.5")).toEqual(members);
});

test("what is no member is left out, and so is an id that came before", () => {
  expect(parseMembers("12:1,x:2,7,8:,9:1e9,-1:2,12:3,:1, 5:.25")).toEqual([
    { id: 12, weight: 1 },
    { id: 5, weight: 0.25 },
  ]);
  expect(parseMembers(null)).toEqual([]);
  expect(parseMembers("")).toEqual([]);
});

test("a link holds no more members than the page can show", () => {
  const many = Array.from({ length: 40 }, (_, id) => `${id}:1`).join();
  expect(parseMembers(many)).toHaveLength(16);
});

test("weights stay within the sliders", () => {
  expect(limited(9)).toBe(4);
  expect(limited(-9)).toBe(-4);
  expect(limited(0.126)).toBe(0.13);
  expect(limited(NaN)).toBe(0);
  expect(Object.is(limited(-0.001), 0)).toBe(true);
});
