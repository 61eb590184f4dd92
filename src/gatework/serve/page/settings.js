// The settings of a run's predictions, as fields.

import {choice, element} from "./inspect/dom.js";

export function settingsOf(run) { // of numbers, switches and words; lists are what they are by default
  const fields = Object.entries(run.settings.properties ?? {}).map(([name, spec]) => fieldOf(name, spec)).filter(each => each !== null);
  const node = fields.length ? element("details", {}, element("summary", {}, "Settings"),
    element("div", {className: "controls"}, fields.map(each => each.node))) : element("div");
  return {node, values: () => Object.fromEntries(fields.map(each => [each.name, each.value()]).filter(([, value]) => value !== undefined))};
}

function fieldOf(name, spec) { // {name, node, value() -> undefined where it is what it is by default}
  const kinds = [spec, ...spec.anyOf ?? []], has = type => kinds.some(each => each.type === type);
  const title = spec.description ?? "", byDefault = spec.default ?? null;
  const options = kinds.find(each => each.enum)?.enum;
  if (options) {
    let chosen = byDefault;
    return {name, node: choice(name, options.map(each => [each, each]), byDefault, value => { chosen = value; }),
      value: () => chosen === byDefault ? undefined : chosen};
  }
  if (has("boolean")) {
    const input = element("input", {type: "checkbox", title});
    input.checked = byDefault === true;
    return {name, node: element("label", {}, name, input), value: () => input.checked === (byDefault === true) ? undefined : input.checked};
  }
  const isNumber = has("number") || has("integer");
  if (!isNumber && !has("string")) return null;
  const input = element("input", {type: isNumber ? "number" : "text", step: has("number") ? "any" : isNumber ? "1" : null, title,
    placeholder: byDefault === null ? "" : String(byDefault)});
  return {name, node: element("label", {}, name, input),
    value: () => input.value === "" ? undefined : isNumber ? Number(input.value) : input.value};
}
