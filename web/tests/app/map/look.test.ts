import { describe, expect, it } from "vitest";
import { filters, type MapLook, readLook, writeLook } from "../../../src/app/map/look";
import type { Manifest } from "../../../src/data/types";

const manifest = {
  statistics: ["evidence", "density", "rank"].map((name) => ({
    name,
    title: name,
    definition: "",
    logarithmic: false,
  })),
  colour: "evidence",
  size: "density",
} as Manifest;

const read = (link: string) => readLook(new URLSearchParams(link), manifest);
function link(look: MapLook): string {
  const written = Object.entries(writeLook(look, manifest)).filter(([, value]) => value !== null);
  return decodeURIComponent(new URLSearchParams(written as [string, string][]).toString());
}

describe("the map's link", () => {
  it("is empty for the map as it starts", () => {
    expect(link(read(""))).toBe("");
    expect(read("")).toMatchObject({ colour: "evidence", size: "density", sort: null, at: null });
  });

  it("says the same look again", () => {
    for (const text of [
      "colour=rank&size=equal&kind=latent,group&shape=curved,ring&range=rank:2:8.5,density::0.25",
      "range=evidence:-1e-7:&q=march+ides&sort=-rank&box=-32767,-5,0,32767&at=12",
      "sort=name",
    ]) {
      expect(link(readLook(new URLSearchParams(text), manifest))).toBe(text);
    }
  });

  it("ignores what this atlas does not have and what is malformed", () => {
    const plain = read("");
    for (const text of [
      "colour=nothing&size=nothing&kind=planet&shape=,&sort=nothing&sort=-",
      "range=nothing:1:2,rank:1,rank:a:2,rank:1:2:3",
      "box=1,2,3&at=-1",
      "box=1,2,,4&at=1.5",
    ]) {
      expect(read(text)).toEqual(plain);
    }
  });

  it("keeps an open range without calling it a filter", () => {
    expect(read("range=rank::").ranges).toEqual({ rank: [null, null] });
    expect(filters(read("range=rank::&colour=rank&sort=id&at=3"))).toBe(false);
    for (const text of ["kind=latent", "shape=ring", "range=rank:0:", "q=a", "box=0,0,1,1"]) {
      expect(filters(read(text))).toBe(true);
    }
  });
});
