/** What a picture of three axes holds of a form and what it leaves out, in sentences. */
import { count, short } from "../numbers";
import type { CloudName } from "./look";
import { aligned } from "./table";

export interface Shown {
  /** Whose points they are. */
  cloud: CloudName;
  /** 1 − Σ(value − slice)²/Σvalue² over the present points; NaN where every value is zero. */
  captured: number;
  /** Standard deviation of what the slice leaves out. */
  spread: number;
  /** Root mean square of what all stored axes leave out. */
  remainder: number;
  /** Stored axes. */
  stored: number;
  /** Points chosen because the form is present there, and those drawn without looking. */
  present: number;
  random: number;
  /** The value at the end of the colours. */
  scale: number;
}

export function honesty(shown: Shown): string[] {
  return [slice(shown), remainder(shown), points(shown)];
}

/** A rest this small beside the colours' end is the rounding of the files, and nothing is left out. */
const NOTHING = 1e-3;

function whole({ spread, scale }: Shown): boolean {
  return spread <= NOTHING * scale;
}

function slice(shown: Shown): string {
  const { captured, spread } = shown;
  if (whole(shown)) return "These three axes hold all of the form's value.";
  const left = `what they leave out has a standard deviation of ${short(spread)}`;
  if (!Number.isFinite(captured)) {
    return `The form is zero at every point that is present; ${left}.`;
  }
  if (captured <= 0) {
    return `These three axes say no more of the form's value than zero would (captured ${percent(captured)}); ${left}.`;
  }
  return `These three axes hold ${percent(captured)} of the form's mean square; ${left}.`;
}

function remainder({ remainder, stored, scale }: Shown): string {
  return remainder > NOTHING * scale
    ? `Beyond the ${stored} stored axes lies ${short(remainder)} more (root mean square).`
    : `Nothing lies beyond the ${stored} stored axes.`;
}

function points({ cloud, present, random }: Shown): string {
  if (cloud === "gaussian" || cloud === "shuffled") {
    return `${count(present)} made-up points stand for those that are present, ${count(random)} for those drawn without looking.`;
  }
  const form = cloud === "random" ? "the random form" : "the form";
  const chosen = `${count(present)} points are the rows where ${form} is most present, up to half of its presence energy`;
  return random > 0
    ? `${chosen}; ${count(random)} more, small and faint, were drawn without looking.`
    : `${chosen}.`;
}

/** Where this picture misleads; the first are those that this form calls for. */
export function misleads(shown: Shown): string[] {
  const { captured, spread, scale, random } = shown;
  const found: string[] = [];
  if (!whole(shown) && !(captured >= 0.5)) {
    found.push(
      "Less than half of the form's mean square is in this slice: the surface's shape says little of where the form fires. Try other axes, or colour by what the slice leaves out.",
    );
  }
  if (!whole(shown)) {
    found.push(
      `The surface is exact for the slice only. At each point the unseen axes shift its level, typically by ${short(spread)}: the band shows one such step to either side.`,
    );
  }
  found.push(
    "Present points were chosen because they lie far out along the form's axes, so a gap in the middle proves nothing. The Gaussian and random-form clouds show how much of a hole that alone makes.",
  );
  if (random > 0) {
    found.push("The faint points show where all the other rows lie: mostly near the origin.");
  }
  found.push(
    "Any three axes can be turned until something appears. Trust the scores beside their nulls, not the view.",
    `Colours end at ±${short(scale)}; one value in a hundred lies beyond and looks the same.`,
  );
  return found;
}

/** The share of the mean square as a figure: all, a percentage, or a dash where there is none. */
export function held(shown: Shown): string {
  if (whole(shown)) return "100 %";
  return Number.isFinite(shown.captured) ? percent(shown.captured) : "–";
}

export function percent(share: number): string {
  const value = 100 * share;
  // Nearly all is not all.
  if (value > 99.95 && value < 100) return "> 99.9 %";
  const digits = Math.abs(value) < 10 || (value > 99 && value < 100) ? 1 : 0;
  return `${aligned(value, digits).replace(/\.0$/, "")} %`;
}
