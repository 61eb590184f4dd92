// How much of each source token was read for each target token.

import {colour, css, onTheme, variable} from "./colours.js";
import {element, number, visible} from "./dom.js";
import {links} from "./links.js";

const FONT = "13px system-ui, sans-serif", CELL = 22, SMALL = 6, MANY = 60;

export function alignment({name, source, target}, weights) {
  const canvas = element("canvas", {role: "img",
    "aria-label": `${name}: ${target.length} target tokens by ${source.length} source tokens`});
  const paint = () => draw(canvas, source, target, weights);
  paint();
  onTheme(paint);
  const said = target.slice(0, 200).map((token, row) => {
    let best = 0;
    for (let column = 1; column < source.length; column++) if (weights.at(row, column) > weights.at(row, best)) best = column;
    return element("li", {}, `${visible(token)} ← ${visible(source[best] ?? "")} (${number(weights.at(row, best), 2)})`);
  });
  const table = element("div", {className: "scroll", tabindex: "0", role: "region", "aria-label": name}, canvas);
  return element("div", {},
    ...(isNamed(source, target)
      ? [links({name, source, target}, weights), element("details", {}, element("summary", {}, "As a table: a row a target token"), table)]
      : [table]),
    element("details", {}, element("summary", {}, "In words: what each was read from most"), element("ol", {}, said)));
}

function isNamed(source, target) { return source.length <= MANY && target.length <= MANY; }

function draw(canvas, source, target, weights) {
  const context = canvas.getContext("2d");
  context.font = FONT;
  const named = isNamed(source, target), cell = named ? CELL : SMALL;
  const widest = labels => named ? Math.max(0, ...labels.map(label => context.measureText(visible(label)).width)) : 0;
  const [left, top] = [widest(target) + 10, widest(source) + 10];
  const [width, height] = [left + cell * source.length + 2, top + cell * target.length + 2];
  const scale = window.devicePixelRatio || 1;
  [canvas.width, canvas.height] = [width * scale, height * scale];
  [canvas.style.width, canvas.style.height] = [`${width}px`, `${height}px`];
  context.setTransform(scale, 0, 0, scale, 0, 0);
  for (let row = 0; row < target.length; row++) {
    for (let column = 0; column < source.length; column++) {
      context.fillStyle = css(colour(weights.at(row, column), false));
      context.fillRect(left + column * cell, top + row * cell, cell, cell);
    }
  }
  context.strokeStyle = variable("--line");
  context.strokeRect(left, top, cell * source.length, cell * target.length);
  if (!named) return;
  context.font = FONT;
  context.fillStyle = variable("--ink");
  context.textBaseline = "middle";
  context.textAlign = "right";
  target.forEach((token, row) => context.fillText(visible(token), left - 5, top + (row + 0.5) * cell));
  context.textAlign = "left";
  source.forEach((token, column) => {
    context.save();
    context.translate(left + (column + 0.5) * cell, top - 5);
    context.rotate(-Math.PI / 2);
    context.fillText(visible(token), 0, 0);
    context.restore();
  });
}
