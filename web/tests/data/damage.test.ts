import { tableFromIPC, tableToIPC } from "@uwdata/flechette";
import { describe, expect, it } from "vitest";
import { openAtlas } from "../../src/data/open";
import { LABELS, PAGES } from "../../src/data/schemas";
import { readTable } from "../../src/data/tables";
import { type Atlas, AtlasError } from "../../src/data/types";
import { type Changes, DiskSource } from "./folder";
import { golden, IMAGE, TEXT } from "./golden";

type Bytes = Uint8Array<ArrayBuffer>;

/** Reads all of an atlas as its pages would. */
async function readAll(changes: Changes, folder = TEXT) {
  const atlas = await openAtlas(new DiskSource(folder, changes));
  await atlas.labels();
  await atlas.controls();
  for (let place = 0; place < atlas.index.count; place++) {
    const page = await atlas.page(place);
    if (atlas.manifest.comparison) await atlas.pair(place);
    await readRow(atlas, page.row[0]);
  }
}

async function readRow(atlas: Atlas, row: number) {
  if (atlas.manifest.modality === "text") await atlas.around(row);
  else await atlas.pixels(row);
}

const FILES: [folder: string, path: string][] = [
  ...["forms", "labels", "pages/00000", "pages/00001", "pairs/00000", "pairs/00001", "controls",
    "tokens/00000", "vocabulary", "files"].map((name): [string, string] => [TEXT, `${name}.arrow`]),
  ...["pages/00000", "pixels/00000"].map((name): [string, string] => [IMAGE, `${name}.arrow`]),
];

const message = async (changes: Changes, folder = TEXT): Promise<string> => {
  const error = await readAll(changes, folder).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(AtlasError);
  return (error as AtlasError).message;
};

describe("an atlas that is whole", () => {
  it("is read without a word", async () => {
    await readAll({});
    await readAll({}, IMAGE);
  });
});

describe("a file that", () => {
  for (const [folder, path] of FILES) {
    it(`is missing is named: ${path}`, async () => {
      expect(await message({ [path]: null }, folder)).toBe(`${path} is missing from this atlas`);
    });
    it(`was cut off is named: ${path}`, async () => {
      for (const share of [0, 0.1, 0.5, 0.999]) {
        const cut = (bytes: Bytes) => bytes.slice(0, Math.floor(share * bytes.length));
        expect(await message({ [path]: cut }, folder)).toMatch(`${path} is damaged: `);
      }
    });
    it(`has one changed bit is named: ${path}`, async () => {
      const flip = (at: number) => (bytes: Bytes) => {
        bytes[Math.floor(at * bytes.length)] ^= 0x10;
        return bytes;
      };
      for (const at of [0.3, 0.5, 0.7]) {
        const said = await message({ [path]: flip(at) }, folder);
        // A changed list makes any of the files that it lists look wrong; the others are named.
        if (path !== "files.arrow") expect(said).toMatch(`${path} is damaged: `);
      }
    });
    it(`is something else is named: ${path}`, async () => {
      const page = () => new TextEncoder().encode("<!doctype html><p>Not found</p>");
      expect(await message({ [path]: page }, folder)).toMatch(`${path} is damaged: it `);
    });
  }

  it("was exchanged for another is told by its sum", async () => {
    const other = new Uint8Array(await golden().read("pages/00001.arrow"));
    expect(await message({ "pages/00000.arrow": () => other })).toMatch(
      /^pages\/00000.arrow is damaged: it has \d+ bytes, and files.arrow lists \d+$/,
    );
  });
});

describe("tables on their own", () => {
  const read = async (path: string) => new Uint8Array(await golden().read(path));

  it("are told or read, whichever bit of a file is changed", async () => {
    for (const [path, schema] of [["pages/00001.arrow", PAGES], ["labels.arrow", LABELS]] as const) {
      const bytes = await read(path);
      let told = 0;
      for (let at = 0; at < bytes.length; at += 11) {
        const changed = bytes.slice();
        changed[at] ^= 1 << (at % 8);
        try {
          const table = readTable(path, changed, schema);
          for (const name of Object.keys(schema)) {
            for (let row = 0; row < table.rows; row++) table.at(name, row);
          }
        } catch (error) {
          expect(error, `byte ${at}`).toBeInstanceOf(AtlasError);
          told++;
        }
      }
      expect(told).toBeGreaterThan(10);
    }
  }, 30_000);

  it("name a column that is missing", async () => {
    const table = tableFromIPC(await read("pages/00000.arrow"));
    const names = table.names.filter((name) => name !== "coordinates");
    const without = tableToIPC(table.select(names), { format: "file" })!;
    expect(() => readTable("pages/00000.arrow", without, PAGES)).toThrow(
      'pages/00000.arrow has no column "coordinates"',
    );
  });

  it("name a column of another type, and both types", async () => {
    const bytes = await read("labels.arrow");
    expect(() => readTable("labels.arrow", bytes, { ...LABELS, tokens: "list<uint32>" })).toThrow(
      'labels.arrow: column "tokens" is list<string>, and should be list<uint32>',
    );
    const struct = { contexts: "list<struct<kind: uint8>>" };
    const page = await read("pages/00000.arrow");
    expect(() => readTable("pages/00000.arrow", page, struct)).toThrow(
      "is list<struct<kind: uint8, row: uint32, start: uint32, value: float32, values: list<float32>>>",
    );
  });

  it("leave columns alone that a later version may add", async () => {
    const bytes = await read("labels.arrow");
    expect(readTable("labels.arrow", bytes, { label: "string" }).rows).toBe(10);
  });

  it("are read from bytes that begin anywhere", async () => {
    const bytes = await read("pages/00000.arrow");
    const shifted = new Uint8Array(bytes.length + 3);
    shifted.set(bytes, 3);
    const table = readTable("pages/00000.arrow", shifted.subarray(3), PAGES);
    const plain = readTable("pages/00000.arrow", bytes, PAGES);
    expect(table.at("form", 2)).toEqual(plain.at("form", 2));
  });

  it("give lists of numbers as views and not as copies", async () => {
    const bytes = await read("pages/00000.arrow");
    const table = readTable("pages/00000.arrow", bytes, PAGES);
    expect(table.at<Int16Array>("coordinates", 1).buffer).toBe(bytes.buffer);
  });
});
