import {
  columnFromArray,
  float32,
  int16,
  list,
  tableFromColumns,
  tableFromArrays,
  tableFromIPC,
  tableToIPC,
  uint32,
  uint8,
  utf8,
} from "@uwdata/flechette";
import { describe, expect, it } from "vitest";
import { readLabels } from "../../src/data/labels";
import { openAtlas } from "../../src/data/open";
import type { Index } from "../../src/data/types";
import { type Changes, DiskSource } from "./folder";
import { golden, IMAGE, TEXT } from "./golden";

/** Without files.arrow, as one piece is read: what the tables say of each other is then all there is. */
class WholeSource extends DiskSource {
  readonly whole = true;
}

const open = (changes: Changes, folder = TEXT) => openAtlas(new WholeSource(folder, changes));

/** A column of lists, of which the last entry of row 0 is taken away. */
function shortened(name: string, item: ReturnType<typeof int16>) {
  return (bytes: Uint8Array): Uint8Array => {
    const table = tableFromIPC(bytes);
    const columns = Object.fromEntries(
      table.names.map((each) => [each, table.getChild(each)]),
    ) as Record<string, ReturnType<typeof columnFromArray>>;
    const rows = Array.from({ length: table.numRows }, (_, row) => {
      const entries = [...(table.getChild(name)!.at(row) as Iterable<number>)];
      return row === 0 ? entries.slice(0, -1) : entries;
    });
    columns[name] = columnFromArray(rows, list(item));
    return tableToIPC(tableFromColumns(columns), { format: "file" })!;
  };
}

describe("lists of one form", () => {
  for (const [name, item] of [
    ["coordinates", int16()],
    ["form", float32()],
    ["linear", float32()],
    ["scale", float32()],
    ["axis_kind", uint8()],
    ["row", uint32()],
    ["drawn", uint8()],
    ["histogram_counts", uint32()],
  ] as [string, ReturnType<typeof int16>][]) {
    it(`are as long as they should be: ${name}`, async () => {
      const atlas = await open({ "pages/00000.arrow": shortened(name, item) });
      await expect(atlas.page(0)).rejects.toThrow(
        new RegExp(`^pages/00000.arrow is damaged: row 0 has \\d+ of \\d+ numbers in "${name}"$`),
      );
      await atlas.page(1);
    });
  }

  it("are so for pictures too", async () => {
    const changes = { "pages/00000.arrow": shortened("image_scale", float32() as never) };
    const atlas = await open(changes, IMAGE);
    await expect(atlas.page(0)).rejects.toThrow('numbers in "image_scale"');
  });

  it("are so for members and their weights", async () => {
    const atlas = await open({ "labels.arrow": shortened("weights", float32() as never) });
    const labels = await atlas.labels();
    expect(() => labels.members(0)).toThrow('row 0 has 0 of 1 numbers in "weights"');
  });
});

describe("tables of one atlas", () => {
  const other = async (path: string) => {
    const bytes = new Uint8Array(await golden().read(path));
    return () => bytes;
  };

  it("have the forms that forms.arrow has, in its order", async () => {
    const manifest = (bytes: Uint8Array) => {
      const text = new TextDecoder().decode(bytes);
      return new TextEncoder().encode(text.replace('"shard_size": 7', '"shard_size": 3'));
    };
    const atlas = await open({
      "atlas.json": manifest,
      "pages/00000.arrow": await other("pages/00001.arrow"),
    });
    await expect(atlas.page(2)).rejects.toThrow(
      /^pages\/00000.arrow is damaged: row 2 is form \d+ where forms.arrow has \d+$/,
    );
  });

  it("have as many rows as they should", async () => {
    const atlas = await open({ "pages/00000.arrow": await other("pages/00001.arrow") });
    await expect(atlas.page(0)).rejects.toThrow(
      "pages/00000.arrow is damaged: it has 3 of 7 forms",
    );
    const more = (bytes: Uint8Array) => {
      const text = new TextDecoder().decode(bytes);
      return new TextEncoder().encode(text.replace('"forms": 10,', '"forms": 11,'));
    };
    await expect(open({ "atlas.json": more })).rejects.toThrow(
      "forms.arrow is damaged: it has 10 forms where atlas.json says 11",
    );
  });
});

describe("search", () => {
  const bytes = tableToIPC(
    tableFromArrays(
      {
        label: ["January March", "É and the Sea", "plain"],
        written_label: ["", "", "Months"],
        tokens: [["JAN", "first"], [], ["x"]],
        quadric: ["cone", "ellipsoid", "cone"],
        members: [[4], [5], [6]],
        weights: [[1], [1], [1]],
      },
      {
        types: {
          label: utf8(),
          written_label: utf8(),
          tokens: list(utf8()),
          quadric: utf8(),
          members: list(uint32()),
          weights: list(float32()),
        },
      },
    ),
    { format: "file" },
  )!;
  const labels = readLabels(bytes, { count: 3, id: Uint32Array.of(40, 51, 62) } as Index);

  it("finds words whatever their case on either side", () => {
    expect(labels.search("march")).toEqual([0]);
    expect(labels.search("é AND")).toEqual([1]);
    expect(labels.search("jan")).toEqual([0]);
    expect(labels.search("mONTHS")).toEqual([2]);
    expect(labels.search("51")).toEqual([1]);
  });

  it("does not find across two of them", () => {
    expect(labels.search("marchjan")).toEqual([]);
    expect(labels.search("janfirst")).toEqual([]);
    expect(labels.search("plainmonths")).toEqual([]);
  });
});
