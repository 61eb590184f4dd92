// Lines over steps, with axes; on a logarithmic scale where asked.

import {Canvas} from "./canvas.js";
import {variable} from "./colours.js";
import {number} from "./dom.js";

const HEIGHT = 230, LEFT = 52, BOTTOM = 36, TOP = 28, RIGHT = 12;

export class Lines {
  // across, up: what the axes are of. log: whether the upward axis is logarithmic.
  constructor({across, up, log = false, onstep = null}) {
    Object.assign(this, {across, up, log, series: [], cursor: null, bands: []});
    this.canvas = new Canvas("", HEIGHT, (context, width, height) => this.paint(context, width, height));
    if (onstep) {
      this.node.addEventListener("pointerdown", event => {
        const box = this.node.getBoundingClientRect();
        const share = (event.clientX - box.left - LEFT) / (box.width - LEFT - RIGHT);
        onstep(Math.min(Math.max(Math.round(share * this.last), 0), this.last));
      });
    }
  }

  get node() { return this.canvas.node; }

  get last() { return Math.max(1, ...this.series.map(each => (each.from ?? 0) + each.values.length - 1)); }

  // series: {name, values, colour, dashed, from}; bands: {low, high, colour, from}; null where there is no value.
  show(series, {label, cursor = null, bands = []}) {
    Object.assign(this, {series, cursor, bands});
    this.canvas.label = label;
    this.canvas.redraw();
  }

  ends() {
    const all = [...this.series.flatMap(each => each.values), ...this.bands.flatMap(each => [...each.low, ...each.high])]
      .filter(value => value !== null && Number.isFinite(value) && (!this.log || value > 0))
      .map(value => this.log ? Math.log10(value) : value);
    if (!all.length) return [0, 1];
    let [low, high] = [Infinity, -Infinity];
    for (const value of all) { low = Math.min(low, value); high = Math.max(high, value); }
    if (high - low < 1e-9) return [low - 0.5, high + 0.5];
    return this.log ? [Math.floor(low), Math.ceil(high)] : [low, high];
  }

  paint(context, width, height) {
    const [low, high] = this.ends(), {last} = this;
    const x = step => LEFT + step / last * (width - LEFT - RIGHT);
    const y = value => TOP + (1 - ((this.log ? Math.log10(value) : value) - low) / (high - low)) * (height - TOP - BOTTOM);
    context.font = "12px system-ui, sans-serif";
    context.fillStyle = variable("--quiet");
    context.strokeStyle = variable("--line");
    context.lineWidth = 1;
    context.textBaseline = "middle";
    context.textAlign = "right";
    for (const tick of ticks(low, high, this.log)) {
      const at = TOP + (1 - (tick - low) / (high - low)) * (height - TOP - BOTTOM);
      context.beginPath(); context.moveTo(LEFT, at); context.lineTo(width - RIGHT, at); context.stroke();
      context.fillText(this.log ? power(tick) : number(tick), LEFT - 6, at);
    }
    context.textAlign = "center";
    for (const tick of ticks(0, last, false).filter(Number.isInteger)) context.fillText(String(tick), x(tick), height - BOTTOM + 10);
    context.textAlign = "right";
    context.fillText(this.across, width - RIGHT, height - 9);
    context.textAlign = "left";
    context.fillText(this.up, 8, 12);
    for (const band of this.bands) this.paintBand(context, band, x, y);
    for (const each of this.series) this.paintLine(context, each, x, y);
    if (this.cursor !== null) {
      context.strokeStyle = variable("--ink");
      context.lineWidth = 1;
      context.beginPath(); context.moveTo(x(this.cursor), TOP); context.lineTo(x(this.cursor), height - BOTTOM); context.stroke();
    }
  }

  paintLine(context, each, x, y) {
    context.strokeStyle = variable(each.colour);
    context.lineWidth = each.dashed ? 1 : 2;
    context.setLineDash(each.dashed ? [5, 4] : []);
    context.beginPath();
    let down = false;
    each.values.forEach((value, step) => {
      const there = value !== null && Number.isFinite(value) && (!this.log || value > 0);
      if (there) down ? context.lineTo(x(step + (each.from ?? 0)), y(value)) : context.moveTo(x(step + (each.from ?? 0)), y(value));
      down = there;
    });
    context.stroke();
    context.setLineDash([]);
  }

  paintBand(context, band, x, y) {
    context.fillStyle = variable(band.colour);
    context.globalAlpha = 0.2;
    context.beginPath();
    band.low.forEach((value, step) => context.lineTo(x(step + band.from), y(value)));
    for (let step = band.high.length - 1; step >= 0; step--) context.lineTo(x(step + band.from), y(band.high[step]));
    context.fill();
    context.globalAlpha = 1;
  }
}

function power(exponent) {
  if (Math.abs(exponent) < 3) return number(10 ** exponent);
  return `10${String(exponent).replace(/./g, sign => sign === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(sign)])}`;
}

function ticks(low, high, log) {
  const count = 4, rough = (high - low) / count;
  const size = 10 ** Math.floor(Math.log10(rough));
  const step = log ? Math.max(1, Math.ceil(rough)) : [1, 2, 5, 10].map(each => each * size).find(each => each >= rough);
  const found = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + 1e-9; tick += step) found.push(Number(tick.toPrecision(12)));
  return found;
}
