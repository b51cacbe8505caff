// The assistant in the browser: a session token, then the same /v1 as any program, streamed. No text of a model
// ever becomes HTML: every node is made here, and links lead to our own citations and documents only.
"use strict";

const page = document.getElementById("assistant");
const form = document.getElementById("ask");
const thread = document.getElementById("thread");
const question = document.getElementById("id_question");
const send = document.getElementById("send");
const stop = document.getElementById("stop");
const whole = document.getElementById("whole");
const said = document.getElementById("said");
const counter = document.getElementById("count");
const anew = document.getElementById("anew");
const tiers = document.getElementById("tiers").dataset;
const data = JSON.parse(document.getElementById("page-data").textContent);
const say = page.dataset;

const KEPT = 10; // exchanges that the tab remembers
const HISTORY = 6; // earlier messages sent along to a model that writes
const MAX_TEXT = 200000;
const TOKEN_MARGIN_S = 60;
const COUNTED_FROM = 3000; // signs of a question from which their number is shown

let tokens = {}; // by whom one asks: "own", or "public" for a member whose question is nobody's secret
let running = null;
let partial = null; // the answer that is being written, until it is remembered
let gone = false; // the session of this page is over

// ---- what the form says before sending

function dataClass() {
  const chosen = form.querySelector("[name=data_class]:checked") || form.querySelector("[name=data_class]");
  return chosen.dataset.code;
}

function model() { return document.getElementById("id_model").value; }

function showWhere() {
  const place = (data.where[model()] || {})[dataClass()];
  if (!place) return;
  document.querySelector("#where span").textContent = place.said;
  document.getElementById("where").classList.toggle("shut", !place.open);
  send.disabled = !place.open;
}

function showCount() {
  const length = question.value.length;
  counter.hidden = length < COUNTED_FROM;
  const numbers = new Intl.NumberFormat(say.language);
  const words = length < question.maxLength ? say.count : say.full;
  counter.textContent = words.replace("{n}", numbers.format(length)).replace("{most}", numbers.format(question.maxLength));
}

// A control that has the focus never vanishes under it: it is said to be inactive, and goes when the focus has left.
function showRunning() {
  send.setAttribute("aria-disabled", String(Boolean(running)));
  stop.setAttribute("aria-disabled", String(!running));
  stop.hidden = !running && document.activeElement !== stop;
}

// ---- from text to nodes

function ownPath(url) {
  let parsed;
  try { parsed = new URL(url, location.origin); } catch { return ""; }
  const ours = parsed.origin === location.origin || parsed.origin === new URL(say.public).origin;
  const known = parsed.pathname.startsWith("/c/") || parsed.pathname.startsWith("/communs/");
  return ours && known ? say.prefix + parsed.pathname + parsed.search : "";
}

function element(name, text, className) {
  const node = document.createElement(name);
  if (text !== undefined) node.textContent = text;
  if (className) node.className = className;
  return node;
}

function link(href, text, className) {
  const node = element("a", text, className);
  node.href = href;
  return node;
}

