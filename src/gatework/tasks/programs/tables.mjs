// The tables of an export that no part holds, from `tables.bin`: rows of vectors that a program looks up.

export class Tables {
  /** `content`: an ArrayBuffer. `index`: of `model.json`, as tables.py says. */
  constructor(content, index) {
    this.tables = new Map();
    for (const [name, { shape, at, kept, int8 }] of Object.entries(index)) {
      const width = shape[1] ?? 1, count = kept ?? shape[0], begin = 4 * (at + (kept ?? 0));
      let row = 0; // places of rows that are kept are written as differences
      const places = kept === undefined ? null : Array.from(new Int32Array(content, 4 * at, kept), (more, place) => [(row += more), place]);
      const numbers = int8 ? widened(content, begin, count, width) : new Float32Array(content, begin, count * width);
      this.tables.set(name, { width, rows: places && new Map(places), numbers });
    }
  }

  has(name) {
    return this.tables.has(name);
  }

  /** All numbers of a table whose rows are all there. */
  get(name) {
    return this.tables.get(name).numbers;
  }

  /** Row `place`; null where it is zero. */
  row(name, place) {
    const { width, rows, numbers } = this.tables.get(name);
    const at = rows ? rows.get(place) : place;
    return at === undefined ? null : numbers.subarray(at * width, (at + 1) * width);
  }

  /** The sum of rows. */
  sum(name, places) {
    const total = new Float64Array(this.tables.get(name).width);
    for (const place of places) this.row(name, place)?.forEach((value, k) => (total[k] += value));
    return total;
  }
}

/** Rows of numbers in 8 bits, before which their scales stand. */
function widened(content, begin, count, width) {
  const scales = new Float32Array(content, begin, count), bytes = new Int8Array(content, begin + 4 * count, count * width);
  return Float32Array.from(bytes, (number, place) => number * scales[Math.floor(place / width)]);
}

/** What `load` of a program reads in a folder. */
export async function file(address) {
  if (address.protocol === "file:") {
    const { readFile } = await import("node:fs/promises");
    const bytes = await readFile(address);
    return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
  }
  return (await fetch(address)).arrayBuffer();
}

export const json = async (address) => JSON.parse(new TextDecoder().decode(await file(address)));
