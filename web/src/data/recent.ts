/** The last few things that were read, each read once however many ask for it at the same time. */
export class Recent<T> {
  readonly #kept = new Map<number, Promise<T>>();

  constructor(
    private readonly most: number,
    private readonly read: (key: number) => Promise<T>,
  ) {}

  get(key: number): Promise<T> {
    let found = this.#kept.get(key);
    if (found) {
      // A Map remembers the order of insertion: the first is the one unused for longest.
      this.#kept.delete(key);
    } else {
      found = this.read(key);
      // What failed may succeed when it is asked for again.
      found.catch(() => {
        if (this.#kept.get(key) === found) this.#kept.delete(key);
      });
    }
    this.#kept.set(key, found);
    if (this.#kept.size > this.most) this.#kept.delete(this.#kept.keys().next().value!);
    return found;
  }
}
