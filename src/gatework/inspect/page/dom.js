// Elements in one expression, and numbers as people read them.

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined) continue;
    if (name === "style") made.style.cssText = value; // as an attribute a service's policy forbids it
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name in made && name !== "list" && typeof value !== "string") made[name] = value;
    else made.setAttribute(name === "className" ? "class" : name, value);
  }
  made.append(...children.flat().filter(child => child !== null && child !== undefined));
  return made;
}

export function shape(tag, attributes = {}, ...children) { // of an SVG picture
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value);
  }
  made.append(...children.flat());
  return made;
}

export function choice(label, options, chosen, onchoice) {
  const made = element("select", {onchange: event => onchoice(event.target.value)},
    options.map(([value, text]) => element("option", {value, selected: value === chosen}, text)));
  return element("label", {}, label, made);
}

export function slider(label, most, value, onmove) {
  const input = element("input", {type: "range", min: "0", max: String(Math.max(most, 0)), step: "1",
    oninput: event => onmove(Number(event.target.value))});
  input.value = String(value);
  return {label: element("label", {className: "wide"}, label, input), input};
}

export function number(value, digits = 3) {
  if (value === null || value === undefined) return "∞";
  if (value === 0) return "0";
  const size = Math.abs(value);
  const text = size >= 1e5 || size < 1e-3 ? value.toExponential(1) : String(Number(value.toPrecision(digits)));
  return text.replace("-", "−");
}

export function percent(share) { return `${Math.round(100 * share)} %`; }

export function visible(label) {
  return label === "" ? "∅" : label.replaceAll(" ", "␣").replaceAll("\n", "↵").replaceAll("\t", "⇥");
}

export function table(heads, rows) {
  const cell = (tag, value, index) => element(tag,
    {className: heads[index][1] ? "number" : null, scope: tag === "th" ? "col" : null}, value);
  return element("div", {className: "scroll", tabindex: "0", role: "region", "aria-label": heads.map(head => head[0]).join(", ")},
    element("table", {},
      element("thead", {}, element("tr", {}, heads.map((head, index) => cell("th", head[0], index)))),
      element("tbody", {}, rows.map(row => element("tr", {}, row.map((value, index) => cell("td", value, index)))))));
}
