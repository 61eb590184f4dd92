// Tags the words of texts by an exported tagger, in browsers and Node.
//
//   import { open } from "./tag.mjs";
//   const tagger = await open();
//   tagger.tag("play some jazz");

import { load } from "./model.mjs";
import { Tables, file, json } from "./tables.mjs";
import { Words, softmax, textFeatures, tokenFeatures, wordsOf } from "./words.mjs";

/** The tagger of a folder with an export. */
export async function open(folder = new URL(".", import.meta.url)) {
  const facts = await json(new URL("model.json", folder));
  const tables = new Tables(await file(new URL("tables.bin", folder)), facts.tables);
  return new Tagger(await load(new URL("model.wasm", folder)), facts, tables);
}

export class Tagger {
  constructor(parts, facts, tables) {
    Object.assign(this, { parts, facts, tables });
    this.words = new Words(parts, facts.encoder, tables);
  }

  /** The scores of each word's tags, given the likeliest label, and of the labels, and what the layers gave by name. */
  scores(words) {
    const { facts, tables } = this, given = this.words.states(words), steps = given.output;
    const maps = steps.map((state) => this.parts.emission.map({ state }));
    let emissions = maps.map((each) => Array.from(each.tags ?? each.output));
    if (facts.side_rows) {
      tokenFeatures(words, facts.ahead, facts.side_rows).forEach((rows, t) =>
        tables.sum("side", rows).forEach((value, k) => (emissions[t][k] += value)),
      );
    }
    let labels = [];
    if (facts.labels.length) {
      const rows = tables.get("tags_of_labels"), count = facts.tags.length, chain = this.ownChain();
      const given = (l) => emissions.map((own) => own.map((each, k) => each + rows[l * count + k]));
      labels = this.labels(words, steps, emissions, maps.map((each) => each.attention[0]));
      labels = labels.map((each, l) => each + logPartition(given(l), ...chain));
      emissions = given(labels.indexOf(Math.max(...labels)));
    }
    const [ofTags, ofLabels] = facts.temperatures;
    return {
      emissions: emissions.map((own) => own.map((each) => each / ofTags)),
      labels: labels.map((each) => each / ofLabels),
      given,
    };
  }

  /** The learned scores of tags beside each other, of a first and of a last one; 0 of a softmax a word. */
  ownChain() {
    const { facts, tables } = this, names = ["moves", "start", "end"];
    return names.map((name) => (tables.has(name) ? Array.from(tables.get(name)) : facts.allowed[name].flat().map(() => 0)));
  }

  labels(words, states, emissions, attention) {
    const { facts, tables } = this;
    let scores = tables.get("label_bias");
    if (words.length) {
      const weights = softmax(attention), units = Array.from(states[0].keys()), shares = emissions.map(softmax);
      scores = this.parts.label.map({
        mean: units.map((k) => states.reduce((sum, state, t) => sum + weights[t] * state[k], 0)),
        highest: units.map((k) => Math.max(...states.map((state) => state[k]))),
        likeliest: facts.tags.map((_, k) => Math.max(...shares.map((own) => own[k]))),
      }).output;
    }
    if (!facts.side_rows) return Array.from(scores);
    const features = textFeatures(words, facts.side_rows), side = tables.sum("text_side", features);
    return Array.from(scores, (each, l) => each + side[l] / Math.sqrt(Math.max(features.length, 1)));
  }

  /** What is said of a text, or of a list of words: `output`, a tag for each of the `tokens`, their `probabilities`, a
   * `label` where there is one, and what the layers `gave`. */
  tag(text) {
    const { facts } = this, words = typeof text === "string" ? wordsOf(text) : text;
    const { emissions, labels, given } = this.scores(words), count = facts.tags.length;
    const own = this.ownChain(), temperature = facts.temperatures[0];
    const chain = ["moves", "start", "end"].map((name, part) =>
      facts.allowed[name].flat().map((allowed, k) => (allowed ? own[part][k] / temperature : -Infinity)),
    );
    const path = bestPath(emissions, ...chain), shares = marginals(emissions, ...chain);
    const record = {
      output: path.map((tag) => facts.tags[tag]),
      tokens: words,
      probabilities: path.map((tag, t) => shares[t][tag]),
      gave: given,
    };
    if (!facts.labels.length || count === 0) return record;
    const ofLabels = softmax(labels), best = ofLabels.indexOf(Math.max(...ofLabels));
    return { ...record, label: facts.labels[best], label_probability: ofLabels[best] };
  }
}

/** The tags of the highest score. `moves`: of tag j after tag i, at i K + j. */
export function bestPath(emissions, moves, start, end) {
  if (!emissions.length) return [];
  const count = start.length, back = [];
  let best = emissions[0].map((each, k) => each + start[k]);
  for (const emission of emissions.slice(1)) {
    const from = emission.map((_, j) => {
      let place = 0;
      for (let i = 1; i < count; i++) if (best[i] + moves[i * count + j] > best[place] + moves[place * count + j]) place = i;
      return place;
    });
    best = emission.map((each, j) => each + best[from[j]] + moves[from[j] * count + j]);
    back.push(from);
  }
  const last = best.map((each, k) => each + end[k]), path = [last.indexOf(Math.max(...last))];
  for (const from of back.reverse()) path.unshift(from[path[0]]);
  return path;
}

/** The logarithm of the sum of exp(score) of all sequences of tags; 0 of no steps. */
function logPartition(emissions, moves, start, end) {
  if (!emissions.length) return 0;
  return logSum(forwardSums(emissions, moves, start).at(-1).map((each, k) => each + end[k]));
}

/** Of every step and tag the logarithm of the sum of exp(score) of what leads there. */
function forwardSums(emissions, moves, start) {
  const count = start.length, sums = [emissions[0].map((each, k) => each + start[k])];
  for (const emission of emissions.slice(1)) {
    const before = sums.at(-1);
    sums.push(emission.map((each, j) => each + logSum(before.map((own, i) => own + moves[i * count + j]))));
  }
  return sums;
}

/** The probability of every tag at every step, given the whole sequence. */
export function marginals(emissions, moves, start, end) {
  if (!emissions.length) return [];
  const count = start.length, tags = Array.from({ length: count }, (_, k) => k);
  const forward = forwardSums(emissions, moves, start), backward = [end];
  for (const emission of emissions.slice(1).reverse()) {
    const after = backward[0];
    backward.unshift(tags.map((i) => logSum(tags.map((j) => moves[i * count + j] + emission[j] + after[j]))));
  }
  return forward.map((own, t) => softmax(own.map((each, k) => each + backward[t][k])));
}

function logSum(values) {
  const largest = Math.max(...values);
  return largest === -Infinity ? largest : largest + Math.log(values.reduce((sum, each) => sum + Math.exp(each - largest), 0));
}
