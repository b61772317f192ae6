// Four answers at a glance: who served last, who can serve, is the rotation proven, how goes it.

import { minute } from "./charts.js";
import { at, el, put, say } from "./dom.js";
import { name } from "./keys.js";
import { ago, back, clock, judgement, outcome, percent, seconds, several, spaced, visible } from "./words.js";

// Blocked keys that are told by name.
const TOLD = 3;

export class Summary {
  #colours;
  #clocks = [];
  #seen = null;

  constructor(colours) {
    this.#colours = colours;
  }

  /** The newest attempt; null before there is one. */
  last(attempt) {
    if (attempt === null) {
      put(at("last"), [el("p", { class: "big dim" }, "none yet"), el("p", { class: "dim" }, "kmi run -- kimi starts a client")]);
      return;
    }
    if (attempt.seq === this.#seen) return;
    this.#seen = attempt.seq;
    const { tone, sign } = outcome(attempt.outcome);
    const when = el("span", { class: "ago" });
    this.#clocks = this.#clocks.filter(([it]) => !it.classList.contains("ago"));
    this.#clocks.push([when, (now) => `${clock(attempt.ts)} · ${ago(attempt.ts, now)}`]);
    put(at("last"), [
      el("p", { class: "big" }, name(this.#colours, attempt.key, attempt.label)),
      el("p", {},
        attempt.turn === null ? "" : `turn ${attempt.turn} · `,
        el("span", { class: tone }, `${sign} ${spaced(attempt.outcome)}${attempt.status ? ` ${attempt.status}` : ""}`),
        ` · ${seconds(attempt.latency_ms)}`),
      el("p", { class: "dim" }, el("bdi", {}, visible(attempt.model ?? attempt.path)), " · ", when),
    ]);
    this.tick(Date.now());
  }

  picture(picture) {
    this.#keys(picture.snapshot);
    const { window, chain } = picture.fairness;
    const [tone, headline, because, meaning] = judgement(window, picture.confidence, chain.ok);
    const manual = picture.snapshot.mode === "manual";
    put(at("proof"), [
      el("p", { class: `big ${tone}` }, headline),
      el("p", {}, because),
      el("p", { class: "dim" }, manual ? "manual mode: the active key serves, which is no turn" : meaning),
    ]);
    this.tick(Date.now());
  }

  #keys(snapshot) {
    const usable = snapshot.keys.filter((key) => key.state === "healthy" || key.state === "warn").length;
    const blocked = snapshot.keys.filter((key) => key.state === "blocked");
    blocked.sort((a, b) => (a.until ?? "9").localeCompare(b.until ?? "9"));
    const off = snapshot.keys.filter((key) => key.state === "disabled").length;
    this.#clocks = this.#clocks.filter(([it]) => it.classList.contains("ago"));
    const rows = blocked.slice(0, TOLD).map((key) => {
      const when = el("span", { class: "mono" });
      this.#clocks.push([when, (now) => back(key, now)]);
      return el("p", { class: "blocked" }, el("span", { class: "bad" }, "⊘ "), name(this.#colours, key.key, key.label),
        el("span", { class: "dim" }, ` ${spaced(key.reason ?? "blocked")} `), when);
    });
    const rest = [
      blocked.length > TOLD ? `${blocked.length - TOLD} more blocked` : "",
      off > 0 ? `${off} switched off` : "",
    ].filter((it) => it !== "").join(" · ");
    const tone = usable === 0 ? "bad" : blocked.length > 0 ? "warn" : "";
    put(at("usable"), [
      el("p", { class: `big ${tone}` }, `${usable} of ${snapshot.keys.length} usable`),
      blocked.length === 0 ? el("p", { class: "dim" }, snapshot.keys.length > 0 ? "no key is blocked" : "kmi keys add LABEL") : null,
      ...rows,
      rest ? el("p", { class: "dim" }, rest) : null,
    ]);
  }

  beat(beat) {
    const errors = beat.errors === null ? "" : `${percent(beat.errors, 1)} errors`;
    const latency = beat.p50 === null ? "" : `p50 ${seconds(beat.p50)} · p95 ${seconds(beat.p95)}`;
    const slowest = Math.max(0, ...beat.latency.filter((it) => it !== null));
    const label = `the last minute: ${several(beat.requests.reduce((a, b) => a + b, 0), "request")}, slowest second ${seconds(slowest)}`;
    put(at("pulse"), [
      el("p", { class: "big" }, `${beat.rate.toFixed(1)} req/s`),
      el("p", {}, latency || "nothing came"),
      el("p", { class: "dim" }, errors),
      minute(beat.requests, beat.latency, label),
    ]);
  }

  tick(now) {
    for (const [element, words] of this.#clocks) say(element, words(now));
  }
}
