/** labels.arrow: names, words and members, and the search over them. */
import { checkLengths } from "./points";
import { LABELS } from "./schemas";
import { damaged, readTable } from "./tables";
import type { Index, Labels } from "./types";

export const FILE = "labels.arrow";

export function readLabels(bytes: ArrayBuffer | Uint8Array, index: Index): Labels {
  const table = readTable(FILE, bytes, LABELS);
  if (table.rows !== index.count) {
    throw damaged(FILE, `it has ${table.rows} rows for ${index.count} forms`);
  }
  const label = (place: number) => table.at<string>("label", place);
  const writtenLabel = (place: number) => table.at<string>("written_label", place);
  const tokens = (place: number) => table.at<string[]>("tokens", place);
  const quadric = (place: number) => table.at<string>("quadric", place);

  // What is searched, in lower case. A scan of 100,000 takes some three milliseconds, and making the
  // strings fifty times as long: so they are made once, at the first search.
  let texts: string[] | null = null;
  const searched = () =>
    (texts ??= Array.from({ length: index.count }, (_, place) =>
      // A separator that nobody types keeps a query from matching across two of them.
      [label(place), writtenLabel(place), ...tokens(place), quadric(place), index.id[place]]
        .join("\n")
        .toLowerCase(),
    ));

  return {
    label,
    writtenLabel,
    tokens,
    quadric,
    members(place) {
      const ids = table.at<Uint32Array>("members", place);
      const weights = table.at<Float32Array>("weights", place);
      checkLengths(FILE, place, { weights: [weights, ids.length] });
      return Array.from(ids, (id, i) => ({ id, weight: weights[i] }));
    },
    search(text) {
      const wanted = text.trim().toLowerCase();
      const found: number[] = [];
      if (wanted === "") {
        for (let place = 0; place < index.count; place++) found.push(place);
        return found;
      }
      searched().forEach((candidate, place) => {
        if (candidate.includes(wanted)) found.push(place);
      });
      return found;
    },
  };
}
