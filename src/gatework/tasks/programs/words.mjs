// What an exported network reads of texts: words, their features, and what its encoder makes of them.

const ALONE = "\\u3040-\\u30ff\\u3400-\\u4dbf\\u4e00-\\u9fff\\uf900-\\ufaff"; // Japanese and Chinese write no spaces
const WORD = "\\p{L}\\p{N}_"; // Python's \w
const LETTER = `(?:(?![${ALONE}])[${WORD}])`;
const PATTERN = new RegExp(`[${ALONE}]|${LETTER}+(?:['’]${LETTER}+)*|[^${WORD}\\s\\x1c-\\x1f\\x85]`, "gu");

/** The words of a text. */
export const wordsOf = (text) => text.match(PATTERN) ?? [];

const CRC = Uint32Array.from({ length: 256 }, (_, byte) => {
  for (let bit = 0; bit < 8; bit++) byte = byte & 1 ? (byte >>> 1) ^ 0xedb88320 : byte >>> 1;
  return byte;
});
const encoder = new TextEncoder();

/** The row of a text in a table of so many: its CRC-32. */
export function hashed(text, rows) {
  let crc = 0xffffffff;
  for (const byte of encoder.encode(text)) crc = CRC[(crc ^ byte) & 255] ^ (crc >>> 8);
  return ((crc ^ 0xffffffff) >>> 0) % rows;
}

const different = (features, rows) => [...new Set([...features].map((each) => hashed(each, rows)))];
const pieces = (characters, sizes) =>
  sizes.flatMap((size) =>
    Array.from({ length: Math.max(0, characters.length - size + 1) }, (_, at) => characters.slice(at, at + size).join("")),
  );

/** The rows of a text's features: words, pairs of words, and pieces of words. */
export function textFeatures(words, rows) {
  const low = words.map((word) => word.toLowerCase());
  const features = new Set(low.map((word) => `w ${word}`));
  ["", ...low].forEach((one, place) => features.add(`p ${one} ${low[place] ?? ""}`));
  for (const word of new Set(low)) {
    const spaced = [" ", ...Array.from(word).slice(0, 40), " "];
    for (const piece of pieces(spaced, [2, 3, 4, 5])) features.add(`c${piece}`);
  }
  return different(features, rows);
}

/** The rows of a word's pieces of 3 to 5 characters. */
export function subwords(word, rows) {
  const marked = ["<", ...Array.from(word).slice(0, 64), ">"];
  const made = pieces(marked, [3, 4, 5].filter((size) => size <= marked.length));
  return different(made.length ? made : [marked.join("")], rows);
}

function shape(word) {
  const letters = Array.from(word).slice(0, 32).map((c) => {
    if (/[\p{Nd}²³¹⁰-⁹₀-₉]/u.test(c)) return "d";
    return /\p{Uppercase}/u.test(c) ? "X" : /\p{L}/u.test(c) ? "x" : c;
  });
  return letters.join("").replace(/(.)\1{2,}/gsu, "$1$1");
}

/** For each word the rows of its features: those of a linear tagger. `ahead`: later words are looked at too. */
export function tokenFeatures(words, ahead, rows) {
  const cut = words.map((word) => Array.from(word.toLowerCase()).slice(0, 32).join(""));
  const low = ["<s>", "<s>", ...cut, "</s>", "</s>"], shapes = ["<s>", ...words.map(shape), "</s>"];
  const end = (word, size) => Array.from(word).slice(-size).join("");
  return words.map((_, t) => {
    const [twoBefore, before, word, after, twoAfter] = low.slice(t, t + 5), own = shapes[t + 1];
    const found = [
      `w ${word}`, `w-1 ${before}`, `w-2 ${twoBefore}`, `w-1w ${before} ${word}`, `w-2w-1 ${twoBefore} ${before}`,
      `s ${own}`, `s-1s ${shapes[t]} ${own}`, `t ${t < 3 ? t : "late"}`, `e-1 ${end(before, 3)}`,
    ];
    if (ahead) {
      found.push(
        `w+1 ${after}`, `w+2 ${twoAfter}`, `ww+1 ${word} ${after}`, `w-1w+1 ${before} ${after}`,
        `w+1w+2 ${after} ${twoAfter}`, `ss+1 ${own} ${shapes[t + 2]}`, `e+1 ${end(after, 3)}`,
      );
    }
    const characters = Array.from(word);
    for (let size = 1; size <= Math.min(4, characters.length); size++) {
      found.push(`p ${characters.slice(0, size).join("")}`, `e ${end(word, size)}`);
    }
    return found.map((each) => hashed(each, rows));
  });
}

export function softmax(scores) {
  const largest = Math.max(...scores), powers = Array.from(scores, (each) => Math.exp(each - largest));
  const total = powers.reduce((a, b) => a + b, 0);
  return powers.map((each) => each / total);
}

/** Words as the states of the recurrent layers. */
export class Words {
  constructor(parts, facts, tables) {
    Object.assign(this, { parts, facts, tables, known: new Map() });
    this.ids = new Map(facts.words.map((word, place) => [word, place + 1]));
    this.characters = new Map(Array.from(facts.characters, (character, place) => [character, place + 1]));
  }

  /** What the layers give of words, by name: for each an array of the steps' vectors, `output` among them. */
  states(words) {
    if (!words.length) return { output: [] };
    const read = words.map((word) => this.input(word)), joined = new Float32Array(read.length * read[0].length);
    read.forEach((vector, t) => joined.set(vector, t * vector.length));
    const stream = this.parts.layers.stream(), made = stream.sequence(joined);
    stream.close();
    return Object.fromEntries(
      Object.entries(made).map(([name, values]) => {
        const width = values.length / words.length;
        return [name, words.map((_, t) => values.subarray(t * width, (t + 1) * width))];
      }),
    );
  }

  /** What the layers read of a word. */
  input(word) {
    if (!this.known.has(word)) {
      const own = this.facts.lowercase ? word.toLowerCase() : word;
      const row = Float64Array.from(this.tables.row("embedding", this.ids.get(own) ?? 0));
      if (this.tables.has("subwords")) {
        const places = subwords(own, this.facts.subword_rows);
        this.tables.sum("subwords", places).forEach((value, k) => (row[k] += value / places.length));
      }
      this.known.set(word, this.parts.characters ? [...row, ...this.spelled(word)] : [...row]);
    }
    return this.known.get(word);
  }

  /** The last states of the layer that reads a word's characters, in both directions. */
  spelled(word) {
    let characters = Array.from(word);
    const most = this.facts.longest_word;
    if (characters.length > most) characters = [...characters.slice(0, most / 2), ...characters.slice(-most / 2)];
    if (!characters.length) return new Float32Array(this.facts.spelled);
    const stream = this.parts.characters.stream();
    stream.sequence(characters.map((each) => this.characters.get(each) ?? 0));
    const made = [...stream.get("h_l0"), ...stream.get("h_l0_reverse")];
    stream.close();
    return made;
  }
}
