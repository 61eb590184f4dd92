// What the page asks of its own service: runs, answers, what the layers did, and streams.

let token = sessionStorage.getItem("gatework-token") ?? "";

export function useToken(given) {
  token = given;
  sessionStorage.setItem("gatework-token", given);
}

export class Refused extends Error {
  constructor(status, message) { super(message); this.status = status; }
}

async function asked(path, body, signal) {
  const headers = token ? {authorization: `Bearer ${token}`} : {};
  if (body !== undefined) headers["content-type"] = "application/json";
  const answer = await fetch(path, {method: body === undefined ? "GET" : "POST", headers, signal,
    body: body === undefined ? undefined : JSON.stringify(body)});
  const said = await answer.json();
  if (!answer.ok) throw new Refused(answer.status, said.error ?? `the service answered ${answer.status}.`);
  return said;
}

export async function runs() { return (await asked("/v1/runs")).runs; }

export function looked(run, question, signal) {
  return asked(`/v1/runs/${encodeURIComponent(run)}/inspect`, question, signal);
}

export class Stream { // a session of a run: each order's promise resolves once all is said of it
  constructor(run, opening, onevent) {
    const address = new URL(`/v1/runs/${encodeURIComponent(run)}/stream`, location.href);
    address.protocol = address.protocol.replace("http", "ws");
    this.socket = new WebSocket(address, token ? ["gatework", `gatework.token.${coded(token)}`] : ["gatework"]);
    this.waiting = [];
    this.opened = this.order(() => {});
    this.opened.catch(() => {}); // who waits for an order hears it
    this.socket.addEventListener("open", () => this.send({open: opening}));
    this.socket.addEventListener("message", message => this.hear(JSON.parse(message.data), onevent));
    this.socket.addEventListener("close", () => this.fail(new Refused(0, "the stream was closed.")));
  }

  hear(event, onevent) {
    if (event.kind === "open") this.token = event.token;
    else if (event.kind === "ready") this.waiting.shift()?.resolve();
    else if (event.kind === "error") this.fail(new Refused(422, event.error));
    else onevent(event);
  }

  fail(error) {
    for (const each of this.waiting.splice(0)) each.reject(error);
    this.socket.close();
  }

  order(act) {
    return new Promise((resolve, reject) => {
      if (this.socket.readyState > WebSocket.OPEN) { reject(new Refused(0, "the stream was closed.")); return; }
      this.waiting.push({resolve, reject});
      act();
    });
  }

  send(message) { this.socket.send(JSON.stringify(message)); }

  async feed(item) {
    await this.opened;
    await this.order(() => item instanceof Int16Array ? this.socket.send(item) : this.send({feed: item}));
  }

  async finish() {
    await this.opened;
    await this.order(() => this.send({finish: true}));
  }

  end() { // for good
    if (this.socket.readyState === WebSocket.OPEN) this.send({close: true});
    this.leave();
  }

  leave() { this.fail(new DOMException("left", "AbortError")); } // its token takes it up again
}

function coded(text) {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
