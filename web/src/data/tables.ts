/**
 * Reading one Arrow file of an atlas: its columns must be those of the contract, and a file that was
 * cut off or overwritten is named rather than drawn.
 */
import {
  type Batch,
  type Column,
  type DataType,
  type Field,
  tableFromIPC,
  Type,
} from "@uwdata/flechette";
import { checkFooter } from "./footer";
import { AtlasError } from "./types";

/** Columns by name with their types as Arrow writes them: `uint32`, `list<float32>`. */
export type Schema = Record<string, string | readonly string[]>;

type Numbers =
  | Int8Array
  | Int16Array
  | Int32Array
  | Uint8Array
  | Uint16Array
  | Uint32Array
  | Float32Array;

/** A decoded file. Lists of numbers are views of its bytes; nothing is copied. */
export class Table {
  constructor(
    readonly path: string,
    readonly rows: number,
    private readonly columns: Map<string, Column<unknown>>,
  ) {}

  /** A whole column of numbers. */
  column<A extends Numbers>(name: string): A {
    return this.columns.get(name)!.toArray() as unknown as A;
  }

  /** One entry: a number, a string, a typed array, or an array of strings or records. */
  at<T>(name: string, row: number): T {
    return this.columns.get(name)!.at(row) as T;
  }
}

/** Decodes a file and checks its columns; columns that the schema does not name are left alone. */
export function readTable(path: string, bytes: ArrayBuffer | Uint8Array, schema: Schema): Table {
  let data = bytes instanceof Uint8Array ? bytes : new Uint8Array(bytes);
  // Columns are read where they lie, and wider numbers must start at multiples of their size.
  if (data.byteOffset % 8 !== 0) data = data.slice();
  if (data.byteLength === 0) throw damaged(path, "it is empty");
  if (!isArrow(data, 0)) throw damaged(path, "it is not an Arrow file");
  if (!isArrow(data, data.byteLength - MAGIC.length)) throw damaged(path, "its end is missing");
  let columns: Map<string, Column<unknown>>;
  try {
    checkFooter(data);
    const table = tableFromIPC(data);
    columns = new Map(table.schema.fields.map((f, i) => [f.name, table.getChildAt(i)]));
  } catch (error) {
    throw damaged(path, error instanceof Error ? error.message : String(error));
  }
  let rows = -1;
  for (const [name, expected] of Object.entries(schema)) {
    const column = columns.get(name);
    if (!column) throw new AtlasError(`${path} has no column "${name}": build the atlas again`);
    const found = typeName(column.type);
    if (!(typeof expected === "string" ? [expected] : expected).includes(found)) {
      const wanted = typeof expected === "string" ? expected : expected.join(" or ");
      throw new AtlasError(`${path}: column "${name}" is ${found}, and should be ${wanted}`);
    }
    for (const batch of column.data) checkBatch(path, name, batch);
    if (rows >= 0 && column.length !== rows) {
      throw damaged(path, `column "${name}" has ${column.length} of ${rows} rows`);
    }
    rows = column.length;
  }
  return new Table(path, Math.max(0, rows), columns);
}

export function damaged(path: string, what: string): AtlasError {
  return new AtlasError(`${path} is damaged: ${what.replace(/\.$/, "")}`);
}

const MAGIC = "ARROW1";

function isArrow(data: Uint8Array, at: number): boolean {
  return at >= 0 && [...MAGIC].every((letter, i) => data[at + i] === letter.charCodeAt(0));
}

/** A type as Arrow writes it. */
export function typeName(type: DataType): string {
  const children = "children" in type ? (type.children as Field[]) : [];
  switch (type.typeId) {
    case Type.Int:
      return `${type.signed ? "" : "u"}int${type.bitWidth}`;
    case Type.Float:
      return ["float16", "float32", "float64"][type.precision];
    case Type.Utf8:
      return "string";
    case Type.Binary:
      return "binary";
    case Type.List:
      return `list<${typeName(children[0].type)}>`;
    case Type.FixedSizeList:
      return `list<${typeName(children[0].type)}>[${type.stride}]`;
    case Type.Struct:
      return `struct<${children.map((f) => `${f.name}: ${typeName(f.type)}`).join(", ")}>`;
    default:
      return Object.entries(Type).find(([, id]) => id === type.typeId)?.[0] ?? "unknown";
  }
}

/** Wrong lengths would otherwise be read as shorter columns, or as lists of billions of entries. */
function checkBatch(path: string, name: string, batch: Batch<unknown>) {
  const where = `column "${name}"`;
  if (batch.nullCount) throw damaged(path, `${where} has empty entries`);
  const { type } = batch;
  const values = batch.values?.length ?? 0;
  if (type.typeId === Type.Int || type.typeId === Type.Float) {
    if (values !== batch.length) throw damaged(path, `${where} has ${values} of ${batch.length}`);
  } else if (type.typeId === Type.FixedSizeList) {
    const held = batch.children![0].length;
    if (held !== batch.length * type.stride) {
      throw damaged(path, `${where} has ${held} of ${batch.length * type.stride}`);
    }
  } else if (batch.offsets) {
    const end = type.typeId === Type.List ? batch.children![0].length : values;
    let last = 0;
    // An empty column may come without its one offset.
    for (let i = 0; i < batch.length + (batch.length > 0 ? 1 : 0); i++) {
      const offset = Number(batch.offsets[i]);
      if (!(offset >= last)) throw damaged(path, `${where} runs backwards at row ${i}`);
      last = offset;
    }
    if (last > end) throw damaged(path, `${where} ends at ${last} of ${end}`);
  }
  for (const child of batch.children ?? []) {
    if (type.typeId === Type.Struct && child.length !== batch.length) {
      throw damaged(path, `${where} has ${child.length} of ${batch.length}`);
    }
    checkBatch(path, name, child);
  }
}
