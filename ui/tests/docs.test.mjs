// The page that shows the API, in a real browser, with the files of this tree and the document that
// is kept in it: what is asked for elsewhere fails the test.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";

import { words } from "../docs/docs-words.js";
import { LANGUAGES, launch } from "./lib/browser.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const ORIGIN = "http://rotary.test";
const read = (file) => readFileSync(new URL(file, import.meta.url), "utf8");
const DOCUMENT = read("../../docs/api/openapi.json");
const described = JSON.parse(DOCUMENT);
const METHODS = Object.values(described.paths).flatMap((methods) => Object.keys(methods));
const FILES = {
  "/docs": ["text/html", read("../docs/index.html")],
  "/docs.css": ["text/css", read("../docs/docs.css")],
  "/docs.js": ["text/javascript", read("../docs/docs.js")],
  "/docs-words.js": ["text/javascript", read("../docs/docs-words.js")],
  "/v1/openapi.json": ["application/json", DOCUMENT],
  "/favicon.ico": ["image/x-icon", ""],
};

let browser;
before(async () => { browser = await launch(); }, { timeout: 60_000 });
after(() => browser?.close());

/** Runs a test on the page in a language and a scheme. */
function onPage(name, options, body) {
  test(name, { timeout: 60_000 }, async () => {
    const { language = "en", files = FILES, ...others } = options;
    const context = await browser.newContext({ locale: LANGUAGES[language], ...others });
    const page = await context.newPage();
    const complaints = [];
    page.on("pageerror", (error) => complaints.push(error.message));
    await page.route("**/*", (route) => {
      const { origin, pathname } = new URL(route.request().url());
      if (origin !== ORIGIN) complaints.push(`asked ${origin}`);
      if (!files[pathname]) return route.abort();
      const [contentType, text] = files[pathname];
      const headers = { "content-security-policy": "default-src 'self'; frame-ancestors 'none'" };
      return route.fulfill({ body: text, contentType: `${contentType}; charset=utf-8`, headers });
    });
    await page.goto(`${ORIGIN}/docs`);
    await body(page, words[language]);
    await context.close();
    assert.deepEqual(complaints, []);
  });
}

async function assertAccessible(page) {
  // The page's own policy lets no script in but its files; the test's is run beside it.
  const violations = await page.evaluate(async (axe) => {
    (0, eval)(axe);
    return (await window.axe.run()).violations.map(({ id, nodes }) => [id, nodes[0].html]);
  }, AXE).catch((error) => [["axe did not run", error.message]]);
  assert.deepEqual(violations, []);
}

onPage("every operation is there, and can be found", {}, async (page, { count }) => {
  const said = (n) => count.replace("{n}", n);
  await page.getByText(said(METHODS.length), { exact: true }).waitFor();
  assert.equal(await page.locator("#operations details").count(), METHODS.length);
  await page.getByRole("searchbox").fill("wrap-up");
  await page.getByText(said(1), { exact: true }).waitFor();
  assert.match(await page.locator("#operations summary").innerText(), /\/wrap-up/);
});

onPage("an operation opens with the keyboard alone", {}, async (page, word) => {
  await page.getByRole("searchbox").fill("put_queue");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: word.answers }).waitFor();
  const shown = await page.locator("#operations").innerText();
  for (const part of [word.secured, "offer_ms", "Idempotency-Key", "Rotary-Min-Index", "queue-unknown"]) {
    assert.ok(shown.includes(part), `${part} in ${shown}`);
  }
  await page.getByRole("link", { name: "QueuePlanGiven" }).first().press("Enter");
  const focused = page.locator("#schema-QueuePlanGiven > summary:focus");
  await focused.waitFor();
});

for (const [language, colorScheme] of [["en", "light"], ["zh", "dark"]]) {
  const options = { language, colorScheme, bypassCSP: true };
  onPage(`nothing is in the way of anybody: ${language}, ${colorScheme}`, options, async (page, word) => {
    await page.getByRole("heading", { name: word.schemas }).waitFor();
    await page.getByRole("searchbox").fill("/agents");
    for (const summary of await page.locator("#operations summary").all()) await summary.click();
    await page.getByRole("heading", { name: word.body }).first().waitFor();
    await assertAccessible(page);
  });
}

const without = { ...FILES, "/v1/openapi.json": undefined };
onPage("a node that does not answer is said to be silent", { files: without }, async (page, word) => {
  assert.equal(await page.getByRole("alert").innerText(), word.silent);
});
