import { expect, it } from "vitest";
import { columnsOf, nextSort } from "../../../src/app/map/columns";
import type { Manifest } from "../../../src/data/types";

const manifest = {
  statistics: ["a", "b", "c"].map((name) => ({ name, title: name, definition: "" })),
} as Manifest;
const columns = columnsOf(manifest, ["c", "a"]);
const column = (name: string) => columns.find((each) => each.name === name)!;

it("puts what the map shows beside the name", () => {
  expect(columns.map((each) => each.name)).toEqual(["name", "c", "a", "shape", "id", "b"]);
});

it("sorts numbers from the largest, texts and ids from the first, and the third press ends it", () => {
  const falling = nextSort(null, column("a"));
  expect(falling).toEqual({ name: "a", descending: true });
  const rising = nextSort(falling, column("a"));
  expect(rising).toEqual({ name: "a", descending: false });
  expect(nextSort(rising, column("a"))).toBeNull();
  expect(nextSort(rising, column("name"))).toEqual({ name: "name", descending: false });
  expect(nextSort(null, column("id"))).toEqual({ name: "id", descending: false });
});
