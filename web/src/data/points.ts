/** The columns that pages/, pairs/ and controls.arrow share: a form on its points. */
import { damaged, type Table } from "./tables";
import type { FormPoints } from "./types";

export function readPoints(table: Table, row: number): FormPoints {
  const points: FormPoints = {
    spectrum: table.at("spectrum", row),
    axes: table.at("axes", row),
    axisKind: table.at("axis_kind", row),
    form: table.at("form", row),
    linear: table.at("linear", row),
    constant: table.at("constant", row),
    scale: table.at("scale", row),
    valueScale: table.at("value_scale", row),
    remainder: table.at("remainder", row),
    coordinates: table.at("coordinates", row),
    value: table.at("value", row),
  };
  const r = points.axes;
  const n = points.value.length;
  checkLengths(table.path, row, {
    axis_kind: [points.axisKind, r],
    form: [points.form, r * r],
    linear: [points.linear, r],
    scale: [points.scale, r],
    coordinates: [points.coordinates, r * n],
  });
  return points;
}

/** Lists of one row that belong together must be as long as each other. */
export function checkLengths(
  path: string,
  row: number,
  lists: Record<string, [found: { length: number }, expected: number]>,
) {
  for (const [name, [found, expected]] of Object.entries(lists)) {
    if (found.length !== expected) {
      throw damaged(path, `row ${row} has ${found.length} of ${expected} numbers in "${name}"`);
    }
  }
}
