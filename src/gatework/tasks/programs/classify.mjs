// Classifies texts by an exported classifier, in browsers and Node.
//
//   import { open } from "./classify.mjs";
//   const classifier = await open();
//   classifier.classify("a fine film");

import { load } from "./model.mjs";
import { Tables, file, json } from "./tables.mjs";
import { Tokenizer } from "./tokenizer.mjs";
import { Words, softmax, textFeatures, wordsOf } from "./words.mjs";

/** The classifier of a folder with an export. */
export async function open(folder = new URL(".", import.meta.url)) {
  const facts = await json(new URL("model.json", folder));
  const tables = new Tables(await file(new URL("tables.bin", folder)), facts.tables);
  const tokenizer = facts.tokens === "bpe" ? await json(new URL("tokenizer.json", folder)) : null;
  return new Classifier(await load(new URL("model.wasm", folder)), facts, tables, tokenizer);
}

export class Classifier {
  constructor(parts, facts, tables, tokenizer = null) {
    Object.assign(this, { parts, facts, tables });
    this.words = new Words(parts, facts.encoder, tables);
    this.tokenizer = tokenizer && new Tokenizer(tokenizer, "bpe", facts.tokenizer_lowercase);
  }

  tokensOf(text) {
    if (this.facts.tokens === "word") return wordsOf(text);
    if (this.facts.tokens === "character") return Array.from(text);
    return this.tokenizer.encode(text).map((id) => this.tokenizer.shown(id));
  }

  /** Of a long text the first and the last tokens. */
  cut(tokens) {
    const { most } = this.facts, half = Math.floor(most / 2);
    return tokens.length <= most ? tokens : [...tokens.slice(0, most - half), ...tokens.slice(tokens.length - half)];
  }

  /** What is said of a text: `output`, the `probability` of the likeliest label, the `probabilities` of all; the `tokens`
   * that were read, and what the layers `gave`. */
  classify(text) {
    const { facts, tables } = this, cut = this.cut(this.tokensOf(text)), tokens = cut.length ? cut : [""];
    const gave = this.words.states(tokens), { pooled, weights } = this.pooled(gave.output);
    const scores = Array.from(this.parts.scores.map({ pooled }).output);
    if (facts.side_rows) {
      const features = textFeatures(this.cut(wordsOf(text)), facts.side_rows);
      const scale = facts.side_scale / Math.sqrt(Math.max(features.length, 1));
      tables.sum("side", features).forEach((value, k) => (scores[k] += value * scale));
    }
    const calibrated = scores.map((each, k) => each / facts.temperature + (facts.bias[k] ?? 0));
    const shares = facts.several ? calibrated.map((each) => 1 / (1 + Math.exp(-each))) : softmax(calibrated);
    const order = Array.from(shares.keys()).sort((a, b) => shares[b] - shares[a]);
    const given = order.filter((label) => shares[label] >= (facts.thresholds[label] ?? 0.5));
    return {
      output: facts.several ? given.map((label) => facts.labels[label]) : facts.labels[order[0]],
      probability: shares[order[0]],
      probabilities: Object.fromEntries(facts.labels.map((label, k) => [label, shares[k]])),
      scores: calibrated,
      tokens,
      weights,
      gave,
    };
  }

  /** The states of all steps as one vector, and the weight of each step in their mean. */
  pooled(states) {
    const units = Array.from(states[0].keys()), pooled = [];
    let weights = null;
    for (const name of this.facts.pooling) {
      if (name === "attention") {
        weights = softmax(states.map((state) => this.parts.attention.map({ state }).output[0]));
        pooled.push(...units.map((k) => states.reduce((sum, state, t) => sum + weights[t] * state[k], 0)));
      } else if (name === "max") {
        pooled.push(...units.map((k) => states.reduce((most, state) => Math.max(most, state[k]), -Infinity)));
      } else if (name === "mean") {
        pooled.push(...units.map((k) => states.reduce((sum, state) => sum + state[k], 0) / states.length));
      } else {
        const half = this.facts.directions === 2 ? units.length / 2 : units.length;
        pooled.push(...units.map((k) => (k < half ? states.at(-1) : states[0])[k]));
      }
    }
    return { pooled, weights };
  }
}
