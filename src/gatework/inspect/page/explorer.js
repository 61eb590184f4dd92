// The layers of a network: their gates and states by step and unit, one unit at a time, and several side by side.

import {unpack} from "./arrays.js";
import {onTheme, PICKED, ramp} from "./colours.js";
import {choice, element, number, percent, slider, table, visible} from "./dom.js";
import {HeatMap} from "./heat.js";
import {Lines} from "./lines.js";
import {Words} from "./words.js";

const FRAME = 80, MOST_FRAMES = 60; // milliseconds of a step, and how many are shown at most
const SORTS = [["half-life", "how long they remember"], ["mean", "their mean"], ["number", "their number"]];

export class Explorer {
  constructor(host) {
    this.host = host;
    Object.assign(this, {parts: [], part: null, value: null, sort: "half-life", step: 0, rank: 0, picked: []});
    this.heat = new HeatMap((step, rank) => this.move(step, rank));
    this.words = new Words("what stands at the steps, coloured by the unit", step => this.move(step, this.rank));
    this.lines = new Lines({across: "step", up: "value", onstep: step => this.move(step, this.rank)});
    this.lives = new Lines({across: "units, in order", up: "half-life, steps", log: true});
    this.reading = element("output", {className: "reading"});
    this.legend = element("div", {className: "legend"});
    this.lineLegend = element("div", {className: "legend"});
    this.chips = element("ul", {className: "chips", "aria-label": "units that are compared"});
    onTheme(() => this.part && this.drawLegend());
  }

  async show(parts) { // of a report's data
    clearInterval(this.playing);
    const before = this.wanted, arrays = new Map();
    await this.choosePart(parts.some(part => part.name === before) ? before : parts[0].name, this.value, parts, arrays);
  }

  async choosePart(name, value = null, parts = this.parts, arrays = this.arrays) {
    const part = parts.find(each => each.name === name), turn = this.turn = (this.turn ?? 0) + 1;
    this.wanted = name;
    for (const each of part.values) {
      const key = `${name} ${each.name}`;
      if (!arrays.has(key)) arrays.set(key, each.array ?? await unpack(each));
    }
    if (turn !== this.turn) return; // something else was chosen meanwhile
    Object.assign(this, {parts, part, arrays});
    const names = this.part.values.map(each => each.name);
    this.value = names.includes(value) ? value : this.part.values.find(each => each.role === "gate")?.name ?? names[0];
    this.picked = this.picked.filter(unit => unit < this.part.units.length);
    this.arrange();
    this.step = Math.min(this.step, this.part.labels.length - 1);
    this.rank = Math.min(this.rank, this.order.length - 1);
    this.build();
    this.draw();
  }

  async follow(parts) { // of a network that takes steps: the last one is shown
    const part = parts.find(each => each.name === this.wanted) ?? parts.at(-1);
    const isSame = this.part?.name === part.name && part.values.every(each => this.array(each.name) === each.array);
    if (!isSame) { // another layer, or another stream of the same
      this.wanted = part.name;
      await this.show(parts);
      return;
    }
    Object.assign(this, {parts, part, step: part.labels.length - 1});
    this.steps.input.max = String(this.step);
    this.words.set(part.labels, part.joined);
    this.heat.image = null;
    this.draw();
  }

  array(name) { return this.arrays.get(`${this.part.name} ${name}`); }

  get current() { return this.array(this.value); }

  get life() { return Object.values(this.part.half_lives)[0] ?? null; }

  arrange() { // the units of the value that is shown, in order
    const values = this.current, units = Array.from({length: values.units}, (_, unit) => unit);
    let by = unit => unit;
    if (this.sort === "mean") { const means = units.map(unit => values.mean(unit)); by = unit => -means[unit]; }
    else if (this.sort === "half-life" && this.life && values.units === this.life.length) by = unit => -(this.life[unit] ?? 1e300);
    this.order = units.sort((one, other) => by(one) - by(other) || one - other);
  }

  build() {
    const {part} = this;
    this.steps = slider("step", part.labels.length - 1, this.step, step => this.move(step, this.rank));
    this.ranks = slider("unit, in this order", this.order.length - 1, this.rank, rank => this.move(this.step, rank));
    this.words.set(part.labels, part.joined);
    const gates = part.values.filter(each => each.below !== null);
    this.host.replaceChildren(
      element("div", {className: "controls"},
        choice("layer", this.parts.map(each => [each.name, each.name]), part.name, name => this.choosePart(name, this.value)),
        choice("gate or state", part.values.map(each => [each.name, each.name]), this.value, name => {
          this.value = name; this.arrange(); this.rank = Math.min(this.rank, this.order.length - 1);
          this.ranks.input.max = String(this.order.length - 1); this.draw();
        }),
        choice("units in order of", this.life ? SORTS : SORTS.slice(1), this.sort, sort => {
          const unit = this.unit; this.sort = sort; this.arrange(); this.rank = this.order.indexOf(unit); this.draw();
        })),
      this.heat.node, this.legend,
      element("div", {className: "controls"}, this.steps.label, this.ranks.label,
        element("button", {type: "button", onclick: () => this.pick(this.unit)}, "Compare this unit"),
        element("button", {type: "button", onclick: () => this.play()}, "Play the steps")),
      this.reading, this.words.node, this.chips, this.lines.node, this.lineLegend,
      element("div", {className: "columns"},
        gates.length ? element("div", {}, element("h3", {}, "How far the gates are open"),
          table([["gate"], ["mean", true], ["below 0.1", true], ["above 0.9", true]],
            gates.map(each => [each.name, number(each.mean, 2), percent(each.below), percent(each.above)]))) : null,
        this.life ? element("div", {}, element("h3", {}, "How long the units remember"), this.lives.node, this.lifeWords()) : null),
      part.backend ? element("p", {className: "quiet"}, `Run by ${part.backend}.`) : "");
  }

