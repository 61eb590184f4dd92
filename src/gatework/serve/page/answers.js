// A record of each task, as people read it.

import {colour, css, onTop} from "./inspect/colours.js";
import {element, number, percent, table, visible} from "./inspect/dom.js";
import {Lines} from "./inspect/lines.js";
import {bytesOf} from "./sound.js";

const SOUNDS = 6, addresses = []; // of the last sounds: those before them are given up

export function audio(bytes, ontime = () => {}) {
  addresses.push(URL.createObjectURL(new Blob([bytes])));
  if (addresses.length > SOUNDS) URL.revokeObjectURL(addresses.shift());
  return element("audio", {controls: true, src: addresses.at(-1), ontimeupdate: event => ontime(event.target.currentTime)});
}

export function bars(pairs) { // [[name, probability], …]
  return element("div", {className: "bars"}, pairs.flatMap(([name, probability]) => {
    const bar = element("div", {"aria-hidden": "true"}, element("div", {className: "bar"}));
    bar.firstChild.style.width = `${100 * probability}%`;
    return [element("span", {}, name), bar, element("span", {}, percent(probability))];
  }));
}

export function piece({output, probability, token}) { // of a text as it is written, darker the surer
  const span = element("span", {title: `${visible(token ?? output)}: ${percent(probability ?? 1)}`}, output);
  const rgb = colour(probability ?? 0, false);
  span.style.backgroundColor = css(rgb);
  span.style.color = onTop(rgb);
  return span;
}

function marked(text, spans) { // [{start, end, name}], apart from one another
  const parts = [];
  let place = 0;
  for (const {start, end, name} of [...spans].sort((one, other) => one.start - other.start)) {
    parts.push(text.slice(place, start), element("mark", {}, text.slice(start, end), name ? element("small", {}, name) : null));
    place = end;
  }
  return element("p", {className: "spoken"}, [...parts, text.slice(place)].filter(part => part !== ""));
}

const plain = record => element("p", {className: "spoken"}, record.output === "" ? "(nothing)" : String(record.output ?? ""));

function tagged(record, item) {
  const text = typeof item === "string" ? item : item.join(" ");
  const label = record.label === undefined ? [] : [element("p", {}, `label: ${record.label}`,
    record.label_probability === undefined ? "" : ` (${percent(record.label_probability)})`)];
  return element("div", {}, marked(text, record.spans.map(each => ({...each,
    name: each.probability === undefined ? each.type : `${each.type} ${percent(each.probability)}`}))), label);
}

function labelled(record) {
  const pairs = Object.entries(record.probabilities).sort((one, other) => other[1] - one[1]).slice(0, 10);
  return element("div", {}, plain({output: Array.isArray(record.output) ? record.output.join(", ") : record.output ?? "(not sure)"}),
    bars(pairs));
}

function read(record, item) {
  const text = typeof item.context === "string" ? item.context : item.context.join("\n");
  const best = record.answers[0], there = record.output && best?.start !== undefined;
  return element("div", {}, element("p", {className: "answer"}, record.output || "(no answer)"),
    there ? marked(text, [{start: best.start, end: best.end}]) : null,
    bars(record.answers.map(each => [each.text, each.probability])));
}

const SHOWN = [60, 5, 400]; // past steps of a forecast: at least, for each step ahead, at most

function forecast(record, item) {
  const count = Math.min(Math.max(SHOWN[0], SHOWN[1] * record.output.length), SHOWN[2]);
  const history = item.target.slice(-count), levels = Object.keys(record.quantiles ?? {}).sort((one, other) => one - other);
  const lines = new Lines({across: "step", up: "value"});
  const from = history.length, past = item.target.length - from;
  const of = level => record.quantiles[level];
  const pairs = levels.slice(0, Math.floor(levels.length / 2)).map((low, index) => [low, levels[levels.length - 1 - index]]);
  const bands = pairs.map(([low, high]) => ({low: [history.at(-1), ...of(low)], high: [history.at(-1), ...of(high)], colour: "--second",
    from: from - 1}));
  lines.show([{values: history, colour: "--first"}, {values: [history.at(-1), ...record.output], colour: "--second", from: from - 1}],
    {label: `the last ${history.length} of ${item.target.length} steps, and the forecast of ${record.output.length} with its intervals`, bands});
  const rows = record.output.map((mean, step) => [record.times?.[step] ?? String(step + 1), number(mean, 4),
    ...levels.map(level => number(of(level)[step], 4))]);
  const heads = [["step"], ["mean", true], ...levels.map(level => [`level ${level}`, true])];
  const legend = element("div", {className: "legend"}, mark("--first", "what was"), mark("--second", "the forecast's mean"),
    pairs.length ? element("span", {}, `bands that hold ${pairs.map(([low, high]) => percent(high - low)).join(", ")} of what may come`) : null);
  const times = item.time ? `From ${item.time[past]} to ${item.time.at(-1)}, and on to ${record.times?.at(-1) ?? `${record.output.length} steps later`}.` : null;
  return element("div", {}, lines.node, legend, times && element("p", {className: "quiet"}, times),
    element("details", {}, element("summary", {}, "The numbers"), table(heads, rows)));
}

function mark(colour, words) {
  return element("span", {}, element("span", {className: "mark", style: `border-color: var(${colour})`}), words);
}

export function wordTimes(times) {
  return table([["word"], ["from, s", true], ["to, s", true]], times.map(each => [each.word, number(each.start), number(each.end)]));
}

function heard(record) {
  const times = record.times ?? [];
  return element("div", {}, plain(record), times.length ? wordTimes(times) : null);
}

function spoken(record) { // a sound, and its words, each marked while it is said
  const words = record.times.map(each => element("span", {}, each.word));
  const follow = now => words.forEach((word, index) => {
    const {start, end} = record.times[index];
    word.classList.toggle("said-now", start <= now && now < end);
  });
  return element("div", {}, element("p", {className: "spoken"}, words.flatMap(word => [word, " "])),
    audio(bytesOf(record.output), follow), element("p", {className: "quiet"}, `${number(record.seconds)} s`), wordTimes(record.times));
}

const DRAWN = {tagger: tagged, classifier: labelled, reader: read, forecaster: forecast, transcriber: heard, synthesizer: spoken};

export function answer(task, record, item) {
  return (DRAWN[task] ?? plain)(record, item);
}

export function inWords(task, record) { // one line, to compare with another
  if (task === "synthesizer") return element("span", {}, `${number(record.seconds)} s `, audio(bytesOf(record.output)));
  if (task === "forecaster") return record.output.slice(0, 6).map(each => number(each, 4)).join(", ");
  if (task === "tagger") return record.spans.map(each => `${each.text} (${each.type})`).join(", ") || "(no spans)";
  return typeof record.output === "string" ? record.output || "(nothing)" : JSON.stringify(record.output);
}
