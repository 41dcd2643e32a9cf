/** Which forms pass the filters, and in which order they are listed. */
import { type Index, KINDS, type Labels, SHAPES } from "../../data/types";
import { titleOf } from "../naming";
import { find } from "../searching";
import type { MapLook, Sort } from "./look";

/** (n) 1 for each form that passes every filter. */
export function passing(index: Index, labels: Labels | null, look: MapLook): Uint8Array {
  const shown = new Uint8Array(index.count);
  if (look.words.trim()) for (const place of find(index, labels, look.words)) shown[place] = 1;
  else shown.fill(1);

  if (look.kinds.length) keep(shown, index.kind, KINDS.map((kind) => look.kinds.includes(kind)));
  if (look.shapes.length) keep(shown, index.shape, SHAPES.map((shape) => look.shapes.includes(shape)));
  for (const [name, [low, high]] of Object.entries(look.ranges)) {
    if (low === null && high === null) continue;
    const column = index.statistic(name);
    // NaN fails both, as a form without the number cannot be said to lie in the range.
    for (let i = 0; i < shown.length; i++) {
      if (!(column[i] >= (low ?? -Infinity) && column[i] <= (high ?? Infinity))) shown[i] = 0;
    }
  }
  if (look.box) {
    const [left, bottom, right, top] = look.box;
    const { x, y } = index;
    for (let i = 0; i < shown.length; i++) {
      if (x[i] < left || x[i] > right || y[i] < bottom || y[i] > top) shown[i] = 0;
    }
  }
  return shown;
}

function keep(shown: Uint8Array, column: Uint8Array, kept: boolean[]) {
  for (let i = 0; i < shown.length; i++) if (!kept[column[i]]) shown[i] = 0;
}

/** Every place in the order of a sort; ties, and forms without the number at the end, best first. */
export function ordered(index: Index, labels: Labels | null, sort: Sort | null): Uint32Array {
  const places = Uint32Array.from({ length: index.count }, (_, place) => place);
  if (sort === null) return places;
  const sign = sort.descending ? -1 : 1;
  if (sort.name === "name") {
    // Compared as plain text, which for 100,000 names takes a tenth of the time of a collation; ids
    // in them are made as long as the longest first, so that 9 comes before 12.
    const names = Array.from(places, (place) =>
      titleOf(index, labels, place)
        .toLowerCase()
        .replace(/\d+/g, (digits) => digits.padStart(10, "0")),
    );
    return places.sort((a, b) =>
      names[a] === names[b] ? a - b : names[a] < names[b] ? -sign : sign,
    );
  }
  const column =
    sort.name === "id" ? index.id : sort.name === "shape" ? index.shape : index.statistic(sort.name);
  return places.sort((a, b) => {
    const one = column[a];
    const other = column[b];
    if (one === other) return a - b;
    if (Number.isNaN(one) || Number.isNaN(other)) {
      return Number(Number.isNaN(one)) - Number(Number.isNaN(other)) || a - b;
    }
    return sign * (one - other);
  });
}

/** The places of `order` that are shown. */
export function listed(order: Uint32Array, shown: Uint8Array): number[] {
  const list: number[] = [];
  for (const place of order) if (shown[place]) list.push(place);
  return list;
}

/** The smallest box that holds the places: it holds no other form that was shown in the rectangle. */
export function boxAround(index: Index, places: number[]): [number, number, number, number] {
  const box: [number, number, number, number] = [Infinity, Infinity, -Infinity, -Infinity];
  for (const place of places) {
    box[0] = Math.min(box[0], index.x[place]);
    box[1] = Math.min(box[1], index.y[place]);
    box[2] = Math.max(box[2], index.x[place]);
    box[3] = Math.max(box[3], index.y[place]);
  }
  return box;
}
