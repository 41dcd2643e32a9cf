import { describe, expect, test } from "vitest";
import { UNIT } from "../../src/scene/bounds";
import {
  diverging,
  divergingBytes,
  rgb,
  sequential,
  sequentialBytes,
  unknown,
} from "../../src/scene/colours";
import { cloudDots, pathDots, radiusFor } from "../../src/scene/dots";
import type { Theme } from "../../src/scene/types";

const THEME: Theme = {
  dark: false,
  background: "#ffffff",
  foreground: "#111111",
  positive: "#e66101",
  negative: "#0571b0",
  neutral: "#b9b9b9",
  accent: "#2b8289",
};
const bytes = (colour: number[]) => colour.map((v) => Math.round(255 * v));

describe("colours", () => {
  test("the ends and the middle are the theme's", () => {
    const drawn = divergingBytes(new Float32Array([-1, 0, 1, -7, 7, Number.NaN]), THEME);
    const ends = [THEME.negative, THEME.neutral, THEME.positive];
    const expected = [...ends, THEME.negative, THEME.positive, THEME.neutral];
    expect([...drawn]).toEqual(expected.flatMap((colour) => bytes(rgb(colour))));
  });

  test("the table is that of the formula to a byte or two", () => {
    const values = Float32Array.from({ length: 41 }, (_, i) => i / 20 - 1);
    const drawn = divergingBytes(values, THEME);
    values.forEach((v, i) => {
      bytes(diverging(v, THEME)).forEach((channel, k) => {
        expect(Math.abs(drawn[3 * i + k] - channel)).toBeLessThanOrEqual(2);
      });
    });
  });

  test("a statistic that is not known has a colour of its own", () => {
    const drawn = sequentialBytes(new Float32Array([Number.NaN, 0, 1, -3, 9]), THEME);
    const [low, high] = [sequential(0, THEME), sequential(1, THEME)];
    expect([...drawn]).toEqual([unknown(THEME), low, high, low, high].flatMap(bytes));
  });
});

describe("dots", () => {
  const cloud = {
    positions: Float32Array.from({ length: 12 }, (_, i) => i / 12),
    colour: new Float32Array([1, -1, 1, -1]),
    faint: new Uint8Array([0, 0, 1, 1]),
  };

  test("rings are negative, and faint points are smaller and paler", () => {
    const { radii, paint, rimmed } = cloudDots(cloud, UNIT, THEME);
    expect([...radii].map(Math.sign)).toEqual([1, -1, 1, -1]);
    expect(radii[2]).toBeLessThan(radii[0]);
    expect(paint[6 + 2]).toBeGreaterThan(paint[2]);
    expect([...rimmed]).toEqual([1, 1, 0, 0]);
  });

  test("a brush lifts what it holds and mutes the rest; one without points does nothing", () => {
    const plain = cloudDots(cloud, UNIT, THEME);
    const brushed = cloudDots({ ...cloud, chosen: new Uint8Array([1, 0, 0, 0]) }, UNIT, THEME);
    expect(brushed.radii[0]).toBeGreaterThan(plain.radii[0]);
    expect([...brushed.paint.slice(0, 3)]).toEqual([...plain.paint.slice(0, 3)]);
    expect(brushed.paint[3]).toBeGreaterThan(plain.paint[3]);
    const empty = cloudDots({ ...cloud, chosen: new Uint8Array(4) }, UNIT, THEME);
    expect(empty).toEqual(plain);
  });

  test("a cloud steps back beneath a path, whose current token is the largest", () => {
    const plain = cloudDots(cloud, UNIT, THEME);
    const beneath = cloudDots(cloud, UNIT, THEME, true);
    expect(beneath.paint[2]).toBeGreaterThan(plain.paint[2]);
    const path = pathDots({ ...cloud, current: 1 }, UNIT, THEME);
    expect(Math.abs(path.radii[1])).toBeGreaterThan(path.radii[0]);
    expect(path.radii[0]).toBeGreaterThan(plain.radii[0]);
  });

  test("many points are small ones", () => {
    expect(radiusFor(256)).toBeGreaterThan(radiusFor(2048));
    expect(radiusFor(2048)).toBeGreaterThan(radiusFor(20_000));
    expect(radiusFor(0)).toBeGreaterThan(0);
  });
});
