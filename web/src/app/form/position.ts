/** Where a row of the store stands: in which text and at which position, both from 0. */
import { count } from "../numbers";

/** For a sentence: “text 12, position 3”, or “row 12” where there is no text. */
export function positionOf(row: number, contextSize: number): string {
  if (contextSize <= 1) return `row ${count(row)}`;
  return `text ${count(Math.floor(row / contextSize))}, position ${row % contextSize}`;
}

/** For a cell of a table. */
export function shortPosition(row: number, contextSize: number): string {
  if (contextSize <= 1) return count(row);
  return `${count(Math.floor(row / contextSize))}, ${row % contextSize}`;
}