const INLINE = /\*\*([^*\n]+)\*\*|\[([^\]\n]+)\]\(([^()\s]+)\)|(https?:\/\/[^\s<>"')\]]+)|\[(\d{1,2})\]|`([^`\n]+)`/g;
const CITED = /»[ \u00a0]?\[\d{1,2}\]$/; // how our own engine ends a quote
const ITEM = /^\s*(?:[-*•]|\d{1,2}[.)])\s+(.*)$/;

function addInline(parent, line, sources) {
  let at = 0;
  for (const match of line.matchAll(INLINE)) {
    if (match.index > at) parent.append(line.slice(at, match.index));
    at = match.index + match[0].length;
    const [all, bold, words, target, bare, number, code] = match;
    if (bold) parent.append(element("strong", bold));
    else if (code) parent.append(element("code", code));
    else if (number) {
      const source = sources[Number(number) - 1];
      parent.append(source ? link(source.href, all, "reference") : all);
    } else {
      const href = ownPath(target || bare);
      parent.append(href ? link(href, words || all) : words || all);
    }
  }
  if (at < line.length) parent.append(line.slice(at));
}

function citedQuote(lines, sources) {
  const figure = element("figure", undefined, "cited");
  const quote = figure.appendChild(element("blockquote"));
  const last = lines.findIndex((line) => CITED.test(line));
  lines.slice(0, last + 1).forEach((line, index) => {
    if (index) quote.append(element("br"));
    addInline(quote, line, sources);
  });
  if (last + 1 < lines.length) {
    const caption = figure.appendChild(element("figcaption"));
    for (const line of lines.slice(last + 1)) addInline(caption, `${line} `, sources);
  }
  return figure;
}

function blocks(text, sources) {
  const fragment = document.createDocumentFragment();
  for (const chunk of text.trim().split(/\n[ \t]*\n/)) {
    const lines = chunk.split("\n").filter((line) => line.trim());
    if (!lines.length) continue;
    if (lines.every((line) => ITEM.test(line))) {
      const list = element("ul");
      for (const line of lines) {
        const item = element("li");
        addInline(item, line.match(ITEM)[1], sources);
        list.append(item);
      }
      fragment.append(list);
    } else if (lines.every((line) => line.trimStart().startsWith(">"))) {
      const quote = element("blockquote");
      for (const line of lines) {
        const paragraph = element("p");
        addInline(paragraph, line.trimStart().slice(1).trim(), sources);
        quote.append(paragraph);
      }
      fragment.append(quote);
    } else if (lines[0].startsWith("«") && lines.some((line) => CITED.test(line))) {
      fragment.append(citedQuote(lines, sources));
    } else {
      const paragraph = element("p");
      const heading = lines.length === 1 && /^#{1,6} /.test(lines[0]);
      const place = heading ? paragraph.appendChild(element("strong")) : paragraph;
      lines.forEach((line, index) => {
        if (index) place.append(element("br"));
        addInline(place, heading ? line.replace(/^#+ /, "") : line, sources);
      });
      fragment.append(paragraph);
    }
  }
  return fragment;
}

// The engine ends with its sources for programs that show text only; the page lists them itself.
const SOURCES = /\n+Sources\n\[1\][\s\S]*$/;

function readSources(message) {
  const cited = message.citations || (message.annotations || []).map((one) => one.url_citation || {});
  return cited.map((one) => ({ ...one, href: ownPath(one.url || "") })).filter((one) => one.href);
}

// ---- one exchange on the page

function figure(value) {
  return new Intl.NumberFormat(say.language, { maximumSignificantDigits: 2 }).format(value);
}

const UNITS = [["µWh", 1e-6], ["mWh", 1e-3], ["Wh", 1], ["kWh", 1e3]];

function energySaid(energy) {
  if (!energy || typeof energy.value !== "number") return "";
  const [unit, size] = UNITS.filter(([, least]) => energy.value >= least).pop() || UNITS[0];
  return tiers.interval
    .replace("{value}", `${figure(energy.value / size)}\u202f${unit}`)
    .replace("{low}", figure(energy.low / size))
    .replace("{high}", figure(energy.high / size));
}

function newExchange(asked) {
  const node = document.getElementById("exchange").content.firstElementChild.cloneNode(true);
  node.querySelector("h2").textContent = asked;
  thread.prepend(node);
  const heading = node.querySelector("h2");
  if (heading.scrollHeight > heading.clientHeight) heading.tabIndex = 0; // long: read on with the arrows
  return node;
}

// Where it is seen, without moving the focus; `running` leaves it the height of the window while it is written.
function bringIntoView(node) {
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  node.classList.add("running");
  node.scrollIntoView({ block: "start", behavior: calm ? "auto" : "smooth" });
}

function showText(node, result) {
  node.querySelector(".said").replaceChildren(blocks(result.text.replace(SOURCES, ""), result.sources));
}

function showEnd(node, result) {
  node.querySelector(".waiting").hidden = true;
  showText(node, result);
  const masked = maskedSaid(result.masked || "");
  node.querySelector(".masked span").textContent = masked;
  node.querySelector(".masked").hidden = !masked;
  const list = node.querySelector(".sources ol");
  list.replaceChildren(...result.sources.map((one) => {
    const item = element("li");
    item.append(link(one.href, one.title || one.href));
    const where = [one.institution, one.section, one.date].filter(Boolean).join(" · ");
    if (where) item.append(" ", element("span", where, "faint"));
    if (one.quote && !result.text.includes(one.shown || one.quote)) item.append(element("blockquote", one.quote));
    return item;
  }));
  node.querySelector(".sources").hidden = !result.sources.length;
  if (result.endpoint) {
    const cost = node.querySelector(".cost");
    const energy = cost.querySelector("[data-part=energy]");
    const impacts = result.impacts || {};
    energy.textContent = energySaid(impacts.energy_wh) || tiers.none;
    if (energySaid(impacts.energy_wh)) energy.append(" ", element("span", tiers[impacts.tier] || tiers.opaque, "badge"));
    cost.querySelector("[data-part=model]").replaceChildren(element("code", result.model));
    cost.querySelector("[data-part=endpoint]").replaceChildren(element("code", result.endpoint));
    cost.querySelector("[data-part=class]").textContent = data.words[result.dataClass] || "";
    const path = `${encodeURIComponent(result.endpoint)}/${encodeURIComponent(result.dataClass)}`;
    cost.querySelector("[data-part=why]").href = `${say.prefix}/preuves/pourquoi/${path}/`;
    cost.hidden = false;
  }
}

// The clauses that closed the way, each with the need that it comes from: what a person may read and contest.
function clauseList(clauses) {
  const list = element("ul");
  for (const one of clauses) {
    const item = element("li");
    const place = one.clause || one.requirement;
    if (place) item.append(link(`${say.prefix}/cahier/${encodeURIComponent(place)}/`, place));
    if (one.need) item.append(" · ", link(`${say.prefix}/besoins/${encodeURIComponent(one.need)}/`, one.need));
    if (item.childNodes.length) list.append(item);
  }
  return list.childElementCount ? [list] : [];
}

// EMAIL=1,PHONE=2 of the gateway, in one sentence: counts and kinds, the values never left this page's answer.
function maskedSaid(header) {
  const found = [...header.matchAll(/([A-Z]+)=(\d+)/g)];
  const total = found.reduce((sum, one) => sum + Number(one[2]), 0);
  const what = found.map(([, kind, count]) => `${data.personal[kind] || kind} × ${count}`).join(", ");
  const words = total > 1 ? data.masked.many : data.masked.one;
  return total ? words.replace("{n}", total).replace("{what}", what) : "";
}

function markEnd(node, sentence) {
  node.querySelector(".said").append(element("p", sentence, "faint"));
}

function showTrouble(node, sentence, again, clauses = []) {
  node.querySelector(".waiting").hidden = true;
  const notice = node.querySelector(".notice");
  notice.querySelector("p").textContent = sentence;
  notice.querySelector("p").after(...clauseList(clauses));
  notice.hidden = false;
  notice.querySelector("button").addEventListener("click", () => { node.remove(); again(); }, { once: true });
  said.textContent = sentence;
}

// ---- asking

class Expired extends Error {}

async function sessionToken(declared) {
  const kind = data.public && declared === "public" ? "public" : "own";
  const held = tokens[kind];
  if (held && held.expires_at - TOKEN_MARGIN_S > Date.now() / 1000) return held.token;
  const answer = await fetch(say.session, {
    method: "POST",
    headers: { "X-CSRFToken": form.querySelector("[name=csrfmiddlewaretoken]").value },
    body: new URLSearchParams({ data_class: kind === "public" ? "public" : "" }),
  });
  if (answer.status === 403) throw new Expired(say.expired);
  if (!answer.ok) throw new Error("session");
  const made = await answer.json();
  if (made.owner !== document.body.dataset.owner) throw new Expired(say.expired);
  tokens[kind] = made;
  return made.token;
}

class Refused extends Error {
  constructor(sentence, clauses = []) {
    super(sentence);
    this.clauses = clauses;
  }
}

async function refuse(answer) {
  let error = {};
  try { error = (await answer.json()).error; } catch { /* not the gateway's shape */ }
  if (answer.status === 401) tokens = {};
  throw new Refused(error.message || say.lost, Array.isArray(error.clauses) ? error.clauses : []);
}

// What the gateway decided it was: a use's own class is a floor under what was declared.
function decidedClass(answer, declared) {
  const said = /(?:^|;)class=(\w+)/.exec(answer.headers.get("x-proue-route-reason") || "");
  return said ? said[1] : declared;
}

async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split(/\r?\n\r?\n/);
    rest = parts.pop();
    for (const part of parts) {
      for (const line of part.split(/\r?\n/)) {
        if (line.startsWith("data:")) yield line.slice(5).trim();
      }
    }
  }
}

async function readStream(answer, result, onText) {
  for await (const event of events(answer.body)) {
    if (event === "[DONE]") return true;
    const chunk = JSON.parse(event);
    if (chunk.error) throw new Refused(chunk.error.message || say.cut);
    const delta = (chunk.choices && chunk.choices[0] && chunk.choices[0].delta) || {};
    if (delta.citations || delta.annotations) result.sources = readSources(delta);
    else if (chunk.citations) result.sources = readSources(chunk);
    if (delta.content && result.text.length < MAX_TEXT) result.text += delta.content;
    if (chunk.model) result.model = chunk.model;
    if (chunk.usage && chunk.usage.impacts) result.impacts = chunk.usage.impacts;
    if (delta.content) onText();
  }
  return false;
}

async function readWhole(answer, result) {
  const body = await answer.json();
  const message = (body.choices && body.choices[0] && body.choices[0].message) || {};
  result.text = (message.content || "").slice(0, MAX_TEXT);
  result.sources = readSources(message);
  result.model = body.model || "";
  result.impacts = body.usage && body.usage.impacts;
}

// Only what was declared at most as delicate as what is asked now: the class of a prompt is the highest of its parts.
// A model that quotes gets the question before, for one that leans on it (« et en master ? »), and no answer.
function earlier(result) {
  const messages = [];
  const least = data.order.indexOf(result.dataClass);
  const fitting = remembered().filter((one) => one.text && data.order.indexOf(one.dataClass) <= least);
  if (!data.writers.includes(result.model)) {
    return fitting.slice(-1).map((one) => ({ role: "user", content: one.question }));
  }
  for (const one of fitting.slice(-HISTORY / 2)) {
    messages.push({ role: "user", content: one.question }, { role: "assistant", content: one.text });
  }
  return messages;
}

async function ask(asked) {
  if (running || gone) return;
  running = new AbortController();
  document.getElementById("suggestions")?.remove();
  showRunning();
  said.textContent = say.asking;
  const node = newExchange(asked);
  bringIntoView(node);
  const result = { question: asked, text: "", sources: [], model: model(), endpoint: "", dataClass: dataClass() };
  partial = result;
  let frame = 0;
  const onText = () => {
    node.querySelector(".waiting").hidden = true;
    frame ||= requestAnimationFrame(() => { frame = 0; if (running) showText(node, result); });
  };
  try {
    const streamed = !whole.checked;
    const answer = await fetch("/v1/chat/completions", {
      method: "POST",
      credentials: "omit",
      signal: running.signal,
      headers: {
        "Authorization": `Bearer ${await sessionToken(result.dataClass)}`,
        "Content-Type": "application/json",
        "Accept-Language": say.language,
        "x-proue-data-class": result.dataClass,
      },
      body: JSON.stringify({
        model: result.model,
        messages: [...earlier(result), { role: "user", content: asked }],
        ...(streamed ? { stream: true, stream_options: { include_usage: true } } : {}),
      }),
    });
    if (!answer.ok) await refuse(answer);
    result.endpoint = answer.headers.get("x-proue-endpoint") || "";
    result.masked = answer.headers.get("x-proue-shield") || "";
    result.dataClass = decidedClass(answer, result.dataClass);
    const complete = streamed ? await readStream(answer, result, onText) : (await readWhole(answer, result), true);
    showEnd(node, result);
    if (!complete) throw new Refused(say.cut);
    if (!result.text) throw new Refused(say.empty);
    remember(result);
    if (question.value === asked) question.value = "";
    showCount();
    said.textContent = say.complete;
  } catch (error) {
    showEnd(node, result);
    const stopped = error.name === "AbortError";
    if (node.isConnected) rememberPartial(stopped ? say.stopped : say.cut);
    if (stopped) {
      markEnd(node, say.stopped);
      said.textContent = say.stopped;
    } else {
      const known = error instanceof Refused || error instanceof Expired;
      showTrouble(node, known ? error.message : say.lost, () => ask(asked), error.clauses);
      if (error instanceof Expired) node.querySelector(".notice p").append(" ", link(say.signin, say.signinwords));
    }
  } finally {
    cancelAnimationFrame(frame);
    node.classList.remove("running");
    running = partial = null;
    anew.hidden = !thread.childElementCount;
    showRunning();
  }
}

// ---- what this tab remembers

function forget() {
  try { sessionStorage.removeItem("proue.thread"); } catch { /* no storage */ }
  thread.replaceChildren();
  anew.hidden = true;
}

function remembered() {
  try { return JSON.parse(sessionStorage.getItem("proue.thread")) || []; } catch { return []; }
}

function rememberPartial(mark) {
  if (partial && partial.text) remember({ ...partial, mark });
  partial = null;
}

function remember(result) {
  partial = null;
  try { sessionStorage.setItem("proue.thread", JSON.stringify([...remembered(), result].slice(-KEPT))); } catch { /* full */ }
}

// ---- at the start

for (const node of document.querySelectorAll(".scripted")) node.hidden = false;
try { whole.checked = localStorage.getItem("proue.whole") === "1"; } catch { /* no storage */ }
whole.addEventListener("change", () => {
  try { localStorage.setItem("proue.whole", whole.checked ? "1" : "0"); } catch { /* no storage */ }
});
form.addEventListener("change", showWhere);
form.addEventListener("submit", (event) => {
  const asked = question.value.trim();
  if (!asked) return; // the server says what is missing
  event.preventDefault();
  if (!send.disabled) ask(asked);
});
question.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
});
stop.addEventListener("click", () => running && running.abort());
stop.addEventListener("blur", () => { stop.hidden = !running; });
for (const result of remembered()) {
  const node = newExchange(result.question);
  showEnd(node, result);
  if (result.mark) markEnd(node, result.mark);
}
anew.hidden = !thread.childElementCount;
anew.addEventListener("click", () => {
  if (running) running.abort();
  forget();
  question.focus();
});
// Somebody signed in or out in another tab: what this one saw goes, and it asks nothing more in an older name.
function endIfNotOurs(owner) {
  if (gone || owner === document.body.dataset.owner) return;
  gone = true;
  tokens = {};
  if (running) running.abort();
  forget();
  said.textContent = say.expired;
  showTrouble(newExchange(say.expired), say.expired, () => location.reload());
}
addEventListener("storage", (event) => { if (event.key === "proue.owner") endIfNotOurs(event.newValue); });
addEventListener("pageshow", (event) => { // brought back by « Précédent » as it was left
  try { if (event.persisted) endIfNotOurs(localStorage.getItem("proue.owner")); } catch { /* no storage */ }
});
addEventListener("pagehide", () => rememberPartial(say.cut));
question.addEventListener("input", showCount);
showCount();
if (thread.childElementCount) document.getElementById("suggestions")?.remove();
showWhere();
