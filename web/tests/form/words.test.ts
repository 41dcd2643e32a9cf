import { describe, expect, it } from "vitest";
import { frequentWords, matching, readWords, settled, soughtIn } from "../../src/app/form/words";

const box = (x: number, y: number) => ({ x, y, width: 40, height: 10 });

describe("what a reader wrote", () => {
  it("is parted by commas and spaces, each word once in any case", () => {
    expect(soughtIn(" January,March  may, MARCH,,\tJune ")).toEqual(["January", "March", "may", "June"]);
    expect(soughtIn(" , ")).toEqual([]);
  });

  it("finds whole words in any case", () => {
    const words = ["May", "may", "Maybe", "June", "", "MAY"];
    expect([...matching(words, ["may"])]).toEqual([1, 1, 0, 0, 0, 1]);
    expect([...matching(words, [])]).toEqual([0, 0, 0, 0, 0, 0]);
  });
});

describe("words that stand in the cloud", () => {
  const repeated = (counts: Record<string, number>) =>
    Object.entries(counts).flatMap(([word, count]) => Array<string>(count).fill(word));
  const all = (words: string[]) => words.keys();

  it("have eight points, or three where points were chosen, the most frequent first", () => {
    const words = repeated({ b: 2, seven: 7, eight: 8, nine: 9, c: 3 });
    const at = new Float32Array(3 * words.length);
    const named = (chosen: boolean) => frequentWords(words, all(words), at, chosen).map(({ word }) => word);
    expect(named(false)).toEqual(["nine", "eight"]);
    expect(named(true)).toEqual(["nine", "eight", "seven", "c"]);
  });

  it("are at most sixteen, and in the order of the alphabet where they are as frequent", () => {
    const words = repeated(Object.fromEntries([..."tsrqponmlkjihgfedcba"].map((each) => [each, 8])));
    const found = frequentWords(words, all(words), new Float32Array(3 * words.length), false);
    expect(found.map(({ word }) => word).join("")).toBe("abcdefghijklmnop");
  });

  it("keep their case apart and stand at the mean of those of their points that count", () => {
    const words = ["May", "may", "May", "May", "May"];
    const at = [0, 0, 0, 50, 50, 50, 2, 0, 0, 4, 0, -6, 90, 90, 90];
    expect(frequentWords(words, [0, 1, 2, 3], at, true)).toEqual([
      { word: "May", count: 3, centre: [2, 0, -2] },
    ]);
  });
});

describe("labels", () => {
  it("move by a line where their place is taken, and are hidden where that does not help", () => {
    const shown = settled([box(50, 50), box(60, 52), box(55, 49), box(58, 51), box(92, 51)], 200, 200);
    expect(shown.map((each) => each?.y ?? null)).toEqual([50, 62, 39, null, 51]);
  });

  it("stay inside the view and beside what is there", () => {
    expect(settled([box(-1, 50), box(165, 50), box(50, 195), box(50, 50)], 200, 200)).toEqual([
      null,
      null,
      box(50, 185),
      box(50, 50),
    ]);
    const title = { x: 0, y: 0, width: 100, height: 40 };
    expect(settled([box(20, 20), box(20, 35), box(120, 20)], 200, 200, [title])).toEqual([
      null,
      box(20, 45),
      box(120, 20),
    ]);
  });

  it("are not placed where a point has no place in the view", () => {
    expect(settled([box(NaN, 10)], 200, 200)).toEqual([null]);
  });
});

it("reads the word of every row once, in the order of the rows", async () => {
  const asked: number[] = [];
  const rows = Array.from({ length: 1200 }, (_, i) => (i * 7919) % 1201);
  const passage = async (start: number) => {
    asked.push(start);
    return { start, tokens: [` w${start} `] };
  };
  const words = await readWords({ passage }, rows);
  expect(words).toEqual(rows.map((row) => `w${row}`));
  expect(asked).toEqual([...rows].sort((a, b) => a - b));
});
