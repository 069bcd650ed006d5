// Shows the API's description, as the node that the page came from serves it. Nothing comes from
// elsewhere, and every word is put in as text, never as markup. What the description itself says is
// English; the words around it are in both languages.

import { words } from "./docs-words.js";

const METHODS = ["get", "post", "put", "delete"];
const byId = (id) => document.getElementById(id);
let language = navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
let description = null;

function word(key, gaps = {}) {
  return words[language][key].replace(/\{(\w+)\}/g, (_, gap) => gaps[gap]);
}

/** An element with a class, and with texts and elements in it. */
function make(name, kind, ...inside) {
  const element = document.createElement(name);
  if (kind) element.className = kind;
  element.append(...inside);
  return element;
}

// ---- Schemas -----------------------------------------------------------------------------------

function nameOf(place) {
  return place.slice(place.lastIndexOf("/") + 1);
}

/** A type in a few words, with links to the schemas that it names. */
function type(schema) {
  if (schema.$ref) {
    const name = nameOf(schema.$ref);
    const link = make("a", "", name);
    link.href = `#schema-${name}`;
    return [link];
  }
  if (schema.const !== undefined) return [JSON.stringify(schema.const)];
  if (schema.enum) return [schema.enum.map((value) => JSON.stringify(value)).join(" | ")];
  const choices = schema.oneOf ?? schema.anyOf;
  if (choices) return choices.flatMap((choice, at) => (at ? [" | ", ...type(choice)] : type(choice)));
  if (schema.type === "array") return [`${word("list")} `, ...type(schema.items ?? {})];
  if (schema.type === "object" && schema.properties) {
    const fields = Object.entries(schema.properties);
    return ["{ ", ...fields.flatMap(([name, inner], at) => [at ? ", " : "", `${name}: `, ...type(inner)]), " }"];
  }
  return [[schema.type ?? "any"].flat().join(" | ")];
}

function bounds(schema) {
  const parts = [];
  if (schema.minimum !== undefined || schema.maximum !== undefined) {
    parts.push(`${schema.minimum ?? ""} … ${schema.maximum ?? ""}`);
  }
  if (schema.maxLength !== undefined) parts.push(`≤ ${schema.maxLength}`);
  if (schema.pattern) parts.push(schema.pattern);
  if (schema.examples) parts.push(schema.examples.map((one) => JSON.stringify(one)).join(", "));
  if (schema.default !== undefined) {
    parts.push(word("fallback", { value: JSON.stringify(schema.default) }));
  }
  return parts.join(" · ");
}

/** The fields of an object, or the ways that a choice may go. */
function shape(schema) {
  const list = make("dl", "");
  const required = schema.required ?? [];
  for (const [name, field] of Object.entries(schema.properties ?? {})) {
    const term = make("dt", "", make("code", "", name), " ", make("span", "type", ...type(field)));
    if (required.includes(name)) term.append(" ", make("span", "soft", word("required")));
    list.append(term, make("dd", "", [field.description, bounds(field)].filter(Boolean).join(" · ")));
  }
  for (const choice of schema.oneOf ?? schema.anyOf ?? []) {
    list.append(make("dt", "type", ...type(choice)), make("dd", "", choice.description ?? ""));
  }
  if (!list.childElementCount) {
    list.append(make("dt", "type", ...type(schema)), make("dd", "", bounds(schema)));
  }
  return list;
}

// ---- Operations --------------------------------------------------------------------------------

function resolved(part) {
  if (!part.$ref) return part;
  return part.$ref.slice(2).split("/").reduce((inner, key) => inner[key], description);
}

function parameters(operation) {
  const list = make("dl", "");
  for (const parameter of operation.parameters.map(resolved)) {
    const schema = parameter.schema ?? {};
    const says = [parameter.description ?? schema.description, bounds(schema)];
    const place = ` (${parameter.in}${parameter.required ? `, ${word("required")}` : ""})`;
    list.append(
      make("dt", "", make("code", "", parameter.name), " ", make("span", "type", ...type(schema)), place),
      make("dd", "", says.filter(Boolean).join(" · ")),
    );
  }
  return list;
}

