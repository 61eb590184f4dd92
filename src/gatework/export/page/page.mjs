// The page: what is typed is read token by token, the gates of every step are drawn, and the model goes on by itself.

const MOST = 240; // tokens that are drawn
const find = (id) => document.getElementById(id);

const { language_model: network } = await load(await unpacked("module"));
const tokenizer = new Tokenizer(await told("tokenizer"), PAGE.kind, PAGE.lowercase);
const gates = PAGE.gates;

/** What was read: a token, the states after it, the logits and gates of its step. */
const steps = [];
const stream = network.stream();

function read(tokens) {
  let same = 0;
  while (same < steps.length && same < tokens.length && steps[same].token === tokens[same]) same++;
  steps.length = same;
  if (same === 0) stream.reset();
  else stream.state = steps[same - 1].state;
  for (const token of tokens.slice(same)) {
    const values = stream.step(token);
    steps.push({ token, state: stream.state, values });
  }
}

function probabilities(logits, temperature = 1) {
  const largest = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const powers = Float64Array.from(logits, (each) => Math.exp((each - largest) / temperature));
  const total = powers.reduce((a, b) => a + b, 0);
  return powers.map((each) => each / total);
}

function drawn(chances) {
  let left = Math.random();
  for (let k = 0; k < chances.length; k++) {
    left -= chances[k];
    if (left < 0) return k;
  }
  return chances.length - 1;
}

function show() {
  const last = steps.at(-1), chances = probabilities(last.values.output);
  const order = Array.from(chances.keys()).sort((a, b) => chances[b] - chances[a]).slice(0, 8);
  find("next").replaceChildren(
    ...order.map((id) => {
      const row = document.createElement("li");
      row.style.setProperty("--share", chances[id]);
      row.textContent = `${JSON.stringify(tokenizer.shown(id))} ${(100 * chances[id]).toFixed(1)} %`;
      return row;
    }),
  );
  const gate = find("gate").value, canvas = find("gates"), drawnSteps = steps.slice(-MOST);
  const units = last.values[gate].length, wide = Math.max(3, Math.floor(canvas.clientWidth / drawnSteps.length) || 3);
  canvas.width = drawnSteps.length * wide;
  canvas.height = units * Math.max(1, Math.floor(320 / units));
  const context = canvas.getContext("2d"), tall = canvas.height / units;
  drawnSteps.forEach((step, column) => {
    step.values[gate].forEach((value, unit) => {
      const share = Math.min(1, Math.abs(value));
      context.fillStyle = value < 0 ? `rgb(${255 - 195 * share} ${255 - 120 * share} 255)` : `rgb(255 ${255 - 130 * share} ${255 - 215 * share})`;
      context.fillRect(column * wide, unit * tall, wide, tall);
    });
  });
  find("read").textContent = drawnSteps
    .map((step) => tokenizer.shown(step.token).replaceAll("\n", "⏎"))
    .slice(-40)
    .join("·");
  find("count").textContent = `${steps.length} tokens read; ${units} units of “${gate}”, a row each, the last token on the right`;
}

function update() {
  read([PAGE.start, ...tokenizer.encode(find("text").value)]);
  show();
}

let writing = null;
function write() {
  if (writing !== null) {
    clearInterval(writing);
    writing = null;
    find("write").textContent = "Write on";
    return;
  }
  find("write").textContent = "Stop";
  const ids = steps.slice(1).map((step) => step.token);
  const before = find("text").value.slice(0, find("text").value.length), known = tokenizer.decode(ids);
  writing = setInterval(() => {
    const chances = probabilities(steps.at(-1).values.output, Number(find("temperature").value));
    if (PAGE.unknown !== null) chances[PAGE.unknown] = 0;
    const total = chances.reduce((a, b) => a + b, 0);
    ids.push(drawn(chances.map((each) => each / total)));
    read([PAGE.start, ...ids]);
    find("text").value = before + tokenizer.decode(ids).slice(known.length);
    find("text").scrollTop = find("text").scrollHeight;
    show();
  }, 40);
}

find("gate").replaceChildren(...gates.map((name) => new Option(name, name)));
find("gate").addEventListener("change", show);
find("text").addEventListener("input", () => {
  if (writing !== null) write();
  update();
});
find("write").addEventListener("click", write);
update();
globalThis.gatework = { network, tokenizer, steps, read: (text) => read([PAGE.start, ...tokenizer.encode(text)]) };
document.body.dataset.ready = "yes";
