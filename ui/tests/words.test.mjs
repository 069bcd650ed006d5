// The tables of words: both languages whole, and every word used, on each page.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { words as docs } from "../docs/docs-words.js";
import { words as status } from "../status/words.js";

const gaps = (text) => (text.match(/\{\w+\}/g) ?? []).sort();

for (const [page, words] of Object.entries({ status, docs })) {
  const read = (file) => readFileSync(new URL(`../${page}/${file}`, import.meta.url), "utf8");
  const keys = Object.keys(words.en);

  test(`${page}: both languages have the same words, none of them empty`, () => {
    assert.deepEqual(Object.keys(words).sort(), ["en", "zh"]);
    assert.deepEqual(Object.keys(words.zh).sort(), keys.toSorted());
    for (const [language, table] of Object.entries(words)) {
      for (const [key, text] of Object.entries(table)) {
        assert.ok(text.trim(), `${language}.${key} is empty`);
      }
    }
  });

  test(`${page}: both languages leave the same gaps to be filled`, () => {
    for (const key of keys) assert.deepEqual(gaps(words.zh[key]), gaps(words.en[key]), key);
  });

  test(`${page}: Chinese is Chinese, and English is not`, () => {
    const han = /\p{Script=Han}/u;
    const hasWords = (text) => /\p{L}/u.test(text.replace(/\{\w+\}/g, ""));
    for (const key of keys) {
      assert.ok(!han.test(words.en[key]), `en.${key}: ${words.en[key]}`);
      assert.ok(!hasWords(words.en[key]) || han.test(words.zh[key]), `zh.${key}: ${words.zh[key]}`);
    }
  });

  test(`${page}: every word that the page names is in the table, and the other way round`, () => {
    const html = read("index.html");
    const script = read(`${page}.js`);
    const named = [...html.matchAll(/data-word="([^"]*)"/g)].map(([, key]) => key);
    for (const key of named) assert.ok(keys.includes(key), `index.html names ${key}`);
    const asked = [...script.matchAll(/\bword\("([^"]*)"/g)].map(([, key]) => key);
    for (const key of asked) assert.ok(keys.includes(key), `${page}.js names ${key}`);
    // A key that the script computes stands in it as a text of its own.
    const quoted = (key) => script.includes(`"${key}"`);
    assert.deepEqual(keys.filter((key) => !named.includes(key) && !quoted(key)), [], "unused");
  });

  test(`${page}: the texts of the page before its script runs are the English ones`, () => {
    for (const [, key, text] of read("index.html").matchAll(/data-word="([^"]*)"[^>]*>([^<]*)</g)) {
      assert.equal(text.trim().replace(/\s+/g, " "), words.en[key], key);
    }
  });
}
