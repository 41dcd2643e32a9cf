import { describe, expect, it } from "vitest";
import {
  css,
  diverging,
  ends,
  heat,
  mix,
  PALETTES,
  parseHex,
  type RGB,
  scaleOf,
  sequential,
  toLinear,
} from "../../src/maths/colour";

/** Full loss of one kind of cone, on linear light, after Machado, Oliveira and Fernandes (2009). */
const BLIND: Record<string, number[]> = {
  none: [1, 0, 0, 0, 1, 0, 0, 0, 1],
  protan: [0.152286, 1.052583, -0.204868, 0.114503, 0.786281, 0.099216, -0.003882, -0.048116, 1.051998],
  deutan: [0.367322, 0.860646, -0.227968, 0.280085, 0.672501, 0.047413, -0.01182, 0.04294, 0.968881],
  tritan: [1.255528, -0.076749, -0.178779, -0.078411, 0.930809, 0.147602, 0.004733, 0.691367, 0.3039],
};

/** CIE L*a*b* under D65 of a colour as that eye sees it. */
function lab(colour: RGB, eye = "none"): number[] {
  const m = BLIND[eye];
  const light = colour.map(toLinear);
  const [r, g, b] = [0, 3, 6].map((i) =>
    Math.min(1, Math.max(0, m[i] * light[0] + m[i + 1] * light[1] + m[i + 2] * light[2])),
  );
  const [x, y, z] = [
    (0.4124564 * r + 0.3575761 * g + 0.1804375 * b) / 0.95047,
    0.2126729 * r + 0.7151522 * g + 0.072175 * b,
    (0.0193339 * r + 0.119192 * g + 0.9503041 * b) / 1.08883,
  ].map((v) => (v > 216 / 24389 ? Math.cbrt(v) : (24389 / 27 / 116) * v + 16 / 116));
  return [116 * y - 16, 500 * (x - y), 200 * (y - z)];
}

/** CIE76. */
function difference(a: RGB, b: RGB, eye = "none"): number {
  const [p, q] = [lab(a, eye), lab(b, eye)];
  return Math.hypot(...p.map((v, i) => v - q[i]));
}

const GROUND = { light: parseHex("#ffffff"), dark: parseHex("#14171a") };
const SHADES = ["light", "dark"] as const;

describe("the measure", () => {
  it("is that of CIE", () => {
    expect(difference([0, 0, 0], [1, 1, 1])).toBeCloseTo(100, 3);
    expect(lab([1, 0, 0])[0]).toBeCloseTo(53.24, 1);
    expect(difference([1, 0, 0], [0, 1, 0])).toBeCloseTo(170.6, 0);
    // Red and green of equal lightness are one colour to the blind eye.
    expect(difference([0.75, 0.35, 0.1], [0.47, 0.47, 0.1], "deutan")).toBeLessThan(25);
  });
});

describe("the map of pictures", () => {
  it("is paper at zero, symmetric about it, and ends as the diverging one does", () => {
    for (const shade of SHADES) {
      const paper = heat(0, shade);
      expect(difference(paper, GROUND[shade])).toBeLessThan(4);
      expect(heat(NaN, shade)).toEqual(paper);
      for (const palette of PALETTES) {
        for (const end of [-1, 1]) {
          expect(heat(3 * end, shade, palette)).toEqual(diverging(end, shade, palette));
        }
        // Equal sizes are equally far from the paper, as far as their ends are.
        const [low, high] = [-0.5, 0.5].map((t) => difference(heat(t, shade, palette), paper));
        expect(Math.max(low, high) / Math.min(low, high)).toBeLessThan(1.7);
        for (const eye of Object.keys(BLIND)) {
          expect(difference(heat(-0.5, shade, palette), heat(0.5, shade, palette), eye)).toBeGreaterThan(12);
        }
      }
    }
  });
});

