// The arrays of a report: bytes that were deflated, unit by unit, plain or as changes from step to step.

export async function unpack(packed) {
  const {steps, units, low, high, levels} = packed;
  const given = Uint8Array.from(atob(packed.data), character => character.charCodeAt(0));
  const inflated = new Blob([given]).stream().pipeThrough(new DecompressionStream("deflate"));
  const places = new Uint8Array(await new Response(inflated).arrayBuffer());
  if (packed.how === "changes") {
    for (let unit = 0; unit < units; unit++) {
      for (let place = unit * steps + 1; place < (unit + 1) * steps; place++) {
        places[place] = (places[place] + places[place - 1]) % (levels + 1);
      }
    }
  }
  return new Values(steps, units, low, high, levels, places);
}

export class Values {
  constructor(steps, units, low, high, levels, places) {
    Object.assign(this, {steps, units, low, high, levels, places});
  }

  static of(rows) { // of numbers by step and unit
    const [steps, units] = [rows.length, rows.length ? rows[0].length : 0];
    const all = rows.flat(), most = Math.max(1e-12, ...all.map(Math.abs));
    const signed = all.some(value => value < 0);
    const [low, high] = most > 1 ? [signed ? -most : 0, most] : [signed ? -1 : 0, 1];
    const places = new Uint8Array(steps * units);
    rows.forEach((row, step) => row.forEach((value, unit) => {
      places[unit * steps + step] = Math.round(255 * (value - low) / (high - low));
    }));
    return new Values(steps, units, low, high, 255, places);
  }

  share(step, unit) { return this.places[unit * this.steps + step] / this.levels; } // of the way from low to high

  at(step, unit) { return this.low + this.share(step, unit) * (this.high - this.low); }

  get signed() { return this.low < 0; }

  unit(index) { return Array.from({length: this.steps}, (_, step) => this.at(step, index)); }

  mean(unit) {
    let sum = 0;
    for (let step = 0; step < this.steps; step++) sum += this.at(step, unit);
    return sum / Math.max(this.steps, 1);
  }
}
