/** What a reader sees where the page itself could not start. */

/** Puts a sentence in place of whatever the element holds. */
export function showFailure(target: HTMLElement, error: unknown) {
  const paragraph = document.createElement("p");
  paragraph.setAttribute("role", "alert");
  const reason = error instanceof Error ? error.message : String(error);
  paragraph.textContent = `The atlas cannot be shown: ${reason}`;
  target.replaceChildren(paragraph);
}