describe("diverging maps", () => {
  for (const shade of SHADES) {
    for (const eye of Object.keys(BLIND)) {
      it(`blue and orange are apart for ${eye} on ${shade}`, () => {
        const [low, high] = [diverging(-1, shade), diverging(1, shade)];
        expect(difference(low, high, eye)).toBeGreaterThan(60);
      });
    }
    for (const palette of PALETTES) {
      it(`${palette} on ${shade}: ends, middle and ground are four colours`, () => {
        const four = [...[-1, 0, 1].map((t) => diverging(t, shade, palette)), GROUND[shade]];
        four.forEach((a, i) => {
          four.slice(0, i).forEach((b) => expect(difference(a, b)).toBeGreaterThan(22));
        });
        const [, a, b] = lab(diverging(0, shade, palette));
        expect(Math.hypot(a, b)).toBeLessThan(1);
      });
      it(`${palette} on ${shade} runs evenly from its middle to each end`, () => {
        for (const sign of [-1, 1]) {
          const steps = Array.from({ length: 10 }, (_, i) =>
            difference(
              diverging((sign * i) / 10, shade, palette),
              diverging((sign * (i + 1)) / 10, shade, palette),
            ),
          );
          expect(Math.min(...steps)).toBeGreaterThan(0.4 * Math.max(...steps));
        }
      });
    }
  }

  it("is blue #0571b0 below and orange #e66101 above on a light ground", () => {
    expect(css(diverging(-1, "light"))).toBe("rgb(5 113 176)");
    expect(css(diverging(1, "light"))).toBe("rgb(230 97 1)");
    expect(ends("light").positive).toEqual(parseHex("#e66101"));
  });

  it("ends where it ends, and shows no sign where there is no number", () => {
    expect(diverging(7, "dark")).toEqual(diverging(1, "dark"));
    expect(diverging(-Infinity, "dark")).toEqual(diverging(-1, "dark"));
    expect(diverging(NaN, "dark")).toEqual(diverging(0, "dark"));
  });
});

describe("sequential maps", () => {
  for (const shade of SHADES) {
    it(`on ${shade} the lightness runs one way in even steps, away from the ground`, () => {
      const lightness = Array.from({ length: 11 }, (_, i) => lab(sequential(i / 10, shade))[0]);
      const sign = shade === "light" ? -1 : 1;
      const steps = lightness.slice(1).map((value, i) => sign * (value - lightness[i]));
      expect(Math.min(...steps)).toBeGreaterThan(0.5 * Math.max(...steps));
      expect(difference(sequential(0, shade), GROUND[shade])).toBeGreaterThan(15);
      expect(difference(sequential(0, shade), sequential(1, shade))).toBeGreaterThan(55);
    });
    it(`on ${shade} unknown is none of its colours`, () => {
      for (let i = 0; i <= 20; i++) {
        expect(difference(sequential(NaN, shade), sequential(i / 20, shade))).toBeGreaterThan(5);
      }
      expect(difference(sequential(NaN, shade), GROUND[shade])).toBeGreaterThan(5);
    });
  }
});

describe("mixing", () => {
  it("gives the ends back and a grey between black and white", () => {
    const [a, b] = [parseHex("#0571b0"), parseHex("#e66101")];
    mix(a, b, 0).forEach((v, i) => expect(v).toBeCloseTo(a[i], 5));
    mix(a, b, 1).forEach((v, i) => expect(v).toBeCloseTo(b[i], 5));
    // OKLab's lightness is a cube root: half way lies at an eighth of the light.
    mix([0, 0, 0], [1, 1, 1], 0.5).forEach((v) => expect(toLinear(v)).toBeCloseTo(1 / 8, 4));
  });
});

describe("scale", () => {
  it("is the 99th percentile of the sizes", () => {
    const values = Float32Array.from({ length: 1001 }, (_, i) => (i % 2 ? -1 : 1) * (i / 1000));
    values[1000] = 500;
    expect(scaleOf(values)).toBeCloseTo(0.99, 3);
  });
  it("is above zero whatever it is given", () => {
    expect(scaleOf([])).toBe(1);
    expect(scaleOf([0, 0])).toBe(1);
    expect(scaleOf([NaN])).toBe(1);
    // Only one in a thousand is not zero.
    expect(scaleOf([...Array<number>(999).fill(0), 4])).toBe(4);
  });
});
