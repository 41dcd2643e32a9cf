/**
 * The description at the end of an Arrow file, checked before anything is made from it: one changed
 * bit there can say that a list has a billion entries, which would take the browser's memory before
 * it takes notice. Tables, vectors and strings are those of FlatBuffers.
 */

/** Throws, in words that follow “… is damaged:”, where a list does not fit into the file. */
export function checkFooter(data: Uint8Array) {
  try {
    new Walk(data).file();
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new Error("the description of its columns does not fit into it");
  }
}

/** Columns within columns: a list of records with lists is three deep. */
const DEEPEST = 8;
const UNION = 14;
const FIRST_MAGIC = 8;
const LAST_MAGIC = 6;

class Walk {
  readonly #view: DataView;
  /** Entries of all lists together: each takes a byte at least, unless lists overlap. */
  #budget: number;

  constructor(data: Uint8Array) {
    this.#view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    this.#budget = data.byteLength;
  }

  file() {
    const end = this.#view.byteLength - LAST_MAGIC - 4;
    const footer = this.#table(end - this.#view.getInt32(end, true));
    this.#schema(footer(6));
    for (const slot of [8, 10]) {
      for (const block of this.#vector(footer(slot), 24)) this.#batch(block);
    }
    this.#metadata(footer(12));
  }

  /** A table's fields by their slot: where each lies, or 0. */
  #table(at: number): (slot: number) => number {
    const start = at + this.#view.getUint32(at, true);
    const slots = start - this.#view.getInt32(start, true);
    const size = this.#view.getUint16(slots, true);
    return (slot) => {
      const offset = slot < size ? this.#view.getUint16(slots + slot, true) : 0;
      return offset && start + offset;
    };
  }

  /** Where each entry of a list lies. */
  *#vector(at: number, stride: number): Generator<number> {
    if (!at) return;
    const start = at + this.#view.getUint32(at, true);
    const count = this.#view.getUint32(start, true);
    this.#budget -= count;
    if (start + 4 + count * stride > this.#view.byteLength || this.#budget < 0) {
      throw new RangeError("a list is longer than the file");
    }
    for (let i = 0; i < count; i++) yield start + 4 + i * stride;
  }

  #walk(at: number, stride = 1) {
    this.#vector(at, stride).next();
  }

  #schema(at: number) {
    if (!at) throw new RangeError("there is no schema");
    const schema = this.#table(at);
    for (const field of this.#vector(schema(6), 4)) this.#field(field, 0);
    this.#metadata(schema(8));
  }

  #field(at: number, depth: number) {
    if (depth > DEEPEST) throw new RangeError("columns lie too deep");
    const field = this.#table(at);
    // The type with a list of its own; an atlas has none.
    if (this.#view.getUint8(field(8)) === UNION) throw new RangeError("a column is a union");
    this.#walk(field(4));
    for (const child of this.#vector(field(14), 4)) this.#field(child, depth + 1);
    this.#metadata(field(16));
  }

  #metadata(at: number) {
    for (const entry of this.#vector(at, 4)) {
      const pair = this.#table(entry);
      this.#walk(pair(4));
      this.#walk(pair(6));
    }
  }

  /** The batch of rows that a block of the footer points to. */
  #batch(block: number) {
    const at = Number(this.#view.getBigInt64(block, true));
    if (at < FIRST_MAGIC) throw new RangeError("rows lie before the file's beginning");
    // A mark of four bytes, the length of the message, the message.
    if (this.#view.getInt32(at, true) !== -1) throw new RangeError("no message begins there");
    const header = this.#table(at + 8)(8);
    if (!header) throw new RangeError("rows are not described");
    const batch = this.#table(header);
    this.#walk(batch(6), 16);
    this.#walk(batch(8), 16);
    this.#walk(batch(12), 8);
  }
}
