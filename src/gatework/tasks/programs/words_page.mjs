// The page of a tagger or a classifier: what is typed is read at each key, answered, and the gates of every step drawn.

const find = (id) => document.getElementById(id);

const facts = await told("facts");
const tables = new Tables(await unpacked("tables"), PAGE.tables);
const parts = await load(await unpacked("module"));
const program = await make(parts, facts, tables);
let record = null;

/** A colour for each name, the same in every text; none for what is outside of spans. */
function colour(tag) {
  if (tag === "O") return "#8882";
  const name = tag.replace(/^[BIES]-/, "");
  let hue = 0;
  for (const character of name) hue = (hue * 31 + character.codePointAt(0)) % 360;
  return `hsl(${hue} 70% 55% / .45)`;
}

function percent(share) {
  return `${(100 * share).toFixed(1)} %`;
}

function showLabels() {
  let shares = record.probabilities;
  if (PAGE.kind === "tags") shares = record.label === undefined ? {} : { [record.label]: record.label_probability };
  const order = Object.keys(shares).sort((a, b) => shares[b] - shares[a]).slice(0, 8);
  find("labels").replaceChildren(
    ...order.map((label) => {
      const row = document.createElement("li");
      row.style.setProperty("--share", shares[label]);
      row.textContent = `${label} ${percent(shares[label])}`;
      return row;
    }),
  );
}

function showTokens() {
  const most = Math.max(...(record.weights ?? [1]));
  find("tokens").replaceChildren(
    ...record.tokens.map((token, t) => {
      const chip = document.createElement("span"), below = document.createElement("small");
      chip.textContent = token;
      if (PAGE.kind === "tags") {
        chip.style.background = colour(record.output[t]);
        below.textContent = `${record.output[t]} ${percent(record.probabilities[t])}`;
      } else if (record.weights) {
        chip.style.background = `rgb(240 138 60 / ${(0.1 + 0.8 * record.weights[t] / most).toFixed(3)})`;
        below.textContent = percent(record.weights[t]);
      }
      chip.append(below);
      return chip;
    }),
  );
}

function showGates() {
  const steps = record.gave[find("gate").value] ?? [], canvas = find("gates"), context = canvas.getContext("2d");
  const units = steps.length ? steps[0].length : 1, wide = Math.max(1, Math.floor(canvas.clientWidth / (steps.length || 1)));
  canvas.width = (steps.length || 1) * wide;
  canvas.height = units * Math.max(1, Math.floor(288 / units));
  const tall = canvas.height / units;
  steps.forEach((step, column) => {
    step.forEach((value, unit) => {
      const share = Math.min(1, Math.abs(value));
      context.fillStyle = value < 0 ? `rgb(${255 - 195 * share} ${255 - 120 * share} 255)` : `rgb(255 ${255 - 130 * share} ${255 - 215 * share})`;
      context.fillRect(column * wide, unit * tall, wide, tall);
    });
  });
  const ways = PAGE.directions === 2 ? "; the upper half reads forward, the lower half backward" : "";
  find("count").textContent = `${steps.length} tokens read; ${units} units of “${find("gate").value}”, a row each${ways}`;
}

function update() {
  record = answer(program, find("text").value);
  showLabels();
  showTokens();
  showGates();
  globalThis.gatework = { program, record };
}

find("gate").replaceChildren(...PAGE.gates.map((name) => new Option(name, name)));
find("gate").addEventListener("change", showGates);
find("text").addEventListener("input", update);
update();
document.body.dataset.ready = "yes";
