// A report as a page: what the layers did, what they attended to, what they tell, how the gradient flows, and why.

import {alignment} from "./alignment.js";
import {unpack} from "./arrays.js";
import {PICKED} from "./colours.js";
import {choice, element, number, table, visible} from "./dom.js";
import {Explorer} from "./explorer.js";
import {Lines} from "./lines.js";
import {Words} from "./words.js";

export async function showReport(host, data) {
  const explorer = new Explorer(element("div"));
  const sections = [
    section("What the units do", explorer.host),
    ...await alignments(data.alignments),
    telling(data, explorer),
    reasons(data, explorer),
    flow(data),
  ];
  host.replaceChildren(head(data), ...sections.filter(each => each !== null));
  await explorer.show(data.parts);
}

export function section(title, ...content) {
  return element("section", {}, element("h2", {}, title), ...content);
}

function head(data) {
  const {record} = data;
  const shown = record && typeof record.output === "string" ? record.output : record ? JSON.stringify(record.output) : null;
  return element("header", {},
    element("h1", {}, data.title),
    shown === null ? null : element("p", {className: "answer"}, element("strong", {}, "Answer: "), shown),
    record ? element("details", {}, element("summary", {}, "The whole record"),
      element("pre", {}, JSON.stringify(record, null, 1).slice(0, 20000))) : null,
    data.notes.map(note => element("p", {className: "quiet"}, note)));
}

async function alignments(all) {
  const drawn = [];
  for (const each of all) drawn.push(element("div", {}, element("h3", {}, each.name), alignment(each, await unpack(each.weights))));
  return drawn.length ? [section("What was read for what", ...drawn)] : [];
}

export function telling(data, explorer) {
  const told = data.parts.flatMap(part => part.telling.map(each => ({part: part.name, ...each})));
  if (!told.length) return null;
  const place = element("div");
  const show = index => {
    const each = told[index];
    place.replaceChildren(table([["unit"], ["bits above chance", true], ["of", true], ["show"]],
      each.units.map(unit => [`${unit.state} ${unit.unit}`, number(unit.bits, 2), number(each.entropy, 2),
        unit.shown ? element("button", {type: "button", "aria-label": `look at unit ${unit.unit}`,
          onclick: () => explorer.look(each.part, unit.unit, unit.state)}, "look") : "not shown"])));
  };
  show(0);
  return section("Which units tell most",
    element("div", {className: "controls"}, choice("of what stands at a step",
      told.map((each, index) => [String(index), `${each.target} (${each.part})`]), "0", index => show(Number(index)))),
    place, element("p", {className: "quiet"}, `Measure: ${data.measure}.`));
}

export function reasons(data, explorer) {
  if (!data.reasons.length) return null;
  const words = new Words("the steps, coloured by what they carried", step => say(step));
  const sentence = element("p"), said = element("output", {className: "reading"}), units = element("div");
  let current = data.reasons[0];
  const labelsOf = reason => data.parts.find(part => part.name === `${reason.inside ? `${reason.inside}.` : ""}l0`);
  const say = step => {
    said.value = `step ${step} “${visible(labelsOf(current)?.labels[step] ?? "")}”: by the gradient the outcome would fall by `
      + `${number(current.steps[step])} without it${current.left_out.includes(step) ? "; one of the steps that were left out" : ""}`;
  };
  const show = reason => {
    current = reason;
    const part = labelsOf(reason), most = Math.max(...reason.steps.map(Math.abs), 1e-30);
    words.set(part ? part.labels : reason.steps.map((_, step) => String(step)), part ? part.joined : " ");
    words.paint(reason.steps.map(each => 0.5 + each / most / 2), true);
    sentence.textContent = reason.words;
    const strongest = reason.steps.reduce((best, each, step) => Math.abs(each) > Math.abs(reason.steps[best]) ? step : best, 0);
    say(strongest);
    units.replaceChildren(table([["unit"], ["step"], ["effect", true], ["show"]], reason.units.map(each => {
      const path = each.state.split("."), state = path.pop();
      const partName = [reason.inside, ...path].filter(Boolean).join(".");
      const known = data.parts.find(other => other.name === partName || other.name === path.join("."));
      return [`${each.state} ${each.unit}`, `${each.step} “${visible(part?.labels[each.step] ?? "")}”`, number(each.effect),
        known ? element("button", {type: "button", "aria-label": `look at unit ${each.unit} at step ${each.step}`,
          onclick: () => explorer.look(known.name, each.unit, state, each.step)}, "look") : ""];
    })));
  };
  show(current);
  return section("Why",
    element("div", {className: "controls"}, choice("of", data.reasons.map((each, index) => [String(index), each.outcome]), "0",
      index => show(data.reasons[Number(index)]))),
    sentence, words.node, said, element("h3", {}, "The units that carried it"), units,
    element("p", {className: "quiet"}, "By the gradient through the recorded states, where nothing is left out and where half of "
      + "every step is: blue steps carried the outcome up, orange ones down. A step that is left out leaves every state of the "
      + "layer as it was."));
}

export function flow(data) {
  if (!data.flow) return null;
  const lines = new Lines({across: "steps back from the end", up: "norm of the gradient", log: true});
  const shown = data.flow.states.slice(0, PICKED.length);
  lines.show(shown.map((state, index) => ({values: state.norms, colour: PICKED[index]})),
    {label: `norm of the gradient at ${shown.map(state => state.name).join(", ")}, step by step back`});
  return section("How the gradient flows",
    element("p", {}, `Of ${data.flow.of}, at every state, backwards in time:`),
    lines.node,
    element("div", {className: "legend"}, shown.map((state, index) => element("span", {},
      element("span", {className: "mark", style: `border-color: var(${PICKED[index]})`}), state.name))),
    element("ul", {}, data.flow.states.map(state => element("li", {}, state.words))),
    element("p", {className: "quiet"}, "The rate is the slope of the logarithm; in the limit of long sequences it is the largest "
      + "Lyapunov exponent of the states' dynamics."),
    data.remedies.length ? element("div", {}, element("h3", {}, "What would mend it, measured on this input"),
      table([["change"], ["rate a step", true], ["try it"]], data.remedies.map(each => [each.what, number(each.rate),
        element("code", {}, each.train ?? (each.change ? `gw.Recurrent(…, ${each.change})` : "—"))])),
      element("p", {className: "quiet"}, "Layers with weights that are drawn anew; against a gradient that explodes training also "
        + "clips its norm (clip_norm).")) : null);
}
