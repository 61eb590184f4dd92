// Text to tokens and back, as Gatework's tokenizers do it: characters, words, or byte pairs.

const WHITE = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/u; // Python's str.split()
const WORDS = new RegExp(
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\p{White_Space}\\p{L}\\p{N}]+" +
    "|\\p{White_Space}+(?!\\P{White_Space})|\\p{White_Space}+",
  "gu",
); // GPT-2's, with the library's white space
const UNKNOWN = "<unk>", END_OF_LINE = "<eos>";

// Each character by itself: a whole text's lower case would look round a sigma for the end of its word.
const lower = (text) => Array.from(text, (each) => (each === "Σ" ? "σ" : each.toLowerCase())).join("");

function byteCharacters() {
  const prints = (byte) => (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
  let other = 0x100;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(prints(byte) ? byte : other++));
}

/** The tokenizer of a file of the `tokenizers` library that Gatework wrote. */
export class Tokenizer {
  constructor(file, kind, lowercase) {
    this.kind = kind;
    this.lowercase = lowercase;
    this.ids = new Map(Object.entries(file.model.vocab));
    this.tokens = [];
    for (const [token, id] of this.ids) this.tokens[id] = token;
    if (kind === "bpe") {
      this.ranks = new Map(file.model.merges.map((pair, rank) => [pair.join(" "), rank]));
      this.characters = byteCharacters();
      this.bytes = new Map(this.characters.map((character, byte) => [character, byte]));
    }
  }

  encode(text) {
    if (this.lowercase) text = lower(text);
    if (this.kind === "bpe") {
      const lines = text.match(/[^\n]*\n|[^\n]+/g) ?? [];
      return lines.flatMap((line) => (line.match(WORDS) ?? []).flatMap((word) => this.pairs(word)));
    }
    const parts =
      this.kind === "character"
        ? Array.from(text)
        : text.replaceAll("\n", ` ${END_OF_LINE} `).split(WHITE).filter((word) => word);
    const unknown = this.ids.get(UNKNOWN);
    return parts.map((part) => this.ids.get(part) ?? unknown);
  }

  /** A word's tokens: the pair that was merged first is merged first, everywhere in the word. */
  pairs(word) {
    let parts = Array.from(new TextEncoder().encode(word), (byte) => this.characters[byte]);
    for (;;) {
      let best = Infinity;
      for (let k = 1; k < parts.length; k++) {
        best = Math.min(best, this.ranks.get(`${parts[k - 1]} ${parts[k]}`) ?? Infinity);
      }
      if (best === Infinity) return parts.map((part) => this.ids.get(part));
      const merged = [];
      for (let k = 0; k < parts.length; k++) {
        const pair = this.ranks.get(`${parts[k]} ${parts[k + 1]}`) === best;
        merged.push(pair ? parts[k] + parts[++k] : parts[k]);
      }
      parts = merged;
    }
  }

  /** A token, for people. */
  shown(id) {
    const token = this.tokens[id];
    if (this.kind !== "bpe") return this.kind === "character" && token === UNKNOWN ? "\ufffd" : token;
    return new TextDecoder().decode(this.asBytes(token));
  }

  asBytes(token) {
    return Uint8Array.from(Array.from(token, (character) => this.bytes.get(character)));
  }

  decode(ids) {
    if (this.kind === "bpe") {
      const parts = ids.map((id) => this.asBytes(this.tokens[id]));
      return new TextDecoder().decode(Uint8Array.from(parts.flatMap((part) => Array.from(part))));
    }
    if (this.kind === "character") return ids.map((id) => this.shown(id)).join("");
    let text = "";
    for (const id of ids) {
      const word = this.tokens[id];
      if (word === END_OF_LINE) text += "\n";
      else text += (text === "" || text.endsWith("\n") ? "" : " ") + word;
    }
    return text;
  }
}
