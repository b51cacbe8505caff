"use strict";
// Verifies this very file, without a server: what is shown is what was hashed, and what was hashed is what was signed.
(() => {
  const WORDS = /*WORDS*/ {};
  const SAY = /*SAY*/ {};
  const verdict = document.getElementById("verdict");
  const details = document.getElementById("details");

  // RFC 8785: names in the order of their UTF-16 units, numbers as ECMAScript writes them.
  const canonical = (value) => {
    if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
    if (value !== null && typeof value === "object") {
      return `{${Object.keys(value).sort().map((name) => `${JSON.stringify(name)}:${canonical(value[name])}`).join(",")}}`;
    }
    return JSON.stringify(value);
  };
  const bytes = (text) => new TextEncoder().encode(text);
  const from64 = (text) => Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
  const hex = (buffer) => [...new Uint8Array(buffer)].map((one) => one.toString(16).padStart(2, "0")).join("");
  const sha256 = async (text) => hex(await crypto.subtle.digest("SHA-256", bytes(text)));
  const at = (body, pointer) =>
    pointer.split("/").slice(1).map((part) => part.replace(/~1/g, "/").replace(/~0/g, "~")).reduce((value, name) => (value === null || value === undefined ? undefined : value[name]), body);
  // As the program that made this file writes it (statement_html.plain).
  const plain = (value, words) => {
    if (words) return (WORDS[words] || {})[value] || String(value);
    if (value === null || value === undefined) return "—";
    if (typeof value === "boolean") return value ? "oui" : "non";
    if (typeof value === "number") return String(value).replace(".", ",");
    if (typeof value === "string") return value;
    if (Object.keys(value).join() === "decimal") return value.decimal.replace(".", ",");
    return canonical(value);
  };
  const say = (state, text, lines = []) => {
    verdict.dataset.state = state;
    verdict.textContent = text;
    details.replaceChildren(...lines.map((line) => {
      const item = document.createElement("li");
      item.textContent = line;
      return item;
    }));
  };
  const label = (pointer) => {
    const cell = document.querySelector(`[data-at^="${CSS.escape(pointer).replace(/\\\//g, "/")}"][data-label]`);
    return cell ? cell.dataset.label : pointer;
  };

  // What is shown but does not say what the statement says.
  const misread = (body) => [...document.querySelectorAll("[data-at]")]
    .map((cell) => ({ cell, wanted: plain(at(body, cell.dataset.at), cell.dataset.words) }))
    .filter(({ cell, wanted }) => cell.textContent !== wanted)
    .map(({ cell, wanted }) => SAY.cell
      .replace("{what}", () => cell.dataset.label || cell.dataset.at)
      .replace("{shown}", () => cell.textContent).replace("{wanted}", () => wanted));

  // What the statement says of each check and each figure, and that no cell shows any more: a row was taken away.
  const gone = (body) => {
    const shown = new Set([...document.querySelectorAll("[data-at]")].map((cell) => cell.dataset.at));
    const escaped = (name) => name.replace(/~/g, "~0").replace(/\//g, "~1");
    const wanted = Object.keys(body.counts).map((name) => [`/counts/${name}`, WORDS.verdict[name] || name]);
    body.findings.forEach((one, n) => {
      const values = Object.keys(one.values).map((name) => `values/${escaped(name)}`);
      for (const part of ["requirement", "check", "verdict", "reason", ...one.missing.map((_, m) => `missing/${m}`), ...values])
        wanted.push([`/findings/${n}/${part}`, `${one.requirement}, ${one.check}`]);
    });
    body.indicators.forEach((one, n) => {
      for (const part of ["name", "value", "low", "high", "unit", "samples", "source"]) wanted.push([`/indicators/${n}/${part}`, one.name]);
    });
    body.deviations.forEach((code, n) => wanted.push([`/deviations/${n}`, code]));
    return wanted.filter(([pointer]) => !shown.has(pointer)).map(([, what]) => SAY.gone.replace("{what}", () => what));
  };

  const moved = async (body, marks) => {
    const found = [];
    for (const [pointer, mark] of Object.entries(marks)) {
      const value = at(body, pointer);
      if (value === undefined || (await sha256(canonical(value))) !== mark) found.push(SAY.mark.replace("{what}", () => label(pointer)));
    }
    return found;
  };

  const signed = async (data) => {
    const key = await crypto.subtle.importKey("raw", from64(data.public_key), { name: "Ed25519" }, false, ["verify"]);
    const said = canonical({ statement: data.body.code, version: data.version, digest: data.digest, ledger: data.ledger });
    return crypto.subtle.verify({ name: "Ed25519" }, key, from64(data.signature), bytes(said));
  };

  const verify = async () => {
    const data = JSON.parse(document.getElementById("data").textContent);
    const wrong = [...misread(data.body), ...gone(data.body)];
    if (!globalThis.crypto || !crypto.subtle) {
      if (wrong.length) return say("broken", SAY.changed, wrong);
      return say("unknown", SAY.no_crypto);
    }
    if ((await sha256(canonical(data.body))) !== data.digest) wrong.push(...(await moved(data.body, data.marks)), SAY.digest);
    if ((await sha256(document.querySelector("main").textContent)) !== data.page) wrong.push(SAY.page);
    if (wrong.length) return say("broken", SAY.changed, [...new Set(wrong)]);
    if (!data.signature || !data.public_key) return say("unknown", SAY.unsigned);
    let holds;
    try {
      holds = await signed(data);
    } catch (error) {
      if (error.name === "NotSupportedError") return say("unknown", SAY.no_ed25519);
      holds = false;
    }
    if (!holds) return say("broken", SAY.signature);
    return say("kept", SAY.kept);
  };

  verify().catch(() => say("broken", SAY.unreadable));
})();
