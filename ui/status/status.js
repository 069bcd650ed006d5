// The status page: asks the public API of the node it came from once a second, and shows tables.
//
// It keeps the token in this tab only, and builds every cell as text, never as markup. Whatever it
// shows is either from the last seconds or marked as old, with its age: a node that does not answer
// and a node that hears no leader are told apart, and neither passes for a quiet evening.

import { words } from "./words.js";

const PAUSE_MS = 1_000;
const PATIENCE_MS = 5_000;
/** An answer that is this late makes what is shown old, even while it may still come. */
const LATE_MS = 3_000;
const AGENTS_MAX = 1_000;
const DIRECTORY = "sh_0";
const AGENT_STATES = ["ready", "full", "notReady", "lost", "signedOut"];
/** Refusals that a person can do something about, and the words that say what. */
const EXPLAINED = {
  "token-malformed": "tokenMalformed",
  "token-forged": "tokenForged",
  "token-expired": "tokenExpired",
  "not-allowed": "notAllowed",
};

const byId = (id) => document.getElementById(id);

const state = {
  language: "en",
  token: "",
  site: "",
  /** Why the token was given back: a code of the API, or nothing. */
  refused: "",
  /** What the node told last, or nothing yet. */
  told: null,
  /** When it told that, and when it last was up to date in what is shown; 0 is never. */
  toldAt: 0,
  currentAt: 0,
  /** Why the last round failed, or nothing. */
  failure: null,
  /** Rounds of an earlier token, site or moment know by it that they are over. */
  round: 0,
};

function word(key, gaps = {}) {
  return words[state.language][key].replace(/\{(\w+)\}/g, (_, gap) => gaps[gap]);
}

// ---- Asking ------------------------------------------------------------------------------------

class Refused extends Error {
  constructor(status, { code, detail }) {
    super(`${code}: ${detail}`);
    Object.assign(this, { status, code });
  }
}

async function ask(path) {
  // A header cannot carry anything else, and a token never has it.
  if (!/^[\x21-\x7e]+$/.test(state.token)) {
    throw new Refused(401, { code: "token-malformed", detail: "" });
  }
  const response = await fetch(path, {
    headers: { authorization: `Bearer ${state.token}` },
    signal: AbortSignal.timeout(PATIENCE_MS),
  });
  const body = await response.json();
  if (!response.ok) throw new Refused(response.status, body);
  return body;
}

async function askAll() {
  const cluster = await ask("/v1/cluster");
  const sites = (await ask("/v1/sites")).data;
  const site = sites.find((one) => one.site === state.site) ?? sites[0];
  if (!site) return { cluster, sites, queues: [], agents: [], allAgents: true };
  const path = `/v1/sites/${encodeURIComponent(site.site)}`;
  const queues = (await ask(`${path}/queues`)).data;
  const agents = await ask(`${path}/agents?limit=${AGENTS_MAX}`);
  return { cluster, sites, site, queues, agents: agents.data, allAgents: !agents.next };
}

async function look() {
  const round = (state.round += 1);
  const isOver = () => round !== state.round;
  try {
    const told = await askAll();
    if (isOver()) return;
    Object.assign(state, { told, toldAt: Date.now(), failure: null, site: told.site?.site ?? "" });
    if (silentShards().length === 0) state.currentAt = state.toldAt;
  } catch (error) {
    if (isOver()) return;
    if (error.status === 401 || error.status === 403) return setToken("", error.code);
    state.failure = error;
  }
  show();
  setTimeout(() => isOver() || look(), PAUSE_MS);
}

/** Shards that the tables of site and queues come from, and whose leaders the node does not hear. */
function silentShards() {
  const { cluster, site } = state.told;
  const read = [DIRECTORY, site?.shard];
  return cluster.shards.filter(({ shard, fresh }) => read.includes(shard) && !fresh)
    .map(({ shard }) => shard);
}

// ---- Showing -----------------------------------------------------------------------------------

function show() {
  const { token, told, refused } = state;
  for (const element of document.querySelectorAll("[data-word]")) {
    say(element, word(element.dataset.word));
  }
  document.title = word("title");
  byId("sign-in").hidden = Boolean(token);
  byId("forget").hidden = !token;
  byId("tables").hidden = byId("skip").hidden = !told;
  byId("site-label").hidden = !told || told.sites.length < 2;
  byId("problem").hidden = !refused;
  say(byId("problem"), refused && explain(refused));
  if (told) {
    showSites(told);
    showQueues(told.queues);
    showAgents(told.agents, told.allAgents);
    showCluster(told.cluster);
  }
  showAge();
}

