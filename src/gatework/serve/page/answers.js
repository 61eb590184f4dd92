// A record of each task, as people read it.

import {colour, css, onTop} from "./inspect/colours.js";
import {element, number, percent, table, visible} from "./inspect/dom.js";
import {Lines} from "./inspect/lines.js";

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

function forecast(record, item) {
  const history = item.target.slice(-200), levels = Object.keys(record.quantiles ?? {}).sort((one, other) => one - other);
  const lines = new Lines({across: "step", up: "value"});
  const from = history.length;
  const of = level => record.quantiles[level];
  const bands = [0, 1, 2].filter(index => index < Math.floor(levels.length / 2)).map(index => ({
    low: of(levels[index]), high: of(levels[levels.length - 1 - index]), colour: "--second", from}));
  lines.show([{values: history, colour: "--first"}, {values: record.output, colour: "--second", from}],
    {label: `${history.length} past steps, and the forecast of ${record.output.length} with its intervals`, bands});
  const rows = record.output.map((mean, step) => [record.times?.[step] ?? String(step + 1), number(mean, 4),
    ...(levels.length ? [number(of(levels[0])[step], 4), number(of(levels.at(-1))[step], 4)] : [])]);
  const heads = [["step"], ["mean", true], ...(levels.length ? [[`level ${levels[0]}`, true], [`level ${levels.at(-1)}`, true]] : [])];
  return element("div", {}, lines.node, element("details", {}, element("summary", {}, "The numbers"), table(heads, rows)));
}

function heard(record) {
  const times = record.times ?? [];
  return element("div", {}, plain(record), times.length ? table([["word"], ["from, s", true], ["to, s", true]],
    times.map(each => [each.word, number(each.start), number(each.end)])) : null);
}

const DRAWN = {tagger: tagged, classifier: labelled, reader: read, forecaster: forecast, transcriber: heard, synthesizer: heard};

export function answer(task, record, item) {
  return (DRAWN[task] ?? plain)(record, item);
}

export function inWords(task, record) { // one line, to compare with another
  if (task === "forecaster") return record.output.slice(0, 6).map(each => number(each, 4)).join(", ");
  if (task === "tagger") return record.spans.map(each => `${each.text} (${each.type})`).join(", ") || "(no spans)";
  return typeof record.output === "string" ? record.output || "(nothing)" : JSON.stringify(record.output);
}
