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

export function stream(run, {settings, item}, onevent) { // resolves once all is said; `stop` ends it
  const address = new URL(`/v1/runs/${encodeURIComponent(run)}/stream`, location.href);
  address.protocol = address.protocol.replace("http", "ws");
  const coded = () => btoa(String.fromCharCode(...new TextEncoder().encode(token)))
    .replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  const socket = new WebSocket(address, token ? ["gatework", `gatework.token.${coded()}`] : ["gatework"]);
  const done = new Promise((resolve, reject) => {
    socket.addEventListener("open", () => socket.send(JSON.stringify({open: {settings}})));
    socket.addEventListener("message", message => {
      const event = JSON.parse(message.data);
      if (event.kind === "open") socket.send(JSON.stringify({feed: item}));
      else if (event.kind === "error") reject(new Refused(422, event.error));
      else if (event.kind !== "ready") onevent(event);
      if (event.kind === "record") { // the last of an item
        socket.send(JSON.stringify({close: true}));
        resolve();
      }
    });
    socket.addEventListener("error", () => reject(new Refused(0, "the stream broke off.")));
    socket.addEventListener("close", () => resolve());
  });
  return {done, stop: () => socket.close()};
}
