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

class Table { // numbers by step and unit, of a class that has `steps`, `units`, `low`, `high` and `at(step, unit)`
  share(step, unit) { return (this.at(step, unit) - this.low) / (this.high - this.low); } // of the way from low to high

  get signed() { return this.low < 0; }

  unit(index) { return Array.from({length: this.steps}, (_, step) => this.at(step, index)); }

  mean(unit) {
    let sum = 0;
    for (let step = 0; step < this.steps; step++) sum += this.at(step, unit);
    return sum / Math.max(this.steps, 1);
  }
}

export class Values extends Table { // of a report
  constructor(steps, units, low, high, levels, places) {
    super();
    Object.assign(this, {steps, units, low, high, levels, places});
  }

  share(step, unit) { return this.places[unit * this.steps + step] / this.levels; }

  at(step, unit) { return this.low + this.share(step, unit) * (this.high - this.low); }
}

export class Growing extends Table { // to which steps are added, of which the last `most` are kept
  constructor(most) {
    super();
    Object.assign(this, {most, rows: [], low: 0, high: 1});
  }

  add(rows) {
    this.rows = [...this.rows, ...rows].slice(-this.most);
    let size = this.high;
    for (const row of rows) for (const value of row) {
      size = Math.max(size, Math.abs(value));
      if (value < 0) this.low = -1;
    }
    [this.low, this.high] = [this.low < 0 ? -size : 0, size];
  }

  get steps() { return this.rows.length; }

  get units() { return this.rows[0]?.length ?? 0; }

  at(step, unit) { return this.rows[step][unit]; }
}
