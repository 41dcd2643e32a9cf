/** Columns of the table of forms. */
import type { Manifest } from "../../data/types";
import type { Sort } from "./look";

export interface Column {
  /** A statistic, or id, name or shape. */
  name: string;
  title: string;
  definition: string;
  numeric: boolean;
  /** Least width in CSS pixels. */
  width: number;
}

const NAME: Column = {
  name: "name",
  title: "Form",
  definition: "What it responds to",
  numeric: false,
  width: 190,
};
const SHAPE: Column = {
  name: "shape",
  title: "Shape",
  definition: "What the evidence says of its points",
  numeric: false,
  width: 84,
};
const ID: Column = {
  name: "id",
  title: "Id",
  definition: "The latent’s index, or a group’s number",
  numeric: true,
  width: 72,
};

/** The name, the statistics in `first`, shape and id, and the other statistics. */
export function columnsOf(manifest: Manifest, first: string[]): Column[] {
  const rank = (name: string) => (first.indexOf(name) + first.length + 1) % (first.length + 1);
  const statistics = [...manifest.statistics]
    .sort((a, b) => rank(a.name) - rank(b.name))
    .map(({ name, title, definition }) => ({
      name,
      title,
      definition,
      numeric: true,
      // A header shows its title and an arrow.
      width: Math.max(84, 40 + 7.5 * title.length),
    }));
  return [
    NAME,
    ...statistics.slice(0, first.length),
    SHAPE,
    ID,
    ...statistics.slice(first.length),
  ];
}

/** The sort after a press on a header: numbers fall first, texts rise first, a third press ends it. */
export function nextSort(sort: Sort | null, column: Column): Sort | null {
  const falls = column.numeric && column.name !== "id";
  if (sort?.name !== column.name) return { name: column.name, descending: falls };
  return sort.descending === falls ? { name: column.name, descending: !falls } : null;
}
