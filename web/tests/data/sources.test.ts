import { binary, tableFromArrays, tableToIPC, utf8 } from "@uwdata/flechette";
import { afterEach, describe, expect, it, vi } from "vitest";
import { openAtlas } from "../../src/data/open";
import { fromBase64, inflate } from "../../src/data/packed";
import { checkPath, FolderSource, PackedSource } from "../../src/data/sources";
import { AtlasError } from "../../src/data/types";
import { golden } from "./golden";

const ESCAPES = [
  "../secret", "pages/../../secret", "/etc/passwd", "http://a.example/b", "//a.example/b", "a\\b",
  "data:,x", "javascript:1", "", ".", "pages/./a", "pages//a", "a?b", "a#b", "a%2e%2e/b", "...",
];

describe("paths", () => {
  for (const path of ESCAPES) {
    it(`do not leave the folder: ${JSON.stringify(path)}`, async () => {
      expect(() => checkPath(path)).toThrow(AtlasError);
      const fetched = vi.fn();
      vi.stubGlobal("fetch", fetched);
      await expect(new FolderSource("http://h/a/").read(path)).rejects.toThrow(AtlasError);
      await expect(new FolderSource("http://h/a/").ask(path)).rejects.toThrow(AtlasError);
      await expect(golden().read(path)).rejects.toThrow(AtlasError);
      expect(fetched).not.toHaveBeenCalled();
    });
  }
  it("of an atlas are taken", () => {
    for (const path of ["atlas.json", "pages/00012.arrow"]) expect(checkPath(path)).toBe(path);
  });
});

afterEach(() => vi.unstubAllGlobals());

function answer(body: BodyInit | null, init?: ResponseInit) {
  const fetched = vi.fn((_url: URL, _init?: RequestInit) => Promise.resolve(new Response(body, init)));
  vi.stubGlobal("fetch", fetched);
  return fetched;
}

describe("a folder", () => {
  const source = () => new FolderSource("http://host/some/atlas/index.html?x=1#/l/3");

  it("is read beside its page", async () => {
    const fetched = answer(Uint8Array.of(1, 2));
    const bytes = await source().read("pages/00000.arrow");
    expect(new Uint8Array(bytes)).toEqual(Uint8Array.of(1, 2));
    expect(String(fetched.mock.calls[0][0])).toBe("http://host/some/atlas/pages/00000.arrow");
  });

  it("says what is missing, refused, or not answered", async () => {
    answer(null, { status: 404 });
    await expect(source().read("labels.arrow")).rejects.toThrow(
      "labels.arrow is missing from this atlas",
    );
    answer(null, { status: 503 });
    await expect(source().read("a")).rejects.toThrow("a cannot be read: the server answered 503");
    vi.stubGlobal("fetch", () => Promise.reject(new TypeError("Failed to fetch")));
    await expect(source().read("a")).rejects.toThrow("a cannot be read: the server does not answer");
    await expect(new FolderSource("file:///a/index.html").read("a")).rejects.toThrow(
      "run quadric atlas serve",
    );
  });

  it("is live where the server says so with atlas.json", async () => {
    const live = source();
    answer("{}", { headers: { "X-Quadric-Live": "1" } });
    await live.read("labels.arrow");
    expect(live.live).toBe(false);
    await live.read("atlas.json");
    expect(live.live).toBe(true);
    answer("{}");
    const still = source();
    await still.read("atlas.json");
    expect(still.live).toBe(false);
  });

  it("asks by GET, or by POST of JSON", async () => {
    const fetched = answer('{"encode":true}');
    expect(await source().ask("capabilities")).toEqual({ encode: true });
    expect(String(fetched.mock.calls[0][0])).toBe("http://host/some/atlas/api/capabilities");
    expect(fetched.mock.calls[0][1]?.method).toBeUndefined();
    await source().ask("encode", { text: "a" });
    expect(fetched.mock.calls[1][1]).toMatchObject({
      method: "POST",
      headers: { "content-type": "application/json" },
      body: '{"text":"a"}',
    });
  });

  it("passes on what the server says is wrong", async () => {
    answer('{"error":"the text is empty: type a sentence"}', { status: 400 });
    await expect(source().ask("encode", {})).rejects.toThrow(
      new AtlasError("the text is empty: type a sentence"),
    );
    answer("<h1>Bad gateway</h1>", { status: 502 });
    await expect(source().ask("encode", {})).rejects.toThrow("api/encode: the server answered 502");
    answer("<h1>Welcome</h1>");
    await expect(source().ask("encode")).rejects.toThrow("answer cannot be read");
  });
});

describe("a packed atlas", () => {
  const paths = ["atlas.json", "forms.arrow", "labels.arrow", "pages/00000.arrow"];
  const pack = async () =>
    tableToIPC(
      tableFromArrays(
        {
          path: paths,
          content: await Promise.all(
            paths.map(async (path) => new Uint8Array(await golden().read(path))),
          ),
        },
        { types: { path: utf8(), content: binary() } },
      ),
      { format: "file" },
    )!;

  it("opens like a folder, without a list of sums", async () => {
    const atlas = await openAtlas(new PackedSource(await pack()));
    const direct = await openAtlas(golden());
    expect(await atlas.page(3)).toEqual(await direct.page(3));
    expect((await atlas.labels()).label(5)).toBe((await direct.labels()).label(5));
    await expect(atlas.controls()).rejects.toThrow("controls.arrow is missing from this atlas");
  });

  it("gives bytes of its own each time", async () => {
    const source = new PackedSource(await pack());
    const [a, b] = [await source.read("atlas.json"), await source.read("atlas.json")];
    new Uint8Array(a).fill(0);
    expect(new Uint8Array(b)[0]).toBe("{".charCodeAt(0));
  });

  it("comes as base 64 in a page", async () => {
    const bytes = await pack();
    let letters = "";
    for (const byte of bytes) letters += String.fromCharCode(byte);
    expect(fromBase64(`\n${btoa(letters)}\n`)).toEqual(Uint8Array.from(bytes));
    expect(() => fromBase64("*")).toThrow("the packed atlas is damaged: it is not");
    expect(() => new PackedSource(bytes.slice(0, -9))).toThrow("the packed atlas is damaged");
  });

  it("may be compressed", async () => {
    const bytes = Uint8Array.from(await pack());
    const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream("gzip"));
    const small = new Uint8Array(await new Response(stream).arrayBuffer());
    expect(small.length).toBeLessThan(bytes.length);
    expect(await inflate(small)).toEqual(bytes);
    expect(await inflate(bytes)).toBe(bytes);
    await expect(inflate(small.slice(0, -20))).rejects.toThrow("the packed atlas is damaged: it can");
  });
});
