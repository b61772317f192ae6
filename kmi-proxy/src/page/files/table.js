// The list of requests: newest first, a bounded number of rows, each drawn once and changed only
// when its request has.

import { at, el, put, say } from "./dom.js";
import { wants } from "./filter.js";
import { name } from "./keys.js";
import { clock, count, outcome, seconds, spaced, visible } from "./words.js";

// Rows at first; with each look at older ones so many more.
const ROWS = 200;
const MOST_ROWS = 1_000;
// While so many come between two drawings, nobody reads further down than a screen.
const MANY = 40;
const SCREEN = 60;

export class Table {
  #requests;
  #colours;
  #open;
  #rows = new Map();
  #limit = ROWS;
  /** The newest entry at the last drawing. */
  #newest = null;
  /** Columns that there is room for. */
  #columns = 13;
  /** While paused: the entries that are shown, up to this one. */
  #until = null;
  terms = [];

  /** `open` is called with the entry that somebody wants to see. */
  constructor(requests, colours, open) {
    this.#requests = requests;
    this.#colours = colours;
    this.#open = open;
    new ResizeObserver(() => this.#measure()).observe(at("scroll"));
    at("body").addEventListener("click", (event) => this.#click(event));
    at("body").addEventListener("keydown", (event) => this.#key(event));
  }

  get paused() {
    return this.#until !== null;
  }

  pause(on) {
    this.#until = on ? (this.#requests.entries.at(-1) ?? {}) : null;
    this.draw();
  }

  /** Another filter: whatever is shown is chosen anew. */
  filter(terms) {
    this.terms = terms;
    this.#limit = ROWS;
    this.draw();
  }

  /** Shows more rows; false when there cannot be more. */
  more() {
    if (this.#limit >= MOST_ROWS) return false;
    this.#limit += ROWS;
    this.draw();
    return true;
  }

  /** Colours have changed. */
  redraw() {
    this.#rows.clear();
    put(at("body"), []);
    this.draw();
  }

  draw() {
    const { shown, waiting } = this.#choose(this.#rush() ? SCREEN : this.#limit);
    const body = at("body");
    const wanted = new Set(shown);
    for (const [entry, row] of this.#rows) {
      if (!wanted.has(entry)) {
        // Somebody may stand on a row that leaves.
        if (row.element.contains(document.activeElement)) at("rows").focus({ preventScroll: true });
        row.element.remove();
        this.#rows.delete(entry);
      }
    }
    let place = body.firstElementChild;
    for (const entry of shown) {
      let row = this.#rows.get(entry);
      if (!row) {
        row = { element: entry.attempts ? el("tr") : el("tr", { class: "note" }), version: -1 };
        row.element.entry = entry;
        this.#rows.set(entry, row);
      }
      if (row.version !== entry.version) {
        const had = row.element.contains(document.activeElement);
        this.#fill(row.element, entry);
        row.version = entry.version;
        if (had) row.element.querySelector("button")?.focus({ preventScroll: true });
      }
      if (row.element === place) place = place.nextElementSibling;
      else body.insertBefore(row.element, place);
    }
    this.#tell(shown.length, waiting);
  }

  /** Whether requests come too fast to be read. */
  #rush() {
    const { entries } = this.#requests;
    const before = this.#newest;
    this.#newest = entries.at(-1) ?? null;
    return before !== null && !this.paused && at("scroll").scrollTop === 0 && entries.at(-1 - MANY) !== undefined
      && entries.lastIndexOf(before) < entries.length - MANY;
  }

  #choose(limit) {
    const { entries } = this.#requests;
    const last = this.#until === null ? entries.length - 1 : entries.lastIndexOf(this.#until);
    const shown = [];
    for (let n = last; n >= 0 && shown.length < limit; n -= 1) {
      if (wants(this.terms, entries[n])) shown.push(entries[n]);
    }
    return { shown, waiting: entries.length - 1 - last };
  }

  #tell(shown, waiting) {
    const words = [`${shown} shown`];
    if (this.paused) words.push(`paused, ${waiting} new`);
    say(at("shown"), words.join(" · "));
    const empty = at("empty");
    empty.hidden = shown > 0;
    say(empty, this.terms.length > 0 ? "Nothing fits the filter. c shows everything again." : "No requests yet. They appear here as they end.");
  }

  /** A note spans all columns that are shown; spanning more would make new ones. */
  #measure() {
    const heads = [...at("rows").querySelectorAll("th")];
    this.#columns = heads.filter((head) => head.offsetParent !== null).length;
    for (const cell of at("body").querySelectorAll(".c-note")) cell.colSpan = this.#columns - 1;
  }

  #fill(row, entry) {
    if (!entry.attempts) {
      put(row, [
        el("td", { class: "c-time mono dim" }, clock(entry.ts)),
        el("td", { class: `c-note ${entry.tone}`, colspan: this.#columns - 1 }, el("bdi", {}, entry.text)),
      ]);
      return;
    }
    const it = entry.attempts.at(-1);
    const { tone, sign } = outcome(it.outcome);
    const cell = (column, text, kind = "") => el("td", { class: `c-${column} ${kind}` }, text);
    const foreign = (column, text, kind = "") => el("td", { class: `c-${column} ${kind}`, title: visible(text ?? "") }, el("bdi", {}, visible(text ?? "")));
    put(row, [
      cell("time", clock(it.ts), "mono dim"),
      cell("turn", it.turn === null ? "–" : String(it.turn), "num mono"),
      el("td", { class: "c-key" }, el("button", { type: "button", class: "plain", "aria-haspopup": "dialog" }, ...this.#keys(entry.attempts))),
      el("td", { class: `c-outcome ${tone}` }, `${sign} ${spaced(it.outcome)}${it.status && it.outcome !== "ok" ? ` ${it.status}` : ""}`),
      cell("ttft", seconds(it.ttfb_ms), "num mono"),
      cell("total", seconds(it.latency_ms), "num mono"),
      cell("in", count(it.prompt_tokens), "num mono"),
      cell("out", count(it.completion_tokens), "num mono"),
      cell("cached", count(it.cached_tokens), "num mono dim"),
      foreign("endpoint", it.path),
      foreign("model", it.model),
      foreign("request", it.request_id, "mono dim"),
      foreign("session", it.session_id, "mono dim"),
    ]);
  }

  /** Who answered, and who was tried before: `delta after charlie ⊘`. */
  #keys(attempts) {
    const served = attempts.at(-1);
    const failed = attempts.slice(0, -1).flatMap((it) => {
      const { tone, sign } = outcome(it.outcome);
      const key = name(this.#colours, it.key, it.label);
      key.classList.add("failed");
      return [" ", key, el("span", { class: tone, title: spaced(it.outcome) }, ` ${sign}`)];
    });
    return [name(this.#colours, served.key, served.label), ...(failed.length > 0 ? [el("span", { class: "after" }, " after", ...failed)] : [])];
  }

  #click(event) {
    const row = event.target.closest("tr");
    if (row?.entry?.attempts && String(getSelection()) === "") this.#open(row.entry);
  }

  #key(event) {
    const up = ["ArrowUp", "k"].includes(event.key);
    if (!up && !["ArrowDown", "j"].includes(event.key)) return;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.step(up, event.target.closest("tr"));
  }

  /** Goes to the request above or below a row; without one to the first. */
  step(up, from) {
    let row = from ? (up ? from.previousElementSibling : from.nextElementSibling) : at("body").firstElementChild;
    while (row && !row.entry?.attempts) row = up ? row.previousElementSibling : row.nextElementSibling;
    row?.querySelector("button").focus();
  }
}
