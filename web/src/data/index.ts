/** forms.arrow: every form's place on the map and its statistics. */
import { FORMS } from "./schemas";
import { damaged, readTable } from "./tables";
import type { Index, Manifest } from "./types";

export const FILE = "forms.arrow";

export function readIndex(bytes: ArrayBuffer | Uint8Array, manifest: Manifest): Index {
  const names = manifest.statistics.map((statistic) => statistic.name);
  const schema = { ...FORMS, ...Object.fromEntries(names.map((name) => [name, "float32"])) };
  const table = readTable(FILE, bytes, schema);
  if (table.rows !== manifest.forms) {
    throw damaged(FILE, `it has ${table.rows} forms where atlas.json says ${manifest.forms}`);
  }
  const id = table.column<Uint32Array>("id");
  let places: Map<number, number> | null = null;
  return {
    count: table.rows,
    id,
    kind: table.column("kind"),
    shape: table.column("shape"),
    x: table.column("x"),
    y: table.column("y"),
    positive: table.column("positive"),
    negative: table.column("negative"),
    statistic(name) {
      if (!names.includes(name)) {
        throw new RangeError(`statistic ${name} is none of ${names.join(", ")}`);
      }
      return table.column<Float32Array>(name);
    },
    placeOf(wanted) {
      places ??= new Map(Array.from(id, (one, place) => [one, place]));
      return places.get(wanted) ?? -1;
    },
  };
}
