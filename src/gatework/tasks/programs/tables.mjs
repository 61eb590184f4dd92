// The tables of an export that no part holds, from `tables.bin`: rows of vectors that a program looks up.

export class Tables {
  /** `content`: an ArrayBuffer. `index`: of `model.json`, as tables.py says. */
  constructor(content, index) {
    this.tables = Object.entries(index).map(([name, { shape, at, kept }]) => {
      const width = shape[1] ?? 1;
      if (kept === undefined) return [name, { width, numbers: new Float32Array(content, 4 * at, shape[0] * width) }];
      const rows = new Map(Array.from(new Int32Array(content, 4 * at, kept), (row, place) => [row, place]));
      return [name, { width, rows, numbers: new Float32Array(content, 4 * (at + kept), kept * width) }];
    });
    this.tables = new Map(this.tables);
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
