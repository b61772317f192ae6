// All about one request: its attempts, where their time went, and why each had its key.

import { bar } from "./charts.js";
import { at, el, put } from "./dom.js";
import { keyWord } from "./filter.js";
import { name } from "./keys.js";
import { clock, count, outcome, seconds, several, spaced, visible } from "./words.js";

export class Detail {
  #colours;
  #ask;
  #filter;
  #box = at("detail");

  /** `ask` fetches a data endpoint; `filter` shows only what has a field's value. */
  constructor(colours, ask, filter) {
    this.#colours = colours;
    this.#ask = ask;
    this.#filter = filter;
    this.#box.addEventListener("click", (event) => {
      // The backdrop belongs to the dialog.
      if (event.target === this.#box) this.#box.close();
    });
  }

  open(entry) {
    const it = entry.attempts.at(-1);
    put(this.#box, [
      el("div", { class: "sheet" },
        el("header", {},
          el("h2", { id: "detail-title" }, it.turn === null ? "Request" : `Turn ${it.turn}`),
          el("code", { class: "dim" }, visible(it.request_id)),
          this.#button("Close", () => this.#box.close())),
        this.#facts(it),
        ...entry.attempts.map((attempt) => this.#attempt(attempt, entry.attempts.length))),
    ]);
    this.#box.showModal();
    this.#box.scrollTop = 0;
  }

  #button(words, act) {
    const button = el("button", { type: "button" }, words);
    button.addEventListener("click", act);
    return button;
  }

  #facts(it) {
    const rows = [
      ["Endpoint", `${it.method} ${it.path}`],
      ["Model", it.model, "model"],
      ["Session", it.session_id, "session"],
      ["Upstream", it.upstream],
      ["Mode", `${it.mode}, ${it.policy}`],
      ["Sent, received", `${count(it.request_bytes)}B, ${count(it.response_bytes)}B${it.stream ? ", streamed" : ""}`],
      ["Tokens", it.prompt_tokens === null ? null : `${count(it.prompt_tokens)} in (${count(it.cached_tokens ?? 0)} cached), ${count(it.completion_tokens ?? 0)} out`],
    ].filter(([, value]) => value !== null && value !== undefined && value !== "");
    return el("dl", { class: "facts" }, ...rows.map(([label, value, field]) => el("div", {},
      el("dt", {}, label),
      el("dd", {}, el("bdi", {}, visible(value)), field ? this.#only(field, value) : null))));
  }

  #only(field, value) {
    const button = this.#button("only these", () => {
      this.#box.close();
      this.#filter(field, value);
    });
    button.className = "link-button";
    return button;
  }

  #attempt(it, of) {
    const { tone, sign } = outcome(it.outcome);
    const why = el("div", { class: "because" }, el("p", { class: "dim" }, "asking the trace …"));
    this.#why(it, why);
    return el("section", { class: "attempt" },
      el("h3", {}, of > 1 ? `${it.attempt}. ` : "", name(this.#colours, it.key, it.label), " ",
        el("span", { class: tone }, `${sign} ${spaced(it.outcome)}${it.status ? ` ${it.status}` : ""}`),
        el("span", { class: "dim" }, ` ${clock(it.ts)}`), this.#only("key", keyWord(it.key, it.label))),
      it.error ? el("p", { class: `words ${tone}` }, el("bdi", {}, visible(it.error))) : null,
      times(it),
      el("h4", {}, "Why this key"), why,
      el("details", {}, el("summary", {}, `Line ${it.seq} of the trace`), el("pre", {}, visibleLine(it))));
  }

  async #why(it, place) {
    const told = await this.#ask(`why?seq=${it.seq}`).catch(() => null);
    if (told === null) {
      put(place, [el("p", { class: "dim" }, "The proxy cannot tell now. kmi trace show can, from the ledger.")]);
      return;
    }
    const replay = { true: ["good", "✓ replay: the rule leads to this key"], false: ["bad", "✕ replay: the rule leads to another key"] }[told.follows_rule];
    put(place, [
      el("p", {}, el("bdi", {}, visible(told.sentence.replace(/^(turn \d+|no turn): /, "")))),
      replay ? el("p", { class: replay[0] }, replay[1]) : null,
      told.others.length > 0 ? el("details", { open: told.others.length <= 8 },
        el("summary", {}, `${several(told.others.length, "other key")}, in the order in which the search meets them`),
        el("table", { class: "others" }, el("tbody", {}, ...told.others.map((other) => el("tr", {},
          el("td", {}, name(this.#colours, other.key, other.label)),
          el("td", { class: other.passed_over ? "warn" : "dim" }, other.passed_over ? "passed over" : ""),
          el("td", { class: "dim" }, el("bdi", {}, visible(other.why_not)))))))) : null,
    ]);
  }
}

/** Where the time of an attempt went. */
function times(it) {
  const all = Math.max(1, it.latency_ms);
  const rows = [
    ["first byte", it.ttfb_ms], ["whole answer", it.latency_ms],
  ].filter(([, ms]) => ms !== null && ms !== undefined);
  const small = [it.queue_ms > 0 ? `waited ${seconds(it.queue_ms)}` : "", it.connect_ms > 0 ? `connected in ${seconds(it.connect_ms)}` : ""];
  const words = small.filter((text) => text !== "").join(" · ");
  return el("div", { class: "times" },
    ...rows.map(([label, ms]) => el("div", { class: "limit" },
      el("span", { class: "dim" }, label), bar(ms / all, null, "plain", `${label}: ${seconds(ms)}`), el("span", { class: "num mono" }, seconds(ms)))),
    words ? el("p", { class: "dim" }, words) : null);
}

function visibleLine(line) {
  return Object.entries(line).map(([key, value]) => `${key}: ${visible(JSON.stringify(value))}`).join("\n");
}