  get unit() { return this.order[this.rank]; }

  lifeWords() {
    const known = this.life.map(each => each ?? Infinity).sort((one, other) => one - other);
    const middle = known[Math.floor(known.length / 2)];
    const long = known.filter(each => each > this.part.labels.length).length;
    return element("p", {}, `Half of what the middle unit holds is gone after ${number(Number.isFinite(middle) ? middle : null)} `
      + `steps; ${long} of ${known.length} units keep half for longer than the ${this.part.labels.length} steps shown.`);
  }

  move(step, rank) {
    clearInterval(this.playing);
    Object.assign(this, {step, rank});
    this.draw();
  }

  play() { // from the first step to the last, unless a person wants no motion
    clearInterval(this.playing);
    const last = this.part.labels.length - 1;
    if (matchMedia("(prefers-reduced-motion: reduce)").matches || last < 1) return;
    this.step = 0;
    this.playing = setInterval(() => {
      this.step = Math.min(this.step + Math.max(1, Math.round(last / MOST_FRAMES)), last);
      this.draw();
      if (this.step === last) clearInterval(this.playing);
    }, FRAME);
  }

  pick(unit) {
    if (!this.picked.includes(unit)) this.picked = [...this.picked, unit].slice(-PICKED.length + 1);
    this.draw();
  }

  async look(partName, unit, state, step = null) { // a unit by its own number
    await this.choosePart(partName, state);
    const place = this.part.units.indexOf(unit);
    if (place < 0) return;
    this.rank = Math.max(this.order.indexOf(place), 0);
    if (step !== null) this.step = step;
    this.draw();
    this.host.scrollIntoView();
  }

  draw() {
    this.step = Math.min(this.step, this.part.labels.length - 1); // what asked may have been of another answer
    const {part, step, rank, unit, current} = this;
    const named = each => part.units[each] ?? each;
    this.heat.show(current, this.order, {step, rank},
      `${this.value} of ${part.name}: ${current.steps} steps across, ${current.units} units down`);
    this.steps.input.value = String(step);
    this.ranks.input.value = String(rank);
    this.steps.input.setAttribute("aria-valuetext", `step ${step}, ${visible(part.labels[step])}`);
    this.ranks.input.setAttribute("aria-valuetext", `unit ${named(unit)}`);
    const said = part.values.filter(each => each.units > unit)
      .map(each => `${each.name} ${number(this.array(each.name).at(step, unit), 2)}`);
    const life = this.life && this.life.length > unit ? `; half-life ${number(this.life[unit])} steps` : "";
    this.reading.value = `step ${step} “${visible(part.labels[step])}”, unit ${named(unit)}: ${said.join(", ")}${life}`;
    this.words.paint(Array.from({length: current.steps}, (_, each) => current.share(each, unit)), current.signed, step);
    this.drawLines(named);
    this.drawLegend();
  }

  drawLines(named) {
    const {current} = this;
    const shown = [...this.picked.filter(each => each !== this.unit && each < current.units), this.unit];
    this.lines.show(shown.map((each, index) => ({values: current.unit(each), colour: PICKED[index]})),
      {label: `${this.value} over the steps, of units ${shown.map(named).join(", ")}`, cursor: this.step});
    this.lineLegend.replaceChildren(...shown.map((each, index) => element("span", {},
      element("span", {className: "mark", style: `border-color: var(${PICKED[index]})`}), `${this.value} of unit ${named(each)}`)));
    this.chips.replaceChildren(...this.picked.map(each => element("li", {}, element("button", {type: "button",
      onclick: () => { this.picked = this.picked.filter(other => other !== each); this.draw(); }}, `unit ${named(each)} ✕`))));
    if (this.life) {
      const sorted = this.life.map(each => each ?? Infinity).sort((one, other) => other - one);
      this.lives.show([{values: sorted.map(each => Number.isFinite(each) ? each : null), colour: "--first"}],
        {label: "half-life of the units, the longest first"});
    }
  }

  drawLegend() {
    const {current} = this;
    this.legend.replaceChildren(`${this.value}: ${number(current.low, 2)}`,
      element("span", {className: "ramp", style: `background: ${ramp(current.signed)}`, "aria-hidden": "true"}),
      number(current.high, 2), element("span", {}, "a column a step, a row a unit"));
  }
}
