/**
 * Colours of numbers. Diverging maps go from one end through a grey to the other in OKLab, where
 * equal steps look equal; sequential maps go from a muted tone to a strong one. The drawing code on
 * the graphics card uses the same numbers.
 */

export type RGB = [number, number, number];
export type Shade = "light" | "dark";

export const PALETTES = ["blue-orange", "red-blue", "purple-orange"] as const;
export type Palette = (typeof PALETTES)[number];

interface Ends {
  negative: string;
  positive: string;
}

/** Ends of the diverging maps: brighter on a dark ground, and still told apart by every eye. */
const ENDS: Record<Palette, Record<Shade, Ends>> = {
  "blue-orange": {
    light: { negative: "#0571b0", positive: "#e66101" },
    dark: { negative: "#2f9be0", positive: "#f5832a" },
  },
  "red-blue": {
    light: { negative: "#2166ac", positive: "#b2182b" },
    dark: { negative: "#5aa5e0", positive: "#ef5a5f" },
  },
  "purple-orange": {
    light: { negative: "#5e3c99", positive: "#c05f00" },
    dark: { negative: "#a58be0", positive: "#f0922e" },
  },
};

/** The middle of the diverging maps: seen on its ground, and no colour. */
const NEUTRAL: Record<Shade, string> = { light: "#b9b9b9", dark: "#6e6e6e" };

/** The middle of a picture's map: paper, on which nothing lies. */
const PAPER: Record<Shade, string> = { light: "#fcfcfb", dark: "#141817" };

/** A statistic's map, from unremarkable to most; lightness runs evenly. */
const SEQUENTIAL: Record<Shade, string[]> = {
  light: ["#c9cfd6", "#7fb0ae", "#2b8289", "#0d4f66", "#0a2540"],
  dark: ["#39424c", "#2f6b70", "#3f9c93", "#7fcca6", "#e4f4c4"],
};
const UNKNOWN: Record<Shade, string> = { light: "#e2e2e2", dark: "#2c2c2c" };

/** The colours of a diverging map's negative end, middle and positive end. */
export function ends(theme: Shade, palette: Palette = "blue-orange") {
  const { negative, positive } = ENDS[palette][theme];
  return {
    negative: parseHex(negative),
    neutral: parseHex(NEUTRAL[theme]),
    positive: parseHex(positive),
  };
}

/** The colour of t in −1 … 1; beyond is the end, and NaN the middle. */
export function diverging(t: number, theme: Shade, palette: Palette = "blue-orange"): RGB {
  const { negative, neutral, positive } = ends(theme, palette);
  const strength = Number.isNaN(t) ? 0 : Math.min(1, Math.abs(t));
  return mix(neutral, t < 0 ? negative : positive, strength);
}

/** The same map for the pixels of a picture: zero is the paper, so that only what counts is seen. */
export function heat(t: number, theme: Shade, palette: Palette = "blue-orange"): RGB {
  const { negative, positive } = ends(theme, palette);
  const strength = Number.isNaN(t) ? 0 : Math.min(1, Math.abs(t));
  return mix(parseHex(PAPER[theme]), t < 0 ? negative : positive, strength);
}

/** The colour of u in 0 … 1; NaN is a tone of its own, nearly that of the ground. */
export function sequential(u: number, theme: Shade): RGB {
  if (Number.isNaN(u)) return parseHex(UNKNOWN[theme]);
  const stops = SEQUENTIAL[theme];
  const at = Math.min(1, Math.max(0, u)) * (stops.length - 1);
  const low = Math.min(stops.length - 2, Math.floor(at));
  return mix(parseHex(stops[low]), parseHex(stops[low + 1]), at - low);
}

/** For a style: `rgb(5 113 176)`. */
export function css(colour: RGB): string {
  return `rgb(${colour.map((channel) => Math.round(channel * 255)).join(" ")})`;
}

/** Where the map is at its end: the 99th percentile of |v|; 1 where there is nothing but zeros. */
export function scaleOf(values: ArrayLike<number>): number {
  const sizes = Float32Array.from(values, Math.abs).filter(Number.isFinite).sort();
  if (sizes.length === 0) return 1;
  const robust = sizes[Math.round(0.99 * (sizes.length - 1))];
  return robust || sizes[sizes.length - 1] || 1;
}

export function parseHex(hex: string): RGB {
  return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255) as RGB;
}

/** Between two colours, in OKLab. */
export function mix(from: RGB, to: RGB, share: number): RGB {
  const [a, b] = [toOklab(from), toOklab(to)];
  return fromOklab(a.map((x, i) => x + share * (b[i] - x)) as RGB);
}

/** sRGB channel to linear light, and back. */
export const toLinear = (c: number) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
const fromLinear = (c: number) => {
  const inside = Math.min(1, Math.max(0, c));
  return inside <= 0.0031308 ? 12.92 * inside : 1.055 * inside ** (1 / 2.4) - 0.055;
};

/** Björn Ottosson's matrices: linear sRGB to cone responses, and their cube roots to OKLab. */
function toOklab(colour: RGB): RGB {
  const [r, g, b] = colour.map(toLinear);
  const l = Math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
  const m = Math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
  const s = Math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
  return [
    0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s,
    1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s,
    0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s,
  ];
}

function fromOklab([lightness, a, b]: RGB): RGB {
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    fromLinear(4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s),
    fromLinear(-1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s),
    fromLinear(-0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s),
  ];
}
