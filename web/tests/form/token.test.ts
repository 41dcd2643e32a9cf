import { expect, it } from "vitest";
import { visible, word } from "../../src/app/form/token";

it.each([
  ["the", "the"],
  [" the", " the"],
  [" ", "␣"],
  ["   ", "␣␣␣"],
  ["", "∅"],
  ["\n\n", "⏎⏎"],
  [" \n", " ⏎"],
  ["\t", "⇥"],
  ["\u0000", "␀"],
  ["\u001b[0m", "␛[0m"],
  ["\u007f", "␡"],
  ["\u200b", "‹200B›"],
  ["\u202eabc", "‹202E›abc"],
  ["\u00a0", "⍽"],
  ["<img onerror=1>", "<img onerror=1>"],
  ["日本😀", "日本😀"],
])("shows %j as %j", (token, shown) => {
  expect(visible(token)).toBe(shown);
});

it("has no spaces around a word, but shows a token of spaces", () => {
  expect(word(" the ")).toBe("the");
  expect(word("  ")).toBe("␣␣");
});
