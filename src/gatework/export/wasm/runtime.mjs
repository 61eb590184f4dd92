// What runs the module, in browsers, Node and wherever else there is WebAssembly. Numbers are float32.

const LANES = ABOUT.lanes;
const whole = (count) => Math.ceil(count / LANES) * LANES;

/** Loads the module: from its bytes, a response of fetch, or an address. */
export async function load(source = new URL(ABOUT.file, import.meta.url)) {
  if (source instanceof URL && source.protocol === "file:") {
    const { readFile } = await import("node:fs/promises");
    source = await readFile(source);
  } else if (typeof source === "string" || source instanceof URL) {
    source = await fetch(source);
  }
  if (typeof Response !== "undefined" && source instanceof Response) source = await source.arrayBuffer();
  const { instance } = await WebAssembly.instantiate(source, {});
  const heap = new Heap(instance.exports);
  return Object.fromEntries(
    ABOUT.parts.map((about) => [about.name, new (about.reads ? VectorMap : Network)(instance.exports, heap, about)]),
  );
}

/** The module's memory: blocks that are freed are given again for the same size. */
class Heap {
  constructor(exports) {
    this.memory = exports.memory;
    this.end = exports.__heap_base.value;
    this.free = new Map();
  }

  take(numbers) {
    const bytes = Math.ceil((4 * numbers) / 64) * 64 || 64;
    const known = this.free.get(bytes);
    if (known && known.length) return known.pop();
    const at = Math.ceil(this.end / 64) * 64;
    this.end = at + bytes;
    const missing = this.end - this.memory.buffer.byteLength;
    if (missing > 0) this.memory.grow(Math.ceil(missing / 65536));
    return at;
  }

  give(at, numbers) {
    const bytes = Math.ceil((4 * numbers) / 64) * 64 || 64;
    if (!this.free.has(bytes)) this.free.set(bytes, []);
    this.free.get(bytes).push(at);
  }

  floats(at, count) {
    return new Float32Array(this.memory.buffer, at, count);
  }
}

/** A function of vectors that keeps no state. */
class VectorMap {
  constructor(functions, heap, about) {
    Object.assign(this, { functions, heap, about });
  }

  /** `given`: the vectors that it reads, by name; gives those that it gives, by name. */
  map(given) {
    const { about, heap } = this;
    const read = Object.entries(about.reads).map(([name, size]) => checked(name, given[name], size));
    const sizes = [...Object.values(about.reads), ...Object.values(about.gives), about.scratch[0]];
    const places = sizes.map((size) => heap.take(size));
    read.forEach((values, index) => heap.floats(places[index], values.length).set(values));
    this.functions[`${about.name}_map`](...places);
    const made = Object.entries(about.gives).map(([name, size], index) => [
      name,
      heap.floats(places[read.length + index], size).slice(),
    ]);
    places.forEach((at, index) => heap.give(at, sizes[index]));
    return Object.fromEntries(made);
  }
}

/** Recurrent layers, with what stands before and after them. */
class Network {
  constructor(functions, heap, about) {
    Object.assign(this, { functions, heap, about });
  }

  call(name, ...given) {
    this.functions[`${this.about.name}_${name}`](...given);
  }

  /** A state of its own, at the cell's start. `further`: memories by name, (S, M) as one array, and static vectors. */
  stream(further = {}) {
    return new Stream(this, further);
  }
}

class Stream {
  constructor(network, further) {
    const { about, heap } = network;
    this.network = network;
    this.blocks = [];
    this.steps = {};
    this.fixed = {};
    for (const [name, size] of Object.entries(about.memories)) {
      const values = checked(name, further[name], null);
      if (values.length % size) throw new RangeError(`${name} has ${values.length} numbers; its steps have ${size}.`);
      const steps = values.length / size;
      const keys = this.take((about.keys[name] || 1) * steps);
      this.steps[`${name}_steps`] = steps;
      this.fixed[name] = [this.put(values), keys, steps];
      if (about.keys[name]) network.call(`attend_${name}`, this.fixed[name][0], steps, keys);
    }
    for (const [name, size] of Object.entries(about.statics)) {
      this.fixed[name] = [this.put(checked(name, further[name], size))];
    }
    this.stateAt = this.take(this.count(about.state));
    this.reset();
  }

  take(numbers) {
    const at = this.network.heap.take(numbers);
    this.blocks.push([at, numbers]);
    return at;
  }