function explain(code) {
  return EXPLAINED[code] ? word(EXPLAINED[code]) : word("unable", { detail: code });
}

/** Whether what is seen is what is; goes on while no answer comes. */
function showAge() {
  const { token, told } = state;
  const { reason, isCluster } = (token && whyOld()) || { reason: "" };
  const pulse = !token ? "needToken" : reason ? "stale" : told ? "live" : "connecting";
  say(byId("pulse"), word(pulse));
  byId("pulse").className = pulse;
  byId("of-site").classList.toggle("old", Boolean(reason));
  byId("of-cluster").classList.toggle("old", Boolean(isCluster));
  byId("stale").hidden = !reason;
  say(byId("stale-reason"), reason);
  byId("stale-age").hidden = !told;
  const since = state.currentAt;
  const age = { age: lasting(Date.now() - since) };
  say(byId("stale-age"), !since ? word("ageUnknown") : isCluster ? word("age", age) : word("ageOfSite", age));
}

/** Why what is seen is old, and whether what is seen of the cluster is so, too; or nothing. */
function whyOld() {
  const { told, toldAt, failure } = state;
  const isLate = told && Date.now() - toldAt > LATE_MS;
  if (failure?.status) return { reason: word("unable", { detail: failure.message }), isCluster: true };
  if (failure || isLate) return { reason: word("silent"), isCluster: true };
  const silent = told ? silentShards() : [];
  const reason = word("leaderless", { shards: silent.join(", ") });
  return silent.length > 0 ? { reason, isCluster: false } : null;
}

function lasting(ms) {
  const seconds = Math.round(ms / 1_000);
  if (seconds < 120) return word("seconds", { n: seconds });
  const minutes = Math.round(seconds / 60);
  return minutes < 120 ? word("minutes", { n: minutes }) : word("hours", { n: Math.round(minutes / 60) });
}

/** Touches the page only where it changes: what is selected stays so, what is read is not repeated. */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function showSites({ sites, site: chosen }) {
  showTable("sites", [
    [word("site"), (site) => site.site],
    [word("name"), (site) => site.name],
    [word("shard"), (site) => site.shard],
  ], sites, word("noSites"));
  const choice = byId("site");
  fill(choice, sites.length, "option");
  for (const [at, site] of sites.entries()) {
    choice.options[at].value = site.site;
    say(choice.options[at], word("named", { name: site.name, id: site.site }));
  }
  choice.value = chosen?.site ?? "";
}

function showQueues(queues) {
  showTable("queues", [
    [word("queue"), (queue) => word("named", { name: queue.plan.name, id: queue.queue })],
    [word("waiting"), (queue) => queue.waiting, "number"],
    [word("offered"), (queue) => queue.offered, "number"],
    [word("assigned"), (queue) => queue.assigned, "number"],
    [word("wrapUp"), (queue) => queue.wrap_up, "number"],
    [word("oldest"), (queue) => (queue.waiting ? lasting(queue.oldest_wait_ms) : "–"), "number"],
  ], queues, word("noQueues"));
}

function stateOf({ declared, link, routable }) {
  if (declared === "signed_out") return "signedOut";
  if (link !== "up") return "lost";
  if (declared !== "ready") return "notReady";
  return routable ? "ready" : "full";
}

function showAgents(agents, all) {
  const count = (key) => agents.filter((agent) => stateOf(agent) === key).length;
  const rows = AGENT_STATES.map((key) => [key, count(key)]);
  const columns = [
    [word("state"), ([key]) => word(key)],
    [word("count"), ([, agents]) => agents, "number"],
  ];
  showTable("agents", columns, agents.length > 0 ? rows : [], word("noAgents"));
  if (!all) byId("agents").append(paragraph(word("more", { n: AGENTS_MAX })));
}

