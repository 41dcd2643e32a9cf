import { expect, test } from "vitest";
import { compose, encode, steer } from "../../src/app/live/requests";
import type { Source } from "../../src/data/types";

function answering(answer: unknown, asked: unknown[] = []): Source {
  return {
    read: async () => new ArrayBuffer(0),
    ask: async <T>(path: string, body?: unknown) => {
      asked.push([path, body]);
      return answer as T;
    },
  };
}

const ENCODED = {
  tokens: ["a", " b"],
  top: [[{ id: 4, value: 1.5, label: "x" }], []],
  path: {
    coordinates: [
      [1, 2],
      [3, 4],
    ],
    values: [0.5, -1],
  },
};

test("a sentence is asked for by its text and form", async () => {
  const asked: unknown[] = [];
  const encoded = await encode(answering(ENCODED, asked), "a b", 12);
  expect(asked).toEqual([["encode", { text: "a b", id: 12 }]]);
  expect(encoded).toEqual(ENCODED);
});

test("a sentence without a place on the form has no path", async () => {
  expect((await encode(answering({ ...ENCODED, path: null }), "a b", 1)).path).toBeNull();
});

test.each([
  [{ ...ENCODED, tokens: "ab" }, 'has "ab" as tokens'],
  [{ ...ENCODED, tokens: ["a", 3] }, "has 3 as tokens[1]"],
  [{ ...ENCODED, top: [[]] }, "has 1 top in place of 2"],
  [{ ...ENCODED, top: [[{ id: 4, value: null, label: "x" }], []] }, "has null as value"],
  [{ ...ENCODED, path: { ...ENCODED.path, values: [1] } }, "has 1 values in place of 2"],
  [{ ...ENCODED, path: { ...ENCODED.path, coordinates: [[1], ["x"]] } }, "as coordinates[1]"],
  [null, "has null as answer"],
  [[], "has [] as answer"],
])("an answer of another kind is refused in words: %#", async (answer, words) => {
  const asking = encode(answering(answer), "a b", 1);
  await expect(asking).rejects.toMatchObject({ name: "AtlasError" });
  await expect(asking).rejects.toThrow(words);
});

test("without a server the reason is said", async () => {
  const source: Source = { read: async () => new ArrayBuffer(0) };
  await expect(encode(source, "a", 1)).rejects.toThrow("quadric atlas serve");
});

const COMPOSED = {
  spectrum: [2, -1],
  axes: 2,
  axis_kind: ["eigenvector", "eigenvector"],
  form: [2, 0, 0, -1],
  linear: [0, 0],
  constant: 0,
  coordinates: [
    [1, 2, 3],
    [0, 1, 0],
  ],
  value: [2, 7, 18],
  row: [5, 6, 7],
  tokens: ["a", "b", "c"],
  quadric: "cylinder",
};

test("a composed form is read by the names of a page", async () => {
  const composed = await compose(answering(COMPOSED), [{ id: 1, weight: 0.5 }], 100);
  expect(composed.axisKind).toEqual(["eigenvector", "eigenvector"]);
  expect(composed.coordinates[0]).toEqual([1, 2, 3]);
});

test.each([
  [{ ...COMPOSED, form: [1] }, "has 1 form in place of 4"],
  [{ ...COMPOSED, coordinates: [[1, 2, 3], [1]] }, "has 1 coordinates of an axis in place of 3"],
  [{ ...COMPOSED, coordinates: [[1, 2, 3]] }, "has 1 coordinates in place of 2"],
])("a composed form whose lists do not fit is refused: %#", async (answer, words) => {
  await expect(compose(answering(answer), [], 100)).rejects.toThrow(words);
});

test("a steering answer is read by the names of the page", async () => {
  const asked: unknown[] = [];
  const change = { token: " May", logit: 1.2, before: 0.1, after: 0.3 };
  const question = { text: "a", id: 3, position: null, along: "level set", amount: 90 } as const;
  const steered = await steer(
    answering(
      {
        value_before: 1,
        value_after: 1,
        moved: 2,
        turned: 90,
        kl: 0.4,
        rising: [change],
        falling: [],
        coordinates_before: [1, 0],
        coordinates_after: [0, 1],
        tokens: ["a"],
        position: 0,
      },
      asked,
    ),
    { ...question, axes: [2, 3] },
  );
  expect(asked).toEqual([["steer", { ...question, axes: [2, 3] }]]);
  expect(steered.rising).toEqual([change]);
  expect(steered.coordinatesAfter).toEqual([0, 1]);
});
