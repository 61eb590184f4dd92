// The live page: pick a run, give it something, and watch its answer and its gates.

import {alignment} from "./inspect/alignment.js";
import {unpack} from "./inspect/arrays.js";
import {choice, element, number} from "./inspect/dom.js";
import {Explorer} from "./inspect/explorer.js";
import {flow, reasons, section, telling} from "./inspect/report.js";
import {answer, bars, inWords, piece, wordTimes} from "./answers.js";
import {FORMS} from "./inputs.js";
import {Refused, Stream, looked, runs, useToken} from "./service.js";
import {settingsOf} from "./settings.js";
import {Steps} from "./steps.js";

const PAUSE = 500; // milliseconds after the last key
const FRAME = 60; // milliseconds between two pictures of gates that fire
const place = document.getElementById("live");

class Live {
  constructor(run) {
    this.run = run;
    this.scale = {};
    this.form = FORMS[run.task](() => this.form.live && this.later(), run.streams ? this.hearing() : null);
    this.message = element("p", {className: "message", role: "status"});
    this.said = element("div", {"aria-live": "polite"});
    this.settings = settingsOf(run);
    this.inside = element("div");
    this.more = element("div");
    this.explorer = new Explorer(element("div"));
    this.node = element("div", {},
      this.form.node, this.settings.node,
      element("div", {className: "controls"},
        element("button", {type: "button", className: "main", onclick: () => this.ask({fresh: true})}, "Answer"),
        element("button", {type: "button", onclick: () => this.why()}, "Say why"),
        element("button", {type: "button", onclick: () => this.stop()}, "Stop")),
      this.message, this.said, this.inside, this.more);
  }

