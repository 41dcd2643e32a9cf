import { describe, expect, it } from "vitest";
import { openAtlas } from "../../src/data/open";
import { KINDS } from "../../src/data/types";
import { effectiveRank } from "../../src/maths/controls";
import { positions, rest, sliceOf, sliceValues, values } from "../../src/maths/points";
import { nameQuadric } from "../../src/maths/quadric";
import { golden, goldenImages, HOSTILE, pixelOf, surfaceOf, tokenOf, wordOf } from "./golden";

const AXES = [0, 1, 2] as const;

describe("the atlas that Python wrote", () => {
  it("opens with two files and reads others when asked", async () => {
    const source = golden();
    const atlas = await openAtlas(source);
    expect(source.reads).toEqual(["atlas.json", "forms.arrow"]);
    await Promise.all([atlas.page(0), atlas.page(1), atlas.page(6), atlas.labels(), atlas.labels()]);
    expect(source.reads.filter((path) => path.startsWith("pages"))).toEqual(["pages/00000.arrow"]);
    expect(source.reads.filter((path) => path === "labels.arrow").length).toBe(1);
    expect(source.reads.filter((path) => path === "files.arrow").length).toBe(1);
    await atlas.page(7);
    expect(source.reads.filter((path) => path.startsWith("pages"))).toHaveLength(2);
  });

  it("has its manifest", async () => {
    const { manifest } = await openAtlas(golden());
    expect(manifest).toMatchObject({
      title: "Synthetic surfaces",
      modality: "text",
      forms: 10,
      shardSize: 7,
      contextSize: 128,
      controls: 2,
      comparison: { title: "Another synthetic run" },
      imageShape: null,
    });
    expect(Object.keys(manifest.facts)).toEqual(["model", "forms", "seed"]);
  });

  it("has its forms: places, signs and statistics", async () => {
    const { index } = await openAtlas(golden());
    expect(index.count).toBe(10);
    for (let place = 0; place < index.count; place++) {
      expect(index.placeOf(index.id[place])).toBe(place);
      expect(KINDS[index.kind[place]]).toBe(place % 8 === 7 ? "group" : "latent");
      const signs = surfaceOf(place).eigenvalues.map(Math.sign);
      expect(index.positive[place]).toBe(signs.filter((s) => s > 0).length);
      expect(index.negative[place]).toBe(signs.filter((s) => s < 0).length);
      const angle = Math.atan2(index.y[place], index.x[place]);
      expect(Math.cos(angle - (2 * Math.PI * place) / 10)).toBeGreaterThan(0.9);
      expect(index.statistic("importance")[place]).toBeCloseTo(1 / (1 + place), 6);
      expect(Number.isNaN(index.statistic("frequency")[place])).toBe(place % 7 === 3);
    }
    expect(index.placeOf(123456)).toBe(-1);
    expect(() => index.statistic("nothing")).toThrow("nothing");
  });

  it("has points on the level sets it says: value = slice + rest", async () => {
    const atlas = await openAtlas(golden());
    for (let place = 0; place < 10; place++) {
      const page = await atlas.page(place);
      const surface = surfaceOf(place);
      const slice = sliceOf(page, AXES);
      const where = positions(page, AXES);
      const shown = sliceValues(slice, where);
      const left = rest(page, AXES);
      const whole = values(page);
      expect(page.row.length).toBe(page.value.length);
      // Half a step along each axis, through the steepest slope of the form.
      const bound = 1e-3;
      page.drawn.forEach((drawn, i) => {
        const [x, y, z] = where.subarray(3 * i, 3 * i + 3);
        const [l, m, n] = surface.eigenvalues;
        const byHand = l * x * x + m * y * y + n * z * z + surface.slope * z;
        expect(Math.abs(shown[i] - byHand)).toBeLessThan(1e-5);
        if (drawn === 0) expect(Math.abs(shown[i] - surface.level)).toBeLessThan(bound);
        expect(Math.abs(shown[i] + left[i] - whole[i])).toBeLessThan(1e-5);
      });
      expect(page.drawn).toContain(0);
      expect(page.drawn).toContain(1);
      expect(nameQuadric(slice, surface.level)).toBe(surface.name);
      if (page.axes === 3) {
        const square = left.reduce((sum, value) => sum + value * value, 0) / left.length;
        expect(Math.sqrt(square)).toBeLessThan(page.remainder + bound);
      } else {
        expect(page.remainder).toBeCloseTo(0.03, 4);
      }
    }
  });

  it("has effective ranks that the spectra give", async () => {
    const atlas = await openAtlas(golden());
    const column = atlas.index.statistic("effective_rank");
    for (let place = 0; place < 10; place++) {
      expect(effectiveRank((await atlas.page(place)).spectrum)).toBeCloseTo(column[place], 4);
    }
  });

  it("has labels, and they are searched whatever their case", async () => {
    const atlas = await openAtlas(golden());
    const labels = await atlas.labels();
    expect(labels.label(0)).toBe(HOSTILE);
    expect(labels.tokens(0)[0]).toBe(HOSTILE);
    expect(labels.quadric(3)).toBe("cone");
    expect(labels.members(2)).toEqual([{ id: atlas.index.id[2], weight: 1 }]);
    expect(labels.search("")).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(labels.search(" Hyperboloid ")).toEqual([1, 2]);
    expect(labels.search("ONERROR")).toEqual([0]);
    expect(labels.search(String(atlas.index.id[4]))).toContain(4);
    expect(labels.search("no such thing")).toEqual([]);
    const token = labels.tokens(5)[1].trim();
    expect(labels.search(token)).toContain(5);
  });

  it("has text: the tokens of its rows, within one context", async () => {
    const atlas = await openAtlas(golden());
    const page = await atlas.page(4);
    const context = page.contexts.find((each) => each.kind === "most_negative")!;
    expect(context.values[context.row - context.start]).toBe(context.value);
    const said = await atlas.passage(context.start, context.values.length);
    expect(said.tokens).toEqual(
      Array.from(context.values, (_, i) => wordOf(tokenOf(context.start + i))),
    );
    const middle = await atlas.around(64);
    expect(middle).toMatchObject({ start: 56 });
    expect(middle.tokens).toHaveLength(12);
    expect(middle.tokens[8]).toBe(wordOf(tokenOf(64)));
    // Row 128 begins the second context, and row 127 ends the first.
    expect(await atlas.around(129)).toMatchObject({ start: 128, tokens: { length: 5 } });
    expect(await atlas.around(127)).toMatchObject({ start: 119, tokens: { length: 9 } });
    await expect(atlas.passage(256, 1)).rejects.toThrow("there is no row 256");
  });

  it("has partners, random forms, neighbours and scores", async () => {
    const atlas = await openAtlas(golden());
    const pair = await atlas.pair(8);
    expect(pair).toMatchObject({ id: atlas.index.id[8], partner: 8 });
    expect(pair.label).toBe(`partner of ${pair.id}`);
    expect(pair.overlap).toBeCloseTo(0.8, 6);
    expect(nameQuadric(sliceOf(pair, AXES), surfaceOf(9).level)).toBe(surfaceOf(9).name);
    expect((await atlas.pair(0)).label).toBe(HOSTILE);
    const controls = await atlas.controls();
    expect(controls.map((control) => control.effectiveRank)).toEqual([3, 3]);
    const page = await atlas.page(9);
    expect(page.neighbours.every(({ id }) => atlas.index.placeOf(id) >= 0)).toBe(true);
    expect(page.neighbours.map(({ measure }) => measure)).toContain(1);
    const [score] = page.scores;
    expect(score).toMatchObject({ name: "ring", null: "gaussian", draws: 99 });
    expect(score.pValue).toBeCloseTo(0.01, 6);
    expect(page.histogramEdges.length).toBe(page.histogramCounts.length + 1);
    expect((await atlas.page(4)).ringPlane).toEqual([0, 1]);
    expect(page.ringPlane).toEqual([0, 1]);
    expect((await atlas.page(0)).ringPlane).toBeNull();
  });

  it("says where there is no such form", async () => {
    const atlas = await openAtlas(golden());
    for (const place of [-1, 10, 0.5]) {
      await expect(atlas.page(place)).rejects.toThrow(`no form at place ${place}`);
    }
  });

  it("has images in place of text where rows are images", async () => {
    const atlas = await openAtlas(goldenImages());
    const page = await atlas.page(1);
    expect(page.images!.length).toBe(page.axes * 64);
    expect(page.imageScale!.length).toBe(page.axes);
    // Every axis comes near the end of its own scale, on one side or the other.
    for (let axis = 0; axis < page.axes; axis++) {
      const numbers = page.images!.subarray(64 * axis, 64 * (axis + 1));
      expect(Math.max(...numbers.map(Math.abs))).toBe(127);
    }
    const row = page.row[0];
    const pixels = await atlas.pixels(row);
    expect(pixels.length).toBe(64);
    pixels.forEach((value, at) => {
      expect(Math.abs(value - pixelOf(row, at % 8, Math.floor(at / 8)))).toBeLessThanOrEqual(0.51);
    });
    await expect(atlas.passage(0, 1)).rejects.toThrow("images and have no text");
    await expect(atlas.pair(0)).rejects.toThrow("compares with no other");
    expect(await atlas.controls()).toEqual([]);
    await expect((await openAtlas(golden())).pixels(0)).rejects.toThrow("tokens and have no image");
  });
});
