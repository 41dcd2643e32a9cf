/** Which forms a search finds. */
import type { Index, Labels } from "../data/types";

/** Places that hold the text, in their order, but the form of this very id first. */
export function find(index: Index, labels: Labels | null, text: string): number[] {
  const wanted = text.trim();
  const exact = /^\d+$/.test(wanted) ? index.placeOf(Number(wanted)) : -1;
  const found = labels ? labels.search(wanted) : byId(index, wanted);
  return exact < 0 ? found : [exact, ...found.filter((place) => place !== exact)];
}

function byId(index: Index, text: string): number[] {
  const found: number[] = [];
  for (let place = 0; place < index.count; place++) {
    if (String(index.id[place]).includes(text)) found.push(place);
  }
  return found;
}
