/** The text of a token as it is shown: nothing in it may be invisible. */

const NAMED: Record<string, string> = { "\n": "⏎", "\r": "␍", "\t": "⇥", "\u00a0": "⍽" };

/**
 * A token with its whitespace and control characters as visible signs. A space before a word stays
 * a space, as it is what parts the words of a text; a token of nothing but spaces is drawn.
 */
export function visible(token: string): string {
  if (token === "") return "∅";
  const blank = /^ +$/.test(token);
  let shown = "";
  for (const character of token) shown += signOf(character, blank);
  return shown;
}

function signOf(character: string, blank: boolean): string {
  if (character === " ") return blank ? "␣" : " ";
  const named = NAMED[character];
  if (named !== undefined) return named;
  const code = character.codePointAt(0)!;
  if (code < 0x20) return String.fromCodePoint(0x2400 + code);
  if (code === 0x7f) return "␡";
  // Signs without a width of their own, and those that turn the direction of the text.
  const unseen = /[\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/.test(character);
  return unseen ? `‹${code.toString(16).toUpperCase()}›` : character;
}

/** The same for a heading or a table cell: without the spaces around it. */
export function word(token: string): string {
  const shown = visible(token);
  return shown.trim() === "" ? shown : shown.trim();
}