function showCluster({ node: here, build, nodes, gateways, shards }) {
  const yesOrNo = (yes) => (yes ? [word("yes"), "good"] : [word("no"), "bad"]);
  const name = (node) => (node === here ? word("here", { node }) : node);
  showTable("nodes", [
    [word("node"), (node) => name(node.node)],
    [word("address"), (node) => node.url],
    [word("connected"), (node) => yesOrNo(node.connected)],
    [word("leads"), (node) => node.leads, "number"],
    [word("version"), (node) => node.build ?? "–"],
  ], nodes, word("none"));
  showTable("gateways", [
    [word("node"), (node) => node.node],
    [word("address"), (node) => node.url],
    [word("connected"), presence],
    [word("sessions"), (node) => node.sessions ?? "–", "number"],
    [word("version"), (node) => node.build],
  ], gateways, word("noGateways"));
  showTable("shards", [
    [word("shard"), (shard) => shard.shard],
    [word("leader"), (shard) => shard.leader ?? [word("none"), "bad"]],
    [word("current"), (shard) => yesOrNo(shard.fresh)],
    [word("term"), (shard) => shard.term, "number"],
    [word("applied"), (shard) => word("applyOf", shard), "number"],
    [word("sites"), (shard) => shard.sites, "number"],
  ], shards, word("none"));
  say(byId("source"), word("source", { node: here, build }));
}

/** Who hears a gateway-only node, or since when nobody does. */
function presence({ connected, seen_by: nodes, last_seen: at }) {
  if (connected) return [word("seenBy", { nodes: nodes.join(", ") }), "good"];
  if (at === null) return [word("no"), "bad"];
  return [word("lastSeen", { at: new Date(at).toLocaleString(document.documentElement.lang) }), "bad"];
}

/** Columns are [heading, value of a row, class]; a value is a text, or [text, class]. */
function showTable(id, columns, rows, empty) {
  const place = byId(id);
  if (rows.length === 0) return place.replaceChildren(paragraph(empty));
  let table = place.querySelector("table");
  if (!table) {
    table = document.createElement("table");
    table.setAttribute("aria-labelledby", `${id}-title`);
    table.createTHead().insertRow();
    table.createTBody();
  }
  if (place.childNodes.length !== 1 || place.firstChild !== table) place.replaceChildren(table);
  showRow(table.tHead.rows[0], columns, ([heading]) => heading);
  fill(table.tBodies[0], rows.length, "tr");
  for (const [at, row] of rows.entries()) {
    showRow(table.tBodies[0].rows[at], columns, ([, value]) => value(row));
  }
}

function showRow(line, columns, value) {
  const isHead = line.parentElement.tagName === "THEAD";
  for (const [at, column] of columns.entries()) {
    const [text, style] = [value(column)].flat();
    const cell = line.cells[at] ?? line.appendChild(document.createElement(isHead || at === 0 ? "th" : "td"));
    if (cell.tagName === "TH") cell.scope = isHead ? "col" : "row";
    say(cell, String(text));
    cell.className = [column[2], style].filter(Boolean).join(" ");
  }
}

function fill(parent, count, tag) {
  while (parent.childElementCount > count) parent.lastElementChild.remove();
  while (parent.childElementCount < count) parent.append(document.createElement(tag));
}

function paragraph(text) {
  const element = document.createElement("p");
  element.className = "help";
  element.textContent = text;
  return element;
}

// ---- What a person does ------------------------------------------------------------------------

function setLanguage(language) {
  state.language = Object.hasOwn(words, language) ? language : "en";
  localStorage.setItem("rotary-language", state.language);
  document.documentElement.lang = state.language === "zh" ? "zh-Hans" : "en";
  byId("language").value = state.language;
}

function setToken(token, refused = "") {
  Object.assign(state, { token, refused, told: null, toldAt: 0, currentAt: 0, failure: null });
  state.round += 1;
  if (token) sessionStorage.setItem("rotary-token", token);
  else sessionStorage.removeItem("rotary-token");
  byId("token").value = "";
  show();
  if (token) look();
}

/** Takes a token out of the address, where it would stay in sight. */
function tokenInAddress() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token !== null) history.replaceState(null, "", location.pathname);
  return token;
}

byId("language").addEventListener("change", (event) => {
  setLanguage(event.target.value);
  show();
});
byId("site").addEventListener("change", (event) => {
  state.site = event.target.value;
  look();
});
byId("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  setToken(byId("token").value.trim());
});
byId("forget").addEventListener("click", () => {
  setToken("");
  byId("token").focus();
});
addEventListener("hashchange", () => {
  const token = tokenInAddress();
  if (token) setToken(token);
});
setInterval(showAge, PAUSE_MS);

const preferred = navigator.language.startsWith("zh") ? "zh" : "en";
setLanguage(localStorage.getItem("rotary-language") ?? preferred);
setToken(tokenInAddress() ?? sessionStorage.getItem("rotary-token") ?? "");
