/**
 * Opening an atlas:
 *
 *     const atlas = await openAtlas(new FolderSource());
 *     const page = await atlas.page(atlas.index.placeOf(12));
 *
 * reads atlas.json and forms.arrow; everything else is read when it is asked for, and checked
 * against files.arrow, which is read with the first of these.
 */
import { FILE as FORMS_FILE, readIndex } from "./index";
import { LIST, readSums, type Sum, verify } from "./integrity";
import { FILE as LABELS_FILE, readLabels } from "./labels";
import { MANIFEST, parseManifest } from "./manifest";
import { pageReader, pairReader, readControls } from "./pages";
import { pixelReader } from "./pixels";
import { textReader } from "./text";
import { type Atlas, AtlasError, type Control, type Labels, type Source } from "./types";

export async function openAtlas(source: Source): Promise<Atlas> {
  const [json, forms] = await Promise.allSettled([source.read(MANIFEST), source.read(FORMS_FILE)]);
  // The manifest's own message first: a folder without it is no atlas at all.
  if (json.status === "rejected") throw json.reason;
  const manifest = parseManifest(json.value);
  if (forms.status === "rejected") throw forms.reason;
  const index = readIndex(forms.value, manifest);

  const sums = once(async (): Promise<Map<string, Sum>> => readSums(await source.read(LIST)));
  // The two files that were read before files.arrow are checked with the first that comes after.
  const first = once(async () => {
    const listed = await sums();
    await verify(MANIFEST, json.value, listed);
    await verify(FORMS_FILE, forms.value, listed);
  });
  const read = async (path: string): Promise<ArrayBuffer> => {
    if (source.whole) return source.read(path);
    const [content, listed] = await Promise.all([source.read(path), sums(), first()]);
    await verify(path, content, listed);
    return content;
  };

  const page = pageReader(read, manifest, index);
  const pair = pairReader(read, manifest, index);
  return {
    manifest,
    index,
    source,
    labels: once(async (): Promise<Labels> => readLabels(await read(LABELS_FILE), index)),
    page,
    async pair(place) {
      if (!manifest.comparison) throw new AtlasError("this atlas compares with no other");
      return pair(place);
    },
    controls: once(async (): Promise<Control[]> =>
      manifest.controls ? readControls(await read("controls.arrow"), manifest) : [],
    ),
    ...textReader(read, manifest),
    pixels: pixelReader(read, manifest),
  };
}

/** Makes something once, and again only if that failed. */
function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | null = null;
  return () =>
    (made ??= make().catch((error) => {
      made = null;
      throw error;
    }));
}
