// The status page against a cluster of three nodes, in a real browser. One cluster serves all
// tests, in their order: those that break it come last.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";

import { words } from "../status/words.js";
import { LANGUAGES, StatusPage, launch } from "./lib/browser.mjs";
import { Cluster } from "./lib/cluster.mjs";
import { eventually } from "./lib/eventually.mjs";
import { NAMES, QUEUES, Scene } from "./lib/scene.mjs";

let cluster, scene, browser, url, fragment;

before(async () => {
  cluster = await Cluster.start();
  url = cluster.nodes[0].url;
  fragment = `#token=${cluster.token}`;
  scene = await Scene.set(cluster);
  browser = await launch();
}, { timeout: 60_000 });

after(async () => {
  await browser?.close();
  scene?.end();
  await cluster?.stop();
});

/** Runs a test on a page of its own, and takes a picture of it if it fails. */
function onPage(name, options, body) {
  test(name, { timeout: 60_000 }, async () => {
    const status = await StatusPage.open(browser, url, { fragment, ...options });
    try {
      await body(status);
    } catch (error) {
      await status.picture(`failed-${name.replace(/\W+/g, "-")}`);
      throw error;
    } finally {
      await status.close();
    }
  });
}

/** The numbers of a queue's row: waiting, offered, assigned. */
const counts = (rows, queue) => rows.find(([name]) => name.includes(queue)).slice(1, 4).map(Number);
const total = (rows, queue) => counts(rows, queue).reduce((sum, count) => sum + count, 0);
/** Agents by state, by the word of the state. */
const agents = (rows) => Object.fromEntries(rows.map(([state, count]) => [state, Number(count)]));

test("the binary carries the page of this tree", { skip: Boolean(process.env.ROTARY_UI_FILES) }, async () => {
  for (const file of ["index.html", "status.css", "status.js", "words.js"]) {
    const response = await fetch(`${url}/${file === "index.html" ? "" : file}`);
    const wanted = readFileSync(new URL(`../status/${file}`, import.meta.url), "utf8");
    assert.ok((await response.text()) === wanted, `${file} differs: build the binary again`);
  }
});

// ---- Signing in --------------------------------------------------------------------------------

onPage("a token in the address signs in, and leaves the address", {}, async (status) => {
  await status.untilLive();
  assert.equal(status.page.url(), `${url}/`);
  await status.page.reload();
  await status.untilLive();
  await status.page.getByRole("button", { name: status.word("forget") }).click();
  await status.untilSaid("needToken");
  assert.equal(await status.page.getByRole("table").count(), 0, "nothing is left in sight");
  await status.page.reload();
  await status.untilSaid("needToken");
});

onPage("a pasted token signs in", { fragment: "" }, async (status) => {
  await status.untilSaid("needToken");
  await status.picture("signed-out");
  const field = status.page.getByLabel(status.word("token"), { exact: true });
  assert.equal(await field.getAttribute("type"), "password", "nobody reads it over a shoulder");
  await field.fill(`  ${cluster.token}\n`);
  await status.page.getByRole("button", { name: status.word("connect") }).click();
  await status.untilLive();
});

for (const language of Object.keys(LANGUAGES)) {
  const options = { language, fragment: "#token=nonsense" };
  onPage(`a wrong token is explained (${language})`, options, async (status) => {
    await status.untilSaid("tokenMalformed");
    await status.picture(`refused-${language}`);
    const [head, body] = cluster.token.split(".");
    const customer = { role: "customer", site: scene.site, customer: `cu_${"0".repeat(32)}` };
    for (const [token, key] of [
      [`${head}.${body}.${"A".repeat(43)}`, "tokenForged"],
      ["令牌", "tokenMalformed"],
      [await scene.token({ ...customer, ttl_s: 60 }), "notAllowed"],
      [await scene.token({ role: "administrator", ttl_s: 1 }), "tokenExpired"],
    ]) {
      await status.page.getByLabel(status.word("token"), { exact: true }).fill(token);
      await status.page.getByRole("button", { name: status.word("connect") }).click();
      await status.untilSaid(key);
      await status.untilSaid("needToken");
    }
  });
}

// ---- What is shown -----------------------------------------------------------------------------

