"use strict";
const root = document.documentElement;
function speak(lang) {
  root.dataset.lang = lang;
  root.lang = lang === "zh" ? "zh-Hans" : "en";
}
speak((navigator.language || "en").startsWith("zh") ? "zh" : "en");
document.getElementById("language").addEventListener("click", () => {
  speak(root.dataset.lang === "zh" ? "en" : "zh");
});
document.getElementById("theme").addEventListener("click", () => {
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  root.dataset.theme = (root.dataset.theme || system) === "dark" ? "light" : "dark";
});
