// Translates texts, or replies to them, by an exported encoder-decoder, in browsers and Node.
//
//   import { open } from "./translate.mjs";
//   const translator = await open();
//   const [{ text, score }] = translator.translate("jeudi 3 mars 2022", { beam: 5 });

import { load } from "./model.mjs";
import { Tokenizer } from "./tokenizer.mjs";

const UNKNOWN = "<unk>", END_OF_LINE = "<eos>";
const SETTINGS = { beam: 5, alternatives: 1, minLength: 0, lengthPenalty: 1, length: null };

/** The translator of a folder with an export. */
export async function open(folder = new URL(".", import.meta.url)) {
  const facts = await json(new URL("model.json", folder));
  const tokenizers = [];
  for (const { file, kind, lowercase } of facts.tokenizers) {
    tokenizers.push(new Tokenizer(await json(new URL(file, folder)), kind, lowercase));
  }
  return new Translator(await load(new URL("model.wasm", folder)), facts, tokenizers);
}

async function json(address) {
  if (address.protocol === "file:") {
    const { readFile } = await import("node:fs/promises");
    return JSON.parse(await readFile(address, "utf-8"));
  }
  return (await fetch(address)).json();
}

export class Translator {
  constructor(parts, facts, [source, target]) {
    Object.assign(this, { parts, facts, source, target });
  }

  /** The outputs, best first: their `text`, `tokens`, `score`, `logProbability` and `alignment`. `text`: or the turns of a
   * conversation so far, where the network is a chat bot's. */
  translate(text, settings = {}) {
    const given = this.sourceText(text);
    if (!given.trim()) return [{ text: "", tokens: [], score: 0, logProbability: 0, alignment: null }];
    const ids = [...this.source.encode(given), this.source.tokens.length];
    const found = this.search(ids, { ...SETTINGS, ...settings });
    const pieces = this.pieces(given);
    return found.map((each) => ({ text: this.textOf(each, pieces), ...each }));
  }

  /** The text that the network reads: of turns the last ones, each marked with who spoke. */
  sourceText(text) {
    const { turns } = this.facts;
    if (!turns) return text;
    const last = [text].flat().slice(-turns.most).map((turn) => turn.trim().split(/\s+/u).join(" "));
    if (!last.at(-1)) return ""; // nothing was said to reply to
    const marked = last.map((turn, place) => turn && turns.marks[(last.length - place) % 2 ? 0 : 1] + turn);
    return marked.filter((turn) => turn).join("\n");
  }

  /** What each of a text's tokens stands for, where a token may be unknown. */
  pieces(text) {
    if (this.source.kind === "word") return text.match(/\n|\S+/gu) ?? [];
    if (this.source.kind === "bpe") return [];
    return Array.from(text).flatMap((each) => {
      const lower = this.source.lowercase ? each.toLowerCase() : each;
      return Array.from(lower, () => each);
    });
  }

  textOf({ tokens, alignment }, pieces) {
    const { target } = this, own = tokens.filter((token) => token !== target.tokens.length);
    const visible = pieces.map((piece) => piece.trim() !== "");
    if (target.kind === "bpe" || !alignment || !visible.some((each) => each)) return target.decode(own);
    const shown = own.map((token, place) => {
      if (target.tokens[token] !== UNKNOWN) return target.tokens[token];
      let best = visible.indexOf(true);
      visible.forEach((each, k) => { if (each && alignment[place][k] > alignment[place][best]) best = k; });
      return pieces[best];
    });
    if (target.kind === "character") return shown.join("");
    return shown.reduce((text, word) => {
      if (word === END_OF_LINE) return `${text}\n`;
      return text + (text === "" || text.endsWith("\n") ? "" : " ") + word;
    }, "");
  }

  /** Hypotheses of a source's ids, best first: one that ends leaves the beam with its place. */
  search(ids, { beam, alternatives, minLength, lengthPenalty, length }) {
    const end = this.target.tokens.length, most = length ?? 2 * ids.length + 20;
    const unknown = this.target.ids.get(UNKNOWN);
    const banned = this.facts.alignment || unknown === undefined ? [] : [unknown];
    const decoder = new Decoder(this.parts, this.facts, ids), finished = [];
    let paths = [{ tokens: [end], total: 0, alignment: [], state: decoder.first }];
    for (let step = 1; step <= most && paths.length; step++) {
      const candidates = [];
      for (const path of paths) {
        const { logProbabilities, weights, state } = decoder.step(path.tokens.at(-1), path.state);
        for (const token of step <= minLength ? [...banned, end] : banned) logProbabilities[token] = -Infinity;
        const order = Array.from(logProbabilities.keys()).sort((a, b) => logProbabilities[b] - logProbabilities[a]);
        for (const token of order.slice(0, beam)) {
          const total = path.total + logProbabilities[token];
          candidates.push({ tokens: [...path.tokens, token], total, alignment: [...path.alignment, weights], state });
        }
      }
      candidates.sort((a, b) => b.total - a.total);
      paths = [];
      for (const path of candidates.slice(0, beam - finished.length).filter(({ total }) => total > -Infinity)) {
        (path.tokens.at(-1) === end || step === most ? finished : paths).push(path);
      }
    }
    decoder.close();
    return finished
      .map(({ tokens, total, alignment }) => ({
        tokens: tokens.slice(1),
        score: total / ((5 + tokens.length - 1) / 6) ** lengthPenalty,
        logProbability: total,
        alignment: this.facts.alignment ? alignment : null,
      }))
      .sort((a, b) => b.score - a.score)
      .slice(0, alternatives);
  }
}

/** The decoder's states of one source: they are kept as arrays, so that hypotheses may share their beginning. */
class Decoder {
  constructor(parts, facts, ids) {
    const encoder = parts.encoder.stream();
    const { output } = encoder.sequence(ids);
    const last = Object.fromEntries(Object.keys(parts.bridge.about.reads).map((name) => [name, encoder.get(name)]));
    encoder.close();
    const begun = parts.bridge.map(last), further = {};
    if (facts.memory) further[facts.memory] = output;
    if (facts.summary) further[facts.summary] = begun[facts.summary];
    this.parts = parts;
    this.facts = facts;
    this.stream = parts.decoder.stream(further);
    for (const [name, values] of Object.entries(begun)) if (name !== facts.summary) this.stream.set(name, values);
    this.upper = parts.upper ? parts.upper.stream() : null;
    this.first = this.state;
  }

  get state() {
    return [this.stream.state, this.upper ? this.upper.state : null];
  }

  /** Reads a token: the next one's log-probabilities, the weights of the source's tokens, and the new state. */
  step(token, [own, above]) {
    this.stream.state = own;
    const made = this.stream.step(token);
    let logits = made.output;
    if (this.upper) {
      this.upper.state = above;
      const upper = this.upper.step(this.stream.get(this.facts.decoder_output)).output;
      logits = this.parts.readout.map({ below: logits, above: upper }).output;
    }
    const largest = logits.reduce((a, b) => Math.max(a, b), -Infinity);
    const total = Math.log(logits.reduce((sum, each) => sum + Math.exp(each - largest), 0));
    const logProbabilities = Float64Array.from(logits, (each) => each - largest - total);
    return { logProbabilities, weights: made[this.facts.alignment], state: this.state };
  }

  close() {
    this.stream.close();
    this.upper?.close();
  }
}