onPage("nodes and shards are shown", {}, async (status) => {
  const nodes = await status.untilRows("nodes", (rows) => {
    assert.deepEqual(rows.map(([, address]) => address), cluster.nodes.map((node) => node.url));
    assert.ok(rows.every(([, , connected]) => connected === status.word("yes")));
  });
  const shards = await status.untilRows("shards", (rows) => {
    assert.deepEqual(rows.map(([shard]) => shard), ["sh_0", "sh_1", "sh_2"]);
    assert.ok(rows.every(([, leader]) => /^nd_[123]$/.test(leader)), JSON.stringify(rows));
    assert.ok(rows.every(([, , current]) => current === status.word("yes")));
  });
  const led = nodes.reduce((sum, [, , , leads]) => sum + Number(leads), 0);
  assert.equal(led, shards.length, "each shard is led once");
});

onPage("a gateway-only node is shown, while it is here and when it is gone", {}, async (status) => {
  const [gateway] = cluster.gateways;
  const shown = (wanted) => status.untilRows("gateways", (rows) => {
    assert.deepEqual(rows.map(([node, address]) => [node, address]), [["nd_4", gateway.url]]);
    assert.match(rows[0][2], wanted);
  });
  await shown(/^yes: nd_1, nd_2, nd_3$/);
  await gateway.kill();
  await shown(/^no, last seen .*\d/);
  await gateway.start();
  await shown(/^yes: nd_1, nd_2, nd_3$/);
});

onPage("queues and agents follow what happens, without a reload", {}, async (status) => {
  const { ready, full, notReady, lost } = words.en;
  await status.untilRows("queues", (rows) => assert.deepEqual(counts(rows, QUEUES.sales), [0, 0, 0]));
  await status.untilRows("agents", (rows) => {
    assert.deepEqual([agents(rows)[ready], agents(rows)[notReady]], [1, 1]);
  });
  for (let customer = 0; customer < 3; customer += 1) await scene.open(QUEUES.sales);
  await status.untilRows("queues", (rows) => assert.deepEqual(counts(rows, QUEUES.sales), [2, 1, 0]));
  await scene.ana.acceptNext();
  await scene.open(QUEUES.support);
  await status.untilRows("queues", (rows) => {
    assert.deepEqual(counts(rows, QUEUES.sales), [2, 0, 1]);
    assert.deepEqual(counts(rows, QUEUES.support), [1, 0, 0]);
  });
  scene.bo.leave();
  await status.untilRows("agents", (rows) => {
    const shown = [ready, full, notReady, lost].map((state) => agents(rows)[state]);
    assert.deepEqual(shown, [0, 1, 0, 1]);
  });
});

onPage("what is selected in a table stays selected while numbers change", {}, async (status) => {
  await status.untilLive();
  const cell = status.page.getByRole("rowheader", { name: NAMES[2] });
  await cell.selectText();
  const before = await status.rows("queues");
  await scene.open(QUEUES.support);
  await status.untilRows("queues", (rows) => {
    assert.equal(total(rows, QUEUES.support), total(before, QUEUES.support) + 1);
  });
  const selected = await status.page.evaluate(() => getSelection().toString());
  assert.equal(selected.trim(), before[0][0]);
});

onPage("one of several sites is chosen, by a supervisor too", { fragment: "" }, async (status) => {
  const supervisor = await scene.token({ role: "supervisor", tenant: scene.tenant, ttl_s: 600 });
  await status.page.getByLabel(status.word("token"), { exact: true }).fill(supervisor);
  await status.page.keyboard.press("Enter");
  const choice = status.page.getByRole("combobox", { name: status.word("site"), exact: true });
  await status.untilRows("queues", (rows) => assert.equal(rows.length, 2));
  await choice.selectOption({ label: `${NAMES[1]} (st_1.2)` });
  await status.untilSaid("noQueues");
  await status.untilSaid("noAgents");
  await choice.selectOption(scene.site);
  await status.untilRows("queues", (rows) => assert.equal(rows.length, 2));
});

// ---- Languages ---------------------------------------------------------------------------------

const DATA = [...NAMES, "English", "中文", "Rotary"];
const IDS = /\b[a-z]{2}_[\w.]+|http:\/\/\S+|\d+(\.\d+)*( s| min| 秒)?/g;

