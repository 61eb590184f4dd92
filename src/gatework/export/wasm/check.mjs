// Calls a module as it is told by its standard input, a JSON list, and writes a list of what each call gave.

import { readFileSync } from "node:fs";
import { load } from "./model.mjs";

const parts = await load();
const flat = (values) => values.flat(Infinity);
const ofAll = (named, change) => Object.fromEntries(Object.entries(named).map(([name, value]) => [name, change(value)]));

/** What the calls of some rows or steps gave, one after another, as one array by name. */
const joined = (each) =>
  Object.fromEntries(Object.keys(each[0]).map((name) => [name, each.flatMap((one) => Array.from(one[name]))]));

function called({ part, call, x, inputs, memories, statics, states }) {
  if (call === "map") {
    const rows = Object.values(inputs)[0].length;
    const each = Array.from({ length: rows }, (_, row) => parts[part].map(ofAll(inputs, (value) => value[row])));
    return { values: joined(each), states: {} };
  }
  const stream = parts[part].stream({ ...ofAll(memories, flat), ...statics });
  for (const [name, value] of Object.entries(states)) stream.set(name, value);
  const values =
    call === "sequence"
      ? ofAll(stream.sequence(flat(x), ofAll(inputs, flat)), (value) => Array.from(value))
      : joined(x.map((first, t) => stream.step(first, ofAll(inputs, (value) => value[t]))));
  return { values, states: Object.fromEntries(Object.keys(states).map((name) => [name, Array.from(stream.get(name))])) };
}

console.log(JSON.stringify(JSON.parse(readFileSync(0, "utf-8")).map(called)));
