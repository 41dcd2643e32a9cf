/** Reading one thing after another where only the last one asked for may be shown. */
export class Opening<T> {
  #latest = 0;

  /** Reads something; neither callback is called if another was opened or it was left meanwhile. */
  open(read: () => Promise<T>, opened: (found: T) => void, failed: (message: string) => void) {
    const number = ++this.#latest;
    read().then(
      (found) => number === this.#latest && opened(found),
      (error: unknown) =>
        number === this.#latest && failed(error instanceof Error ? error.message : String(error)),
    );
  }

  leave() {
    this.#latest++;
  }
}
