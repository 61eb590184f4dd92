// The routes and schemas of /openapi.json, as text: nothing of it becomes markup.
const state = document.getElementById("state");
const list = document.getElementById("routes");
const ask = document.getElementById("ask");

function element(kind, text, ...children) {
  const made = document.createElement(kind);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

function resolved(schema, all, seen = []) {
  if (Array.isArray(schema)) return schema.map((each) => resolved(each, all, seen));
  if (schema === null || typeof schema !== "object") return schema;
  const name = schema.$ref?.split("/").pop();
  if (name !== undefined) return seen.includes(name) ? { seeAbove: name } : resolved(all[name], all, [...seen, name]);
  return Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, resolved(value, all, seen)]));
}

function details(title, schema, all) {
  const text = JSON.stringify(resolved(schema, all), null, 2);
  const shown = element("pre", text);
  shown.tabIndex = 0;
  return element("details", "", element("summary", title), shown);
}

function route(path, method, operation, all) {
  const section = element("section");
  section.append(element("h2", "", Object.assign(element("span", method.toUpperCase() + " "), { className: "method" }), element("code", path)));
  section.append(element("p", operation.description ?? operation.summary ?? ""));
  const body = operation.requestBody?.content?.["application/json"]?.schema;
  if (body) section.append(details("What it takes", body, all));
  for (const [status, response] of Object.entries(operation.responses)) {
    const schema = response.content?.["application/json"]?.schema;
    if (schema && status === "200") section.append(details("What it gives", schema, all));
  }
  return section;
}

async function show(token) {
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  const answer = await fetch("/openapi.json", { headers });
  if (answer.status === 401) {
    ask.hidden = false;
    state.textContent = token ? "That is not its token." : "";
    return;
  }
  const description = await answer.json();
  const all = description.components?.schemas ?? {};
  ask.hidden = true;
  state.textContent = `${description.info.title} ${description.info.version}`;
  list.replaceChildren(...Object.entries(description.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => route(path, method, operation, all))));
}

ask.addEventListener("submit", (event) => {
  event.preventDefault();
  show(document.getElementById("token").value).catch(failed);
});
function failed(error) { state.textContent = `The description cannot be read: ${error.message}`; }
show("").catch(failed);