  put(values) {
    const at = this.take(values.length);
    this.network.heap.floats(at, values.length).set(values);
    return at;
  }

  count([fixed, widths]) {
    return widths.reduce((total, width) => total + whole(this.steps[width]), fixed);
  }

  /** Back to the cell's start. */
  reset() {
    const widths = new Set(this.network.about.state[1]);
    this.network.call("start", this.stateAt, ...[...widths].map((width) => this.steps[width]));
  }

  /** All states in one array: a copy to keep, and to set again. */
  get state() {
    return this.network.heap.floats(this.stateAt, this.count(this.network.about.state)).slice();
  }

  set state(values) {
    const count = this.count(this.network.about.state);
    this.network.heap.floats(this.stateAt, count).set(checked("state", values, count));
  }

  /** Where a state of one layer and direction stands in that array: `h_l0`, `c_l1_reverse`. */
  place(name) {
    const known = this.network.about.states[name];
    if (!known || known[1] === null) throw new RangeError(`${name}: there is no such state of a fixed size.`);
    return known;
  }

  /** A copy of one state. */
  get(name) {
    const [offset, units] = this.place(name);
    return this.network.heap.floats(this.stateAt + 4 * offset, units).slice();
  }

  /** Sets one state. */
  set(name, values) {
    const [offset, units] = this.place(name);
    this.network.heap.floats(this.stateAt + 4 * offset, units).set(checked(name, values, units));
  }

  /** One step of `x`, an array, or a token's number: `{ output, … }`, with what the network emits by name. */
  step(x, inputs = {}) {
    if (this.network.about.bothWays) throw new Error("A network of two directions has no step: call sequence.");
    const tokens = this.network.about.tokens !== null;
    return this.run("step", tokens ? [x] : x, 1, inputs);
  }

  /** Steps one after another: arrays of all steps, the first step first. */
  sequence(x, inputs = {}) {
    const { about } = this.network;
    const steps = about.tokens !== null ? x.length : x.length / about.input;
    if (!Number.isInteger(steps)) throw new RangeError(`x has ${x.length} numbers; its steps have ${about.input}.`);
    return this.run("sequence", x, steps, inputs);
  }

  run(name, x, steps, inputs) {
    const { about, heap } = this.network;
    const before = this.blocks.length;
    let first;
    if (about.tokens !== null) {
      for (const token of x) {
        if (!Number.isInteger(token) || token < 0 || token >= about.tokens) {
          throw new RangeError(`token ${token}: tokens are whole numbers from 0 to ${about.tokens - 1}.`);
        }
      }
      first = this.take(x.length);
      new Uint32Array(heap.memory.buffer, first, x.length).set(x);
    } else {
      first = this.put(checked("x", x, steps * about.input));
    }
    const read = [];
    for (const [each, size] of Object.entries(about.inputs)) {
      read.push(this.put(checked(each, inputs[each], steps * size)));
    }
    for (const each of [...Object.keys(about.statics), ...Object.keys(about.memories)]) read.push(...this.fixed[each]);
    const sizes = { output: about.output };
    for (const [each, [units, width]] of Object.entries(about.emits)) sizes[each] = units ?? this.steps[width];
    const outs = Object.entries(sizes).map(([each, size]) => [each, this.take(steps * size), steps * size]);
    const scratch = this.take(this.count(about.scratch) + about.sequenceWidth * steps);
    const lead = name === "step" ? [about.tokens !== null ? x[0] : first] : [first, steps];
    this.network.call(name, ...lead, ...read, this.stateAt, ...outs.map(([, at]) => at), scratch);
    const result = Object.fromEntries(outs.map(([each, at, count]) => [each, heap.floats(at, count).slice()]));
    for (const [at, numbers] of this.blocks.splice(before)) heap.give(at, numbers);
    return result;
  }

  /** Gives its memory back. */
  close() {
    for (const [at, numbers] of this.blocks.splice(0)) this.network.heap.give(at, numbers);
  }
}

function checked(name, values, count) {
  if (!values || typeof values.length !== "number" || (count !== null && values.length !== count)) {
    const got = values && typeof values.length === "number" ? `${values.length} numbers` : String(values);
    throw new RangeError(`${name} is ${got}; expected ${count === null ? "an array" : `${count} numbers`}.`);
  }
  return values;
}