function answers(operation) {
  const list = make("dl", "");
  for (const [status, said] of Object.entries(operation.responses)) {
    const answer = resolved(said);
    const [content] = Object.values(answer.content ?? {});
    const isProblem = answer.content?.["application/problem+json"];
    const shown = content && !isProblem ? type(content.schema) : [];
    list.append(
      make("dt", "", make("code", "", status), " ", make("span", "type", ...shown)),
      make("dd", "", answer.description),
    );
  }
  return list;
}

function inside(operation) {
  const content = make("div", "");
  content.append(make("p", "soft", word(operation.security.length ? "secured" : "open")));
  if (operation.parameters.length) {
    content.append(make("h3", "", word("parameters")), parameters(operation));
  }
  const body = operation.requestBody?.content["application/json"].schema;
  if (body) {
    const fields = body.$ref ? resolved(body) : body;
    content.append(make("h3", "", word("body"), " ", make("span", "type", ...type(body))), shape(fields));
  }
  content.append(make("h3", "", word("answers")), answers(operation));
  return content;
}

/** Contents are made when they are first looked at. */
function fold(summary, fill) {
  const details = make("details", "", summary);
  details.addEventListener("toggle", () => {
    if (details.open && details.childElementCount === 1) details.append(fill());
  });
  return details;
}

function operations() {
  const wanted = byId("find").value.trim().toLowerCase();
  const groups = new Map();
  let count = 0;
  for (const [path, methods] of Object.entries(description.paths)) {
    for (const method of METHODS.filter((name) => methods[name])) {
      const operation = methods[method];
      const text = `${method} ${path} ${operation.summary} ${operation.operationId}`.toLowerCase();
      if (!text.includes(wanted)) continue;
      const summary = make("summary", "", make("span", "method", method.toUpperCase()),
        make("span", "path", path), " ", make("span", "says", operation.summary));
      const [tag] = operation.tags;
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(fold(summary, () => inside(operation)));
      count += 1;
    }
  }
  const sections = [...groups].sort(([a], [b]) => a.localeCompare(b)).map(([tag, rows]) => {
    const title = make("h2", "", tag);
    title.lang = "en";
    return make("section", "", title, ...rows);
  });
  byId("operations").replaceChildren(...sections);
  byId("count").textContent = word("count", { n: count });
}

function schemas() {
  const rows = Object.entries(description.components.schemas).map(([name, schema]) => {
    const row = fold(make("summary", "path", name), () => {
      return make("div", "", make("p", "", schema.description ?? ""), shape(schema));
    });
    row.id = `schema-${name}`;
    return row;
  });
  byId("schemas").replaceChildren(...rows);
}

// ---- The page ----------------------------------------------------------------------------------

/** Opens the schema that the address names, so that a link shows what it leads to. */
function follow() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target instanceof HTMLDetailsElement) {
    target.open = true;
    target.scrollIntoView();
    target.firstElementChild.focus();
  }
}

function show() {
  document.documentElement.lang = language === "zh" ? "zh-Hans" : "en";
  byId("language").value = language;
  document.title = word("title");
  for (const element of document.querySelectorAll("[data-word]")) {
    element.textContent = word(element.dataset.word);
  }
  if (!description) return;
  byId("about").textContent = `${description.info.description} (${description.info.version})`;
  operations();
  schemas();
}

async function load() {
  try {
    const answer = await fetch("/v1/openapi.json");
    if (!answer.ok) throw new Error(answer.statusText);
    description = await answer.json();
  } catch {
    byId("problem").textContent = word("silent");
    byId("problem").hidden = false;
  }
  show();
  follow();
}

byId("language").addEventListener("change", (event) => {
  language = event.target.value;
  show();
});
byId("find").addEventListener("input", operations);
window.addEventListener("hashchange", follow);
show();
await load();
