// Every page: the theme without a reload, and buttons that copy. Without this script both still have another way.
"use strict";

function switchTheme(event) {
  event.preventDefault();
  const wanted = event.currentTarget.value;
  document.documentElement.dataset.theme = wanted;
  document.cookie = `proue_theme=${wanted}; path=/; max-age=31536000; samesite=lax`;
  event.currentTarget.value = wanted === "dark" ? "light" : "dark";
}

async function copy(event) {
  const button = event.currentTarget;
  const source = document.getElementById(button.dataset.copy);
  const said = button.querySelector("span");
  const before = said.textContent;
  try {
    await navigator.clipboard.writeText(source.value ?? source.textContent);
    said.textContent = button.dataset.copied;
  } catch {
    const range = document.createRange();
    range.selectNodeContents(source);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
  }
  setTimeout(() => { said.textContent = before; }, 2500);
}

// What the assistant shows lives in this tab, for one sign-in only.
const owner = document.body.dataset.owner;
// Other tabs hear it (assistant.js): what one session saw is not another's.
try { localStorage.setItem("proue.owner", owner); } catch { /* no storage */ }
if (sessionStorage.getItem("proue.owner") !== owner) {
  sessionStorage.clear();
  sessionStorage.setItem("proue.owner", owner);
}

// Two clicks in a hurry send a form once: what it does is not done twice.
const HURRY_MS = 5000;
let sent = new WeakMap();
addEventListener("pageshow", () => { sent = new WeakMap(); });
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (event.defaultPrevented || form.method !== "post") return;
  if (event.timeStamp - (sent.get(form) ?? -HURRY_MS) < HURRY_MS) event.preventDefault();
  else sent.set(form, event.timeStamp);
});

const dark = matchMedia("(prefers-color-scheme: dark)");
for (const button of document.querySelectorAll("[data-theme-switch]")) {
  const shown = document.documentElement.dataset.theme || (dark.matches ? "dark" : "light");
  button.value = shown === "dark" ? "light" : "dark";
  button.addEventListener("click", switchTheme);
}
for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", copy);
}