/** Fails if a text that is not data is in the other language, or is a bare key. */
function assertLanguage(language, texts) {
  for (const text of texts) {
    const bare = DATA.reduce((rest, name) => rest.replaceAll(name, ""), text).replace(IDS, "");
    assert.ok(!text.includes("undefined") && !/[{}]/.test(text), text);
    const wrong = language === "zh" ? /[A-Za-z]{2,}/ : /\p{Script=Han}/u;
    assert.ok(!wrong.test(bare), `${language}: ${text}`);
  }
}

onPage("the language switch changes every text, and is kept", {}, async (status) => {
  await status.untilLive();
  const html = status.page.locator("html");
  const english = await status.texts();
  assertLanguage("en", english);
  await status.setLanguage("zh");
  await status.untilLive();
  const chinese = await status.texts();
  assertLanguage("zh", chinese);
  assert.equal(chinese.length, english.length, "the same texts, in another language");
  assert.equal(await html.getAttribute("lang"), "zh-Hans");
  assert.equal(await status.page.title(), words.zh.title);
  await status.page.reload();
  await status.untilLive();
  await status.setLanguage("en");
  await status.untilLive();
  assert.equal(await html.getAttribute("lang"), "en");
  assertLanguage("en", await status.texts());
});

onPage("a browser in Chinese starts in Chinese", { language: "zh", fragment: "" }, async (status) => {
  await status.untilSaid("needToken");
  assertLanguage("zh", await status.texts());
});

// ---- For everybody -----------------------------------------------------------------------------

/** What has the focus, and whether that can be seen. */
function focused() {
  const element = document.activeElement;
  if (element === document.body) return null;
  const { outlineStyle, outlineWidth } = getComputedStyle(element);
  const { top, bottom, left, right } = element.getBoundingClientRect();
  const isInSight = bottom > 0 && right > 0 && top < innerHeight && left < innerWidth;
  const isMarked = outlineStyle !== "none" && parseFloat(outlineWidth) >= 2;
  return { name: element.id || element.textContent.trim(), isInSight, isMarked };
}

/** Presses Tab from the start of the page until the page is through. */
async function tabThrough(page, key = "Tab") {
  const stops = [];
  for (let presses = 0; presses < 30; presses += 1) {
    await page.keyboard.press(key);
    const stop = await page.evaluate(focused);
    if (!stop || stop.name === stops[0]?.name) return stops;
    stops.push(stop);
  }
  throw new Error(`no way out of ${JSON.stringify(stops.slice(-3))}`);
}

onPage("everything is reached, and seen, by keyboard", { fragment: "" }, async (status) => {
  const { page } = status;
  await status.untilSaid("needToken");
  const signedOut = await tabThrough(page);
  assert.deepEqual(signedOut.map((stop) => stop.name), ["language", "token", status.word("connect")]);
  await page.getByLabel(status.word("token"), { exact: true }).focus();
  await page.keyboard.insertText(cluster.token);
  await page.keyboard.press("Enter");
  await status.untilLive();

  await page.evaluate(() => document.activeElement.blur());
  await page.reload();
  await status.untilLive();
  const signedIn = await tabThrough(page);
  assert.deepEqual(signedIn.map((stop) => stop.name), ["skip", "site", "language", "forget"]);
  for (const stop of [...signedOut, ...signedIn]) {
    assert.ok(stop.isInSight && stop.isMarked, JSON.stringify(stop));
  }
  const back = await tabThrough(page, "Shift+Tab");
  assert.deepEqual(back.map((stop) => stop.name), signedIn.map((stop) => stop.name).reverse());

  await page.locator("#skip").focus();
  await page.keyboard.press("Enter");
  await eventually("the tables have the focus", async () => {
    assert.equal(await page.evaluate(() => document.activeElement.id), "tables");
  });
  await page.locator("#language").focus();
  await page.keyboard.press("ArrowDown");
  status.language = "zh";
  await status.untilLive();
  await page.locator("#forget").focus();
  await page.keyboard.press("Enter");
  await status.untilSaid("needToken");
  assert.equal((await page.evaluate(focused)).name, "token", "the focus is where work goes on");
});

