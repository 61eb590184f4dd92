// What a person gives each task: a text, a question about a passage, a series, a sound.

import {element} from "./inspect/dom.js";
import {audio} from "./answers.js";
import {Microphone, base64, chunks, decoded, wav, whole} from "./sound.js";

function field(label, text, onchange, rows = 4) {
  const area = element("textarea", {rows: String(rows), spellcheck: "false", oninput: onchange});
  area.value = text;
  return {area, node: element("label", {className: "field"}, label, area)};
}

function dropped(label, accept, onfile) {
  const input = element("input", {type: "file", accept, onchange: event => event.target.files[0] && onfile(event.target.files[0])});
  const node = element("div", {className: "drop"}, element("label", {}, `${label} `, input));
  node.addEventListener("dragover", event => { event.preventDefault(); node.classList.add("over"); });
  node.addEventListener("dragleave", () => node.classList.remove("over"));
  node.addEventListener("drop", event => {
    event.preventDefault();
    node.classList.remove("over");
    if (event.dataTransfer.files[0]) onfile(event.dataTransfer.files[0]);
  });
  return node;
}

// Each form: {node, item() -> what is asked, or null where there is nothing yet, live: whether to ask while one types}.

function textForm(label, example) {
  return onchange => {
    const {area, node} = field(label, example, onchange);
    return {node, live: true, item: () => area.value};
  };
}

function classifierForm(onchange) {
  const {area, node} = field("a text, or numbers, a line a step", "", onchange);
  const file = dropped("or a CSV of numbers:", ".csv,.tsv,text/csv", async chosen => { area.value = await chosen.text(); onchange(); });
  const numbers = () => {
    const rows = area.value.trim().split(/\n/).map(line => line.split(/[,;\t ]+/).map(Number));
    return area.value.trim() && rows.every(row => row.every(Number.isFinite)) ? rows : null;
  };
  return {node: element("div", {}, node, file), live: true, item: () => numbers() ?? area.value};
}

function readerForm(onchange) {
  const context = field("the passage", "Ann went to Rome on Monday. Ben stayed at home.", onchange, 6);
  const question = field("the question", "Where did Ann go?", onchange, 2);
  return {node: element("div", {}, context.node, question.node), live: true,
    item: () => question.area.value.trim() ? {context: context.area.value, question: question.area.value} : null};
}

function chatForm(onchange) {
  const {area, node} = field("say something", "hello", onchange, 2);
  const turns = [], list = element("ol", {"aria-label": "the conversation so far"});
  return {node: element("div", {}, list, node), live: false, item: () => area.value.trim() ? [...turns, area.value] : null,
    answered: text => {
      turns.push(area.value, text);
      area.value = "";
      list.replaceChildren(...turns.map((turn, index) => element("li", {}, `${index % 2 ? "it" : "you"}: ${turn}`)));
    }};
}

const TIMES = ["time", "date", "timestamp", "ds"];

export function seriesOf(text) { // of a CSV with columns of times and numbers, or of numbers alone
  const rows = text.trim().split(/\r?\n/).map(line => line.split(/[,;\t]/).map(cell => cell.trim()));
  if (!rows[0]?.[0]) return null;
  const isHead = rows[0].some(cell => cell !== "" && !Number.isFinite(Number(cell)) && Number.isNaN(Date.parse(cell)));
  const head = isHead ? rows.shift() : rows[0].map((_, index) => rows[0].length > 1 && index === 0 ? "time" : "target");
  const time = head.findIndex(name => TIMES.includes(name.toLowerCase()));
  const columns = head.map((_, index) => index).filter(index => index !== time
    && rows.some(row => row[index] !== "" && Number.isFinite(Number(row[index]))));
  const named = columns.find(index => ["target", "value", "y"].includes(head[index].toLowerCase())) ?? columns.at(-1);
  if (named === undefined) return null;
  const target = rows.map(row => row[named] === "" || row[named] === undefined ? null : Number(row[named]));
  return time < 0 ? {target} : {time: rows.map(row => row[time]), target};
}

function seriesForm(onchange) {
  const {area, node} = field("a CSV with times and numbers, or numbers, one a line", "", onchange, 6);
  const file = dropped("or drop a CSV:", ".csv,.tsv,text/csv", async chosen => { area.value = await chosen.text(); onchange(); });
  return {node: element("div", {}, node, file), live: true, item: () => area.value.trim() ? seriesOf(area.value) : null};
}

function soundForm(onchange, hearing) { // hearing: what hears sound while it comes, {start, hear, stop}; null: the run hears it whole
  let sound = null, microphone = null;
  const said = element("p", {className: "quiet", role: "status"}, "no sound yet"), player = element("div");
  const take = (bytes, words) => {
    sound = {bytes: base64(bytes)};
    said.textContent = words;
    player.replaceChildren(audio(bytes));
  };
  const file = dropped("a sound file (WAV, FLAC, Ogg, MP3):", "audio/*,.wav", async chosen => {
    const content = await chosen.arrayBuffer();
    take(new Uint8Array(content), chosen.name);
    if (!hearing) { onchange(); return; }
    let samples;
    try { samples = await decoded(content); } catch { onchange(); return; } // which the service may read
    if (!await hearing.start(samples.rate)) return;
    for (const chunk of chunks(samples)) if (!await hearing.hear(chunk)) return;
    await hearing.stop();
  });
  const button = element("button", {type: "button", onclick: async () => {
    if (microphone) {
      const heard = await microphone.stop();
      microphone = null;
      button.textContent = "Speak";
      take(wav(heard), `${(heard.samples.length / heard.rate).toFixed(1)} s from the microphone`);
      await (hearing ? hearing.stop() : onchange());
      return;
    }
    const own = new Microphone();
    try { await own.start(chunk => hearing?.hear(whole(chunk))); }
    catch (error) { said.textContent = `The microphone cannot be used: ${error.message}`; return; }
    microphone = own;
    hearing?.start(own.rate);
    button.textContent = "Stop speaking";
    said.textContent = "It listens.";
  }}, "Speak");
  const words = hearing ? "The words come while the sound does." : "This run reads a sound in both directions, and so hears it whole: "
    + "one that was trained with bidirectional=false says the words while the sound comes.";
  return {node: element("div", {}, file, button, said, player, element("p", {className: "quiet"}, words)), live: true, item: () => sound};
}

export const FORMS = {
  "language-model": textForm("a text to go on with", "Once upon a time"),
  translator: textForm("a text to translate", ""),
  tagger: textForm("a sentence", "fly to New York on Monday"),
  synthesizer: textForm("a text to speak", ""),
  chatbot: chatForm,
  classifier: classifierForm,
  reader: readerForm,
  forecaster: seriesForm,
  transcriber: soundForm,
};