  later() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.ask({}), PAUSE);
  }

  stop() {
    clearTimeout(this.timer);
    this.asking?.abort();
    this.streaming?.leave();
    clearTimeout(this.drawing);
    this.drawing = null;
    this.say("");
  }

  say(text, wrong = false) {
    this.message.textContent = text;
    this.message.classList.toggle("wrong", wrong);
  }

  question(more) {
    return {input: this.item, settings: this.settings.values(), ...more};
  }

  async ask({fresh}) {
    const item = this.form.item();
    if (item === null) return;
    this.stop();
    Object.assign(this, {item, scale: {}});
    this.more.replaceChildren();
    this.say("…");
    try {
      this.said.replaceChildren();
      if (this.run.streams && fresh && STREAMED.has(this.run.task)) await this.write();
      const data = await this.look({reasons: false});
      if (!data) return;
      this.first = data.record;
      this.show(data);
      if (fresh && this.form.answered) this.form.answered(data.record.output);
      this.say("");
    } catch (error) { this.fail(error); }
  }

  fail(error) {
    if (error.name === "AbortError") return;
    if (!(error instanceof Refused)) { this.say("The page failed; the console says why.", true); throw error; }
    this.say(error.message, true);
  }

  async look(more) {
    this.asking = new AbortController();
    const {signal} = this.asking;
    const data = await looked(this.run.name, this.question(more), signal);
    return signal.aborted ? null : data;
  }

  open(opening, onevent) { // a stream whose gates are followed while it goes on
    const steps = new Steps();
    let label = "·";
    const stream = new Stream(this.run.name, {settings: this.settings.values(), watch: true, ...opening}, event => {
      if (stream !== this.streaming) return;
      if (event.kind === "gates") { steps.add(event, label); this.follow(steps); return; }
      label = event.token ?? "·";
      onevent(event);
    });
    this.streaming = stream;
    this.inside.replaceChildren(section("What the gates do", this.explorer.host));
    return stream;
  }

  follow(steps) {
    this.drawing ??= setTimeout(async () => { await this.explorer.follow(steps.parts); this.drawing = null; }, FRAME);
  }

  async write() { // a text, token by token
    const text = element("p", {className: "spoken"}), next = element("div"), isChat = this.run.task === "chatbot";
    this.said.replaceChildren(text, next, this.ofSearch());
    const settings = isChat ? this.settings.values() : {next_tokens: 5, ...this.settings.values()};
    const stream = this.open({settings, token: isChat ? this.talk : undefined}, event => {
      if (event.kind !== "piece") return;
      text.append(piece(event));
      if (event.next) next.replaceChildren(bars(event.next.map(each => [`“${each.token}”`, each.probability])));
    });
    this.said.setAttribute("aria-busy", "true"); // it is read aloud when it is whole
    try {
      await stream.feed(isChat ? this.item.at(-1) : this.item);
      if (!isChat) { stream.end(); return; }
      this.talk = stream.token; // which knows what was said
      stream.leave();
    } catch (error) {
      if (!isChat || !this.talk || !(error instanceof Refused)) throw error;
      this.talk = undefined; // the service remembers it no more: the whole conversation is sent for the answer
    } finally { this.said.removeAttribute("aria-busy"); }
  }

  ofSearch() {
    const beam = this.settings.values().beam ?? this.run.settings.properties.beam?.default ?? 1;
    return beam > 1 ? element("p", {className: "quiet"}, `${beam} hypotheses are compared, so that the text is known only at `
      + "its end. With beam=1, in the settings, it is written token by token.") : "";
  }

  hearing() { // what a run says of sound while it comes
    const final = element("span"), partial = element("em"), now = element("p", {className: "quiet"}), words = element("div");
    const heard = event => {
      now.textContent = `heard: ${event.seconds} s`;
      partial.textContent = event.kind === "partial" ? event.output : "";
      if (event.kind !== "final") return;
      final.append(`${event.output} `);
      this.times.push(...event.times ?? []);
      words.replaceChildren(wordTimes(this.times));
    };
    const guarded = async act => {
      try { await act(); return true; } catch (error) { this.fail(error); return false; }
    };
    return {
      start: rate => guarded(() => {
        this.stop();
        this.times = [];
        this.more.replaceChildren();
        for (const each of [final, partial, now, words]) each.replaceChildren();
        this.said.replaceChildren(element("p", {className: "spoken"}, final, partial), now, words);
        this.open({rate}, heard);
      }),
      hear: chunk => guarded(() => this.streaming.feed(chunk)),
      stop: () => guarded(async () => {
        await this.streaming.finish();
        this.streaming.end();
        await this.ask({fresh: false});
      }),
    };
  }

  async show(data) {
    clearTimeout(this.drawing);
    this.drawing = null;
    const isWritten = this.said.querySelector(".spoken span") && STREAMED.has(this.run.task);
    if (!isWritten) this.said.replaceChildren(answer(this.run.task, data.record, this.item));
    const drawn = [];
    for (const each of data.alignments) drawn.push(element("h3", {}, each.name), alignment(each, await unpack(each.weights)));
    this.inside.replaceChildren(...(drawn.length ? [section("What was read for what", ...drawn)] : []),
      section("What the gates do", this.gates(data), this.explorer.host));
    await this.explorer.show(data.parts);
    if (!isWritten) this.explorer.play();
  }

  gates(data) { // one slider that turns a gate down, and what follows
    const names = [...new Set(data.parts.flatMap(part => part.values.filter(each => each.role !== "state").map(each => each.name)))];
    if (!names.length) return null;
    let chosen = names.includes("forget") ? "forget" : names[0];
    const reading = element("output", {}, "1"), follows = element("p", {className: "said", role: "status"});
    const slider = element("input", {type: "range", min: "0", max: "2", step: "0.05", oninput: () => {
      reading.value = number(Number(slider.value), 3);
      clearTimeout(this.timer);
      this.timer = setTimeout(() => turn(), PAUSE / 2);
    }});
    slider.value = "1";
    const turn = async () => {
      this.scale = Number(slider.value) === 1 ? {} : {[chosen]: Number(slider.value)};
      try {
        this.asking?.abort();
        const changed = await this.look({reasons: false, scale: this.scale});
        if (!changed) return;
        follows.replaceChildren(element("strong", {}, `with ${chosen} × ${number(Number(slider.value))}: `),
          inWords(this.run.task, changed.record), element("br"), element("strong", {}, "as it is: "), inWords(this.run.task, this.first));
        await this.explorer.show(changed.parts);
      } catch (error) { this.fail(error); }
    };
    return element("div", {className: "gates"},
      element("div", {className: "controls"},
        choice("turn a gate", names.map(name => [name, name]), chosen, name => { chosen = name; slider.value = "1"; reading.value = "1"; }),
        element("label", {className: "wide"}, "multiplied by (0: off)", slider), reading),
      follows);
  }

  async why() {
    const item = this.form.item();
    if (item === null && this.item === undefined) return;
    if (item !== null) this.item = item;
    this.say("…");
    try {
      const data = await this.look({scale: this.scale});
      if (!data) return;
      await this.explorer.show(data.parts);
      if (!this.first) { this.first = data.record; await this.show(data); }
      this.more.replaceChildren(...[reasons(data, this.explorer), telling(data, this.explorer), flow(data)].filter(each => each !== null));
      this.say("");
    } catch (error) { this.fail(error); }
  }
}

const STREAMED = new Set(["language-model", "chatbot"]);
async function begin() {
  let served;
  try { served = await runs(); } catch (error) {
    if (error.status !== 401) { place.replaceChildren(element("p", {role: "alert"}, error.message)); return; }
    askToken();
    return;
  }
  const ready = served.filter(run => run.ready);
  if (!ready.length) { place.replaceChildren(element("p", {role: "alert"}, "No run can answer now.")); return; }
  const body = element("div");
  let live = null;
  const use = name => {
    live?.stop();
    live = new Live(ready.find(run => run.name === name));
    body.replaceChildren(live.node);
    document.title = `${name} – Gatework`;
  };
  const asked = new URLSearchParams(location.search).get("run");
  const first = ready.some(run => run.name === asked) ? asked : ready[0].name;
  place.replaceChildren(element("div", {className: "controls"},
    choice("run", ready.map(run => [run.name, `${run.name} (${run.task})`]), first, use)), body);
  use(first);
  document.documentElement.dataset.ready = "yes";
}

function askToken() {
  const input = element("input", {type: "password", autocomplete: "off"});
  const form = element("form", {onsubmit: event => { event.preventDefault(); useToken(input.value); begin(); }},
    element("label", {className: "field"}, "This service asks for a token.", input), element("button", {className: "main"}, "Go on"));
  place.replaceChildren(form);
}

await begin();
