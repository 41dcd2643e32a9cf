import { describe, expect, it } from "vitest";
import { readLook } from "../../../src/app/map/look";
import { boxAround, listed, ordered, passing } from "../../../src/app/map/passing";
import type { Index, Labels, Manifest } from "../../../src/data/types";

const columns: Record<string, Float32Array> = {
  rank: Float32Array.of(3, NaN, 1, 3, 2),
};
const id = Uint32Array.of(40, 7, 12, 9, 112);
const index: Index = {
  count: 5,
  id,
  kind: Uint8Array.of(0, 0, 2, 0, 1),
  shape: Uint8Array.of(4, 0, 4, 3, 0),
  x: Int16Array.of(0, 10, 20, 30, 40),
  y: Int16Array.of(5, -5, 5, -5, 5),
  positive: new Uint16Array(5),
  negative: new Uint16Array(5),
  statistic: (name) => columns[name],
  placeOf: (wanted) => id.indexOf(wanted),
};
const names = ["march", "days", "", "april", "march 10"];
const labels: Labels = {
  label: (place) => names[place],
  writtenLabel: (place) => (place === 2 ? "Brackets" : ""),
  tokens: () => [],
  quadric: () => "",
  members: () => [],
  search: (text) =>
    [...id.keys()].filter((place) => `${names[place]}\n${id[place]}`.includes(text)),
};
const manifest = {
  statistics: [{ name: "rank", title: "rank", definition: "", logarithmic: false }],
  colour: "rank",
  size: "rank",
} as Manifest;

const pass = (link: string, words: Labels | null = labels) => [
  ...passing(index, words, readLook(new URLSearchParams(link), manifest)),
];

describe("filters", () => {
  it("let everything pass at first", () => {
    expect(pass("")).toEqual([1, 1, 1, 1, 1]);
  });

  it("keep kinds, shapes and words, all at once", () => {
    expect(pass("kind=latent")).toEqual([1, 1, 0, 1, 0]);
    expect(pass("shape=ring,curved")).toEqual([1, 0, 1, 1, 0]);
    expect(pass("q=march")).toEqual([1, 0, 0, 0, 1]);
    expect(pass("kind=latent&shape=ring&q=march")).toEqual([1, 0, 0, 0, 0]);
  });

  it("find ids while the words are not there", () => {
    expect(pass("q=12", null)).toEqual([0, 0, 1, 0, 1]);
    expect(pass("q=march", null)).toEqual([0, 0, 0, 0, 0]);
  });

  it("keep a range with its ends, and no unknown number", () => {
    expect(pass("range=rank:2:3")).toEqual([1, 0, 0, 1, 1]);
    expect(pass("range=rank::2")).toEqual([0, 0, 1, 0, 1]);
    expect(pass("range=rank:-9:")).toEqual([1, 0, 1, 1, 1]);
    expect(pass("range=rank::")).toEqual([1, 1, 1, 1, 1]);
  });

  it("keep a box that was drawn around forms", () => {
    const box = boxAround(index, [1, 3]);
    expect(box).toEqual([10, -5, 30, -5]);
    expect(pass(`box=${box}`)).toEqual([0, 1, 0, 1, 0]);
  });
});

describe("the order", () => {
  const order = (name: string, descending: boolean) => [
    ...ordered(index, labels, { name, descending }),
  ];

  it("is the atlas' own without a sort", () => {
    expect([...ordered(index, labels, null)]).toEqual([0, 1, 2, 3, 4]);
  });

  it("leaves ties best first and unknown numbers last, both ways", () => {
    expect(order("rank", true)).toEqual([0, 3, 4, 2, 1]);
    expect(order("rank", false)).toEqual([2, 4, 0, 3, 1]);
  });

  it("sorts names as people do, a form without one by its kind and id", () => {
    expect(order("name", false)).toEqual([3, 2, 1, 0, 4]);
    expect([...ordered(index, null, { name: "name", descending: false })]).toEqual([4, 2, 1, 3, 0]);
  });

  it("lists what passes", () => {
    expect(listed(Uint32Array.of(4, 2, 0), Uint8Array.of(1, 0, 0, 0, 1))).toEqual([4, 0]);
  });
});
