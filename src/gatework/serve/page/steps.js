// What the layers did so far, of a stream whose gates are watched: parts that the explorer follows.

import {Growing} from "./inspect/arrays.js";

const MOST = 300; // steps that are kept

export class Steps {
  constructor() {
    this.layers = new Map();
    this.read = []; // what stood at the steps of the last event
  }

  add({layers}, label) { // what was read in its last step
    for (const {name, values} of layers) {
      if (!this.layers.has(name)) this.layers.set(name, {labels: [], values: new Map()});
      const own = this.layers.get(name), count = values[0].rows.length;
      for (const {name: value, role, rows} of values) {
        if (!own.values.has(value)) own.values.set(value, {role, array: new Growing(MOST)});
        own.values.get(value).array.add(rows);
      }
      own.labels = [...own.labels, ...Array(count - 1).fill("·"), label].slice(-MOST);
    }
  }

  get parts() { // the layer that stepped last is the last one
    return [...this.layers].map(([name, {labels, values}]) => ({name, backend: "", labels, joined: "", half_lives: {}, telling: [],
      units: Array.from({length: Math.max(...[...values.values()].map(each => each.array.units))}, (_, unit) => unit),
      values: [...values].map(([value, {role, array}]) => ({name: value, role, array, units: array.units, below: null}))}));
  }
}
