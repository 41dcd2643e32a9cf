/** What a form's stored axes are called, and which bar of its spectrum each one is. */
import { AXIS_KINDS, type FormPoints } from "../../data/types";
import { short } from "../numbers";

/** For a list of axes: what kind of direction it is, and what the form does along it. */
export function axisTitle(points: FormPoints, axis: number): string {
  if (axis >= points.axes) return `${axis + 1}: not stored, drawn as zero`;
  const along = short(points.form[axis * points.axes + axis]);
  switch (AXIS_KINDS[points.axisKind[axis]]) {
    case "eigenvector":
      return `${axis + 1}: eigenvector, λ = ${along}`;
    case "shared":
      return `${axis + 1}: shared direction, f = ${along} p²`;
    default:
      return `${axis + 1}: principal direction, the form is flat here`;
  }
}

/** For the end of an axis in the cloud; its letter is the one of the buttons and selects. */
export function axisLabel(points: FormPoints, axis: number, letter: string): string {
  if (axis >= points.axes) return letter;
  switch (AXIS_KINDS[points.axisKind[axis]]) {
    case "eigenvector":
      return `${letter}: λ${subscript(axis + 1)}`;
    case "shared":
      return `${letter}: shared ${axis + 1}`;
    default:
      return `${letter}: flat`;
  }
}

/** The stored axis behind each bar of the spectrum, or −1: only eigenvectors have a bar. */
export function axisOfBar(points: FormPoints): Int8Array {
  const found = new Int8Array(points.spectrum.length).fill(-1);
  for (let axis = 0; axis < points.axes; axis++) {
    if (AXIS_KINDS[points.axisKind[axis]] !== "eigenvector") continue;
    const along = points.form[axis * points.axes + axis];
    let nearest = -1;
    points.spectrum.forEach((value, bar) => {
      if (found[bar] >= 0) return;
      if (nearest < 0 || Math.abs(value - along) < Math.abs(points.spectrum[nearest] - along)) {
        nearest = bar;
      }
    });
    const near = nearest >= 0 ? Math.abs(points.spectrum[nearest] - along) : Infinity;
    if (near <= 1e-3 * Math.abs(points.spectrum[0])) found[nearest] = axis;
  }
  return found;
}

export function subscript(number: number): string {
  return [...String(number)].map((digit) => String.fromCodePoint(0x2080 + Number(digit))).join("");
}
