// Chromium with the status page in it, and how tests read what the page shows. Tests find things
// as people do: by role and by name.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";

import { words } from "../../status/words.js";
import { eventually } from "./eventually.mjs";

const require = createRequire(import.meta.url);
const AXE = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const PICTURES = fileURLToPath(new URL("../../../target/ui-pictures", import.meta.url));
const POLICY = "default-src 'self'; frame-ancestors 'none'";

/** The language's tag, by the page's own short name of it. */
export const LANGUAGES = { en: "en-GB", zh: "zh-CN" };

const ARGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync"];

/** The browser that Debian packages, or the one that ROTARY_CHROMIUM names. */
export function launch() {
  mkdirSync(PICTURES, { recursive: true });
  const executablePath = process.env.ROTARY_CHROMIUM ?? "/usr/bin/chromium";
  return chromium.launch({ executablePath, args: ARGS });
}

/** A page in a profile of its own, open at a node's status page. */
export class StatusPage {
  // Everything the browser complained of, but for requests that could not reach a node.
  complaints = [];

  static async open(browser, url, { language = "en", fragment = "", ...options } = {}) {
    const self = new StatusPage();
    const defaults = { locale: LANGUAGES[language], viewport: { width: 1280, height: 900 } };
    self.context = await browser.newContext({ ...defaults, ...options });
    self.page = await self.context.newPage();
    self.language = language;
    self.page.on("pageerror", (error) => self.complaints.push(error.message));
    self.page.on("console", (message) => {
      const unreachable = /Failed to load resource/.test(message.text());
      if (message.type() === "error" && !unreachable) self.complaints.push(message.text());
    });
    if (process.env.ROTARY_UI_FILES) await self.#serve(url, process.env.ROTARY_UI_FILES);
    await self.page.goto(`${url}/${fragment}`);
    return self;
  }

  // The files of a folder in place of those in the binary, under the binary's own rules.
  async #serve(url, folder) {
    const types = { html: "text/html", css: "text/css", js: "text/javascript" };
    for (const file of ["index.html", "status.css", "status.js", "words.js"]) {
      const place = file === "index.html" ? "" : file;
      const body = readFileSync(path.join(folder, file), "utf8");
      const contentType = `${types[file.split(".").pop()]}; charset=utf-8`;
      const headers = { "content-security-policy": POLICY };
      await this.page.route(`${url}/${place}`, (route) => route.fulfill({ body, contentType, headers }));
    }
  }

  async close() {
    await this.context.close();
    assert.deepEqual(this.complaints, [], "the browser has nothing to complain of");
  }

  /** A text of the page, in the language that it is in. */
  word(key) {
    return words[this.language][key];
  }

  async setLanguage(language) {
    const choice = this.page.getByRole("combobox", { name: this.word("language"), exact: true });
    await choice.selectOption(language);
    this.language = language;
  }

  /** The rows of a table as lists of texts, found by the table's name. */
  async rows(table) {
    const found = this.page.getByRole("table", { name: this.word(table), exact: true });
    const body = found.locator("tbody");
    return body.evaluate((body) => [...body.rows].map((row) => [...row.cells].map((cell) => cell.innerText)));
  }

  /** Until a table's rows pass. */
  async untilRows(table, check) {
    return eventually(`${table} on the page`, async () => {
      const rows = await this.rows(table);
      check(rows);
      return rows;
    });
  }

  /** Until a word of the page, by its key, can be seen; `{…}` in it stands for anything. */
  async untilSaid(key) {
    const pattern = this.word(key).split(/\{\w+\}/).map(escape).join(".+");
    await this.page.getByText(new RegExp(pattern)).filter({ visible: true }).first().waitFor();
  }

  untilLive() {
    return this.untilSaid("live");
  }

  /** Every text that can be seen or is read aloud, but for the cells' data. */
  async texts() {
    return this.page.evaluate(() => {
      const seen = (element) => element.checkVisibility({ visibilityProperty: true });
      const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
      const texts = [document.title];
      while (walker.nextNode()) {
        const { data, parentElement } = walker.currentNode;
        if (data.trim() && seen(parentElement)) texts.push(data.trim());
      }
      for (const element of document.querySelectorAll("[aria-label], [title], [placeholder]")) {
        for (const name of ["aria-label", "title", "placeholder"]) {
          if (seen(element) && element.hasAttribute(name)) texts.push(element.getAttribute(name));
        }
      }
      return texts;
    });
  }

  /** What axe-core finds wrong, one line each. */
  async violations() {
    await this.page.evaluate(AXE);
    const { violations } = await this.page.evaluate(() => window.axe.run());
    return violations.flatMap(({ id, nodes }) =>
      nodes.map((node) => `${id}: ${node.target}: ${node.failureSummary}`));
  }

  /** How far the page is wider than its window, in CSS pixels. */
  excessWidth() {
    return this.page.evaluate(() => {
      const { scrollWidth, clientWidth } = document.documentElement;
      return scrollWidth - clientWidth;
    });
  }

  picture(name) {
    return this.page.screenshot({ path: path.join(PICTURES, `${name}.png`), fullPage: true });
  }
}

function escape(text) {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}
