/** What stands beneath the picture of an axis. */
import type { FormPoints } from "../../data/types";
import { short } from "../numbers";

/** The form's curvature along an axis: its eigenvalue, where the axis is an eigenvector. */
export function curvature(page: FormPoints, axis: number): number {
  return page.form[axis * page.axes + axis];
}

/** The axes along which a form rises, and those along which it falls, the largest |λ| first. */
export function bySign(page: FormPoints): { positive: number[]; negative: number[] } {
  const axes = Array.from({ length: page.axes }, (_, axis) => axis);
  const strongest = (a: number, b: number) =>
    Math.abs(curvature(page, b)) - Math.abs(curvature(page, a));
  return {
    positive: axes.filter((axis) => curvature(page, axis) > 0).sort(strongest),
    negative: axes.filter((axis) => curvature(page, axis) < 0).sort(strongest),
  };
}

/** For those who do not see the picture: “axis 2, eigenvalue −0.31”. */
export function axisText(page: FormPoints, axis: number): string {
  const what = ["eigenvalue", "shared by its members, curvature", "principal, curvature"];
  return `axis ${axis + 1}, ${what[page.axisKind[axis]]} ${short(curvature(page, axis))}`;
}
