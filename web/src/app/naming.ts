/** What a form is called. */
import { type Index, KINDS, type Labels } from "../data/types";

/** Its written label, else its words, else its kind and id; until labels are there, the last. */
export function titleOf(index: Index, labels: Labels | null, place: number): string {
  const named = labels && (labels.writtenLabel(place) || labels.label(place));
  return named || plainName(index, place);
}

/** Its kind and id: “latent 12”. */
export function plainName(index: Index, place: number): string {
  return `${KINDS[index.kind[place]]} ${index.id[place]}`;
}