for (const colorScheme of ["light", "dark"]) {
  onPage(`axe-core finds nothing (${colorScheme})`, { colorScheme }, async (status) => {
    for (const language of Object.keys(LANGUAGES)) {
      await status.setLanguage(language);
      await status.untilLive();
      assert.deepEqual(await status.violations(), [], language);
      await status.picture(`${colorScheme}-${language}`);
    }
    await status.page.getByRole("button", { name: status.word("forget") }).click();
    await status.untilSaid("needToken");
    assert.deepEqual(await status.violations(), [], "signed out");
  });
}

const NARROW = {
  "360 px": { viewport: { width: 360, height: 740 } },
  "a window of 1280 px at 200 %": { viewport: { width: 640, height: 400 }, deviceScaleFactor: 2 },
};

/** Tables that are wider than their place, so that columns are out of sight. */
const cutTables = (page) => page.evaluate(() => [...document.querySelectorAll(".scroll")]
  .filter((place) => place.scrollWidth > place.clientWidth).map((place) => place.id));

for (const [name, options] of Object.entries(NARROW)) {
  onPage(`${name} is wide enough`, options, async (status) => {
    for (const language of Object.keys(LANGUAGES)) {
      await status.setLanguage(language);
      await status.untilLive();
      assert.ok((await status.excessWidth()) <= 0, `${language}: the page scrolls sideways`);
      assert.deepEqual(await cutTables(status.page), [], language);
      assert.deepEqual(await status.violations(), [], language);
      await status.picture(`narrow-${options.viewport.width}-${language}`);
    }
    await status.page.getByRole("button", { name: status.word("forget") }).click();
    await status.untilSaid("needToken");
    assert.ok((await status.excessWidth()) <= 0, "signed out");
  });
}

// ---- When nodes die ----------------------------------------------------------------------------

/** The age that the page gives, in seconds. */
async function age(status) {
  const text = await status.page.locator("#stale-age").innerText();
  return Number(text.match(/(\d+) (s|秒)/)[1]);
}

/** Marked as old: said, with an age that grows, and nothing looks well. */
async function assertOld(status) {
  const { page } = status;
  assert.equal(await page.locator("#pulse").innerText(), status.word("stale"));
  const first = await age(status);
  await eventually("the age grows", async () => assert.ok((await age(status)) > first + 1));
  assert.ok(await page.locator("#of-site.old").isVisible());
  const colors = await page.evaluate(() => [...document.querySelectorAll(".old .good")].map((good) =>
    getComputedStyle(good).color === getComputedStyle(good.closest("table")).color));
  assert.ok(colors.every(Boolean), "nothing old is green");
}

onPage("a node that dies does not leave its numbers to pass for fresh ones", {}, async (status) => {
  await status.untilLive();
  const rows = await status.rows("queues");
  await cluster.nodes[0].kill();
  await status.untilSaid("silent");
  await assertOld(status);
  assert.deepEqual(await status.rows("queues"), rows, "what was last known can still be read");
  assert.deepEqual(await status.violations(), []);
  await status.picture("dead-en");
  await status.setLanguage("zh");
  await status.untilSaid("silent");
  assertLanguage("zh", await status.texts());
  await status.picture("dead-zh");
  await status.setLanguage("en");

  // Life goes on with the other two, and is shown once the node is back.
  await scene.open(QUEUES.support);
  await cluster.nodes[0].start();
  await status.untilRows("queues", (fresh) => {
    assert.equal(total(fresh, QUEUES.support), total(rows, QUEUES.support) + 1);
  });
  await status.untilLive();
  assert.equal(await status.page.locator("#stale").isVisible(), false);
  await cluster.nodes[0].ready();
});

onPage("a node that hangs is called silent", {}, async (status) => {
  await status.untilLive();
  cluster.nodes[0].hang();
  await status.untilSaid("silent");
  await assertOld(status);
  cluster.nodes[0].goOn();
  await status.untilLive();
});

onPage("a node that hears no leader says so, though it answers", {}, async (status) => {
  await status.untilLive();
  const others = cluster.nodes.slice(1);
  await Promise.all(others.map((node) => node.kill()));
  await status.untilSaid("leaderless");
  await assertOld(status);
  await status.picture("alone-en");
  await status.setLanguage("zh");
  await status.untilSaid("leaderless");
  assertLanguage("zh", await status.texts());
  await status.setLanguage("en");
  await Promise.all(others.map((node) => node.start()));
  await status.untilLive();
});
