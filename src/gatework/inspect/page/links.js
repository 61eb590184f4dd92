// Lines from each target token to the source tokens that were read for it, the stronger the more.

import {choice, element, percent, shape, visible} from "./dom.js";

const FONT = "16px system-ui, sans-serif", GAP = 14, EDGE = 12, ABOVE = 26, BETWEEN = 110, BELOW = 30;
const FAINT = 0.08; // of the strongest weight: a line below is not drawn
const NAMED = 3; // source tokens that are named for a target token

export function links({name, source, target}, weights) {
  let chosen = -1; // a target token; -1: all of them
  const [above, below] = [places(source), places(target)];
  const width = Math.max(above.width, below.width) + 2 * EDGE, height = ABOVE + BETWEEN + BELOW;
  const at = (row, index) => EDGE + (width - 2 * EDGE - row.width) / 2 + row.middles[index];
  const strongest = strongestOf(source, target, weights);
  const lines = target.flatMap((_, row) => source.map((_, column) => ({row, column, share: weights.at(row, column) / strongest})))
    .filter(each => each.share >= FAINT)
    .map(each => ({...each, node: line(at(above, each.column), at(below, each.row), each.share)}));
  const words = [
    ...source.map((token, index) => word(token, at(above, index), ABOVE - 8)),
    ...target.map((token, row) => word(token, at(below, row), ABOVE + BETWEEN + 20, {
      onclick: () => pick(row === chosen ? -1 : row), onpointerenter: () => show(row), onpointerleave: () => show(chosen)})),
  ];
  const picture = shape("svg", {width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label":
    `${name}: ${source.length} source tokens above, ${target.length} target tokens below, and a line for what was read`},
    lines.map(each => each.node), words);
  const said = element("output", {className: "reading"});
  const show = row => {
    for (const each of lines) each.node.classList.toggle("other", row >= 0 && each.row !== row);
    words.forEach((each, index) => each.classList.toggle("chosen", row >= 0 && index === source.length + row));
    said.value = row < 0 ? "The lines of every target token." : inWords(source, target[row], weights, row);
  };
  const picker = choice("lines of", [["-1", "every target token"], ...target.map((token, row) => [String(row), `${row + 1}: ${visible(token)}`])],
    "-1", row => pick(Number(row)));
  const pick = row => { chosen = row; picker.querySelector("select").value = String(row); show(row); };
  show(-1);
  return element("div", {className: "links"},
    element("div", {className: "scroll", tabindex: "0", role: "region", "aria-label": `${name}, lines`}, picture),
    element("div", {className: "controls"}, picker), said);
}

function places(tokens) { // the middle of each token in a row of them, and the row's width
  const context = document.createElement("canvas").getContext("2d");
  context.font = FONT;
  const middles = [];
  let width = 0;
  for (const token of tokens) {
    const own = context.measureText(visible(token)).width;
    middles.push(width + own / 2);
    width += own + GAP;
  }
  return {middles, width: Math.max(width - GAP, 0)};
}

function strongestOf(source, target, weights) {
  let most = 1e-9;
  target.forEach((_, row) => source.forEach((_, column) => { most = Math.max(most, weights.at(row, column)); }));
  return most;
}

function line(from, to, share) {
  const [top, bottom, bend] = [ABOVE, ABOVE + BETWEEN, BETWEEN / 2];
  return shape("path", {d: `M${from} ${top}C${from} ${top + bend} ${to} ${bottom - bend} ${to} ${bottom}`,
    "stroke-opacity": share.toFixed(3), "stroke-width": (1 + 3 * share).toFixed(2)});
}

function word(token, x, y, more = {}) { return shape("text", {x, y, "text-anchor": "middle", ...more}, visible(token)); }

function inWords(source, token, weights, row) {
  const read = source.map((_, column) => column).sort((one, other) => weights.at(row, other) - weights.at(row, one)).slice(0, NAMED);
  return `“${visible(token)}” was written while it read ${read.map(column =>
    `“${visible(source[column])}” (${percent(weights.at(row, column))})`).join(", ")}.`;
}
