/** A composed form as the points of a page, so that the same mathematics and panels serve it. */
import { AtlasError, AXIS_KINDS, type FormPoints } from "../../data/types";
import type { Composed } from "./requests";

/** The integer that stands for a scale; FULL of the contract. */
const FULL = 32767;

export function composedPoints(composed: Composed): FormPoints {
  const { axes, value, coordinates } = composed;
  const scale = Float32Array.from(coordinates, largest);
  const valueScale = Math.fround(largest(value));
  return {
    spectrum: Float32Array.from(composed.spectrum),
    axes,
    axisKind: Uint8Array.from(composed.axisKind, axisKindNumber),
    form: Float32Array.from(composed.form),
    linear: Float32Array.from(composed.linear),
    constant: composed.constant,
    scale,
    valueScale,
    remainder: remainder(composed),
    coordinates: Int16Array.from(
      coordinates.flatMap((axis, k) => axis.map((p) => quantised(p, scale[k]))),
    ),
    value: Int16Array.from(value, (v) => quantised(v, valueScale)),
  };
}

/** Root mean square over the points of what the stored axes leave out. */
function remainder({ axes, form, linear, constant, coordinates, value }: Composed): number {
  let sum = 0;
  value.forEach((whole, point) => {
    let held = constant;
    for (let i = 0; i < axes; i++) {
      const p = coordinates[i][point];
      held += linear[i] * p;
      for (let j = 0; j < axes; j++) held += form[i * axes + j] * p * coordinates[j][point];
    }
    sum += (whole - held) ** 2;
  });
  return value.length === 0 ? 0 : Math.sqrt(sum / value.length);
}

function largest(numbers: number[]): number {
  return numbers.reduce((most, number) => Math.max(most, Math.abs(number)), 0);
}

function quantised(number: number, scale: number): number {
  if (scale === 0) return 0;
  // A scale that was rounded down to 32 bits would carry its own number past the end.
  return Math.max(-FULL, Math.min(FULL, Math.round((number / scale) * FULL)));
}

function axisKindNumber(name: string): number {
  const number = (AXIS_KINDS as readonly string[]).indexOf(name);
  if (number >= 0) return number;
  throw new AtlasError(`the server calls an axis "${name}", not one of ${AXIS_KINDS.join(", ")}`);
}
