import { expect, it } from "vitest";
import { format, parse, Router } from "../../src/app/routes.svelte";

it("reads back every link that it writes", () => {
  for (const link of [
    "#/",
    "#/l/12?ax=0,1,2&c=0.35",
    "#/compare/7",
    "#/gallery",
    "#/compose?m=12:1,40:-0.5",
    "#/?range=evidence:0.5:,density::2&q=march",
  ]) {
    const { route, parameters } = parse(link);
    expect(format(route, parameters)).toBe(link);
  }
});

it("calls a path that it does not know unknown", () => {
  for (const path of ["l", "l/", "l/-1", "l/1/2", "l/1e3", "nothing", "gallery/3"]) {
    expect(parse(`#/${path}`).route).toEqual({ page: "unknown", path });
  }
});

it("opens without an address, as in a notebook", () => {
  const router = new Router({ window: false });
  router.go({ page: "form", id: 3 }, new URLSearchParams("c=1"));
  router.set({ c: null, by: "rest" });
  expect(router.route).toEqual({ page: "form", id: 3 });
  expect(router.parameters.toString()).toBe("by=rest");
  router.go({ page: "map" });
  expect(router.parameters.toString()).toBe("");
});

it("opens one page in place of another", () => {
  const router = new Router({ window: false });
  router.go({ page: "map" }, new URLSearchParams("q=march"));
  router.replace({ page: "form", id: 3 });
  expect(router.route).toEqual({ page: "form", id: 3 });
  expect(router.parameters.toString()).toBe("");
});
