import { describe, expect, it } from "vitest";
import { parseManifest } from "../../src/data/manifest";
import { AtlasError } from "../../src/data/types";
import { golden, goldenImages } from "./golden";

const text = await golden().read("atlas.json");
const plain = JSON.parse(new TextDecoder().decode(text)) as Record<string, unknown>;

const parse = (content: unknown) =>
  parseManifest(new TextEncoder().encode(JSON.stringify(content)));
const changed = (changes: Record<string, unknown>) => () => parse({ ...plain, ...changes });
const without = (key: string) => () =>
  parse(Object.fromEntries(Object.entries(plain).filter(([name]) => name !== key)));

describe("atlas.json", () => {
  it("is read, and facts keep their order", async () => {
    expect(parseManifest(text).quadricVersion).toBe(plain.quadric_version);
    const facts = { hook: "h", model: "m", "10": "ten" };
    expect(parse({ ...plain, facts }).facts).toEqual(facts);
    const images = parseManifest(await goldenImages().read("atlas.json"));
    expect(images.imageShape).toEqual([8, 8, 1]);
    expect(images.pixelRange).toEqual([0, 1]);
  });

  it("may lack what is optional, and may have more than we know", () => {
    const optional = ["controls", "comparison", "image_shape", "pixel_range", "run"];
    const short = Object.fromEntries(Object.entries(plain).filter(([k]) => !optional.includes(k)));
    expect(parse({ ...short, later: 1 })).toMatchObject({
      controls: 0,
      comparison: null,
      imageShape: null,
    });
  });

  it("of a newer version is told, with what to do", () => {
    expect(changed({ version: 2 })).toThrow(
      "atlas.json is of version 2, this page reads up to 1: open it with a newer quadric",
    );
    expect(changed({ version: 2, forms: undefined })).toThrow("of version 2");
  });

  it("of something else is told", () => {
    expect(changed({ format: "other" })).toThrow(
      'atlas.json says it is a "other", and not a "quadric-atlas"',
    );
    expect(() => parse([])).toThrow("atlas.json is [], and should be an object");
    expect(() => parseManifest(new TextEncoder().encode('{"title": '))).toThrow(
      "atlas.json is damaged: ",
    );
    expect(() => parseManifest(Uint8Array.of(0xff, 0xfe))).toThrow("atlas.json is damaged: ");
  });

  for (const key of Object.keys(plain)) {
    if (["controls", "comparison", "image_shape", "pixel_range", "run"].includes(key)) continue;
    it(`without ${key} or with another kind of it is told by that name`, () => {
      expect(without(key)).toThrow(AtlasError);
      expect(without(key)).toThrow(`atlas.json has no "${key}", which should be `);
      const wrong = typeof plain[key] === "object" ? "text" : ["a list"];
      expect(changed({ [key]: wrong })).toThrow(`"${key}"`);
    });
  }

  it("names what is wrong inside, and the value that was found", () => {
    expect(changed({ forms: -3 })).toThrow(
      'atlas.json: "forms" is -3, and should be a whole number from 0',
    );
    expect(changed({ shard_size: 0 })).toThrow('"shard_size" is 0');
    expect(changed({ modality: "sound" })).toThrow('"modality" is "sound", and should be one of');
    expect(changed({ statistics: [{ name: "a", title: "A", definition: "d" }] })).toThrow(
      'has no "statistics[0].logarithmic", which should be true or false',
    );
    expect(changed({ comparison: { title: 4, facts: {} } })).toThrow('"comparison.title" is 4');
    expect(changed({ facts: { model: 7 } })).toThrow('"facts.model" is 7, and should be text');
    expect(changed({ colour: "none" })).toThrow('"colour" is "none", which is not one of');
    expect(changed({ image_shape: [28, 28] })).toThrow('"image_shape" is [28,28]');
    expect(changed({ modality: "image" })).toThrow('"image_shape" is null, and should be three');
  });
});
