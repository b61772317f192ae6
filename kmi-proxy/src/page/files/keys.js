// The keys: state and until when, what is left of their quota, and their shares of the last turns.

import { bar } from "./charts.js";
import { at, el, put, say } from "./dom.js";
import { ago, back, count, percent, seconds, spaced, state, until, visible } from "./words.js";

const COLOURS = 8;

/** Which key has which colour: the one that its id asks for, or the next free one. As in the
 * terminal, so a key looks the same in both. */
export class Colours {
  #of = new Map();

  learn(keys) {
    this.#of.clear();
    let taken = new Set();
    for (const id of keys.map((key) => key.key).sort()) {
      if (taken.size === COLOURS) taken = new Set();
      let colour = wanted(id);
      while (taken.has(colour)) colour = (colour + 1) % COLOURS;
      taken.add(colour);
      this.#of.set(id, colour);
    }
  }

  /** The class with a key's colour. */
  of(id) {
    return `k${this.#of.get(id) ?? wanted(id)}`;
  }
}

function wanted(id) {
  let sum = 0;
  for (const byte of new TextEncoder().encode(id)) sum += byte;
  return sum % COLOURS;
}

/** A key's name beside its colour. */
export function name(colours, id, label) {
  return el("span", { class: "key" }, el("i", { class: `swatch ${colours.of(id)}` }), el("bdi", {}, visible(label)));
}

/** All keys; drawn anew with each picture, and its countdowns every second. */
export class KeyList {
  #clocks = [];

  draw(picture, colours) {
    const { keys, active_key: active, mode } = picture.snapshot;
    const several = new Set(keys.map((key) => key.upstream)).size > 1;
    // That keys share an account is worth a word; that each has its own is not. One that kmi has
    // learnt is told by its beginning only, so it tells none from another.
    const named = keys.map((key) => key.account).filter((it) => it !== null && !it.endsWith("…"));
    const shared = new Set(named.filter((it, n) => named.indexOf(it) !== n));
    this.#clocks = [];
    put(at("keys"), keys.map((key) => this.#key(key, colours, mode === "manual" && key.label === active, several, shared.has(key.account))));
    if (keys.length === 0) put(at("keys"), [el("li", { class: "empty" }, "no keys yet: kmi keys add LABEL")]);
    this.tick(Date.now());
  }

  /** Time has gone on. */
  tick(now) {
    for (const [element, words] of this.#clocks) say(element, words(now));
  }

  #clock(classes, words) {
    const element = el("span", { class: classes });
    this.#clocks.push([element, words]);
    return element;
  }

  #key(key, colours, active, several, shared) {
    const { tone, sign } = state(key.state);
    const facts = [
      `${count(key.requests)} req`,
      key.errors > 0 ? `${count(key.errors)} err` : "",
      key.in_flight > 0 ? `${key.in_flight} in flight` : "",
      [key.latency_ms.p50, key.latency_ms.p95].filter((it) => it !== null).map(seconds).join(" / "),
    ].filter((it) => it !== "");
    const used = key.last_used ? [" · ", this.#clock("", (now) => ago(key.last_used, now))] : [];
    const where = [several ? visible(key.upstream) : "", shared ? `account ${visible(key.account)}` : ""].filter((it) => it !== "");
    return el("li", { class: `of-${key.state}` },
      el("div", { class: "head" },
        name(colours, key.key, key.label),
        el("span", { class: "mono dim" }, visible(key.masked)),
        active ? el("span", { class: "pill small" }, "active") : null,
        el("span", { class: `state ${tone}` }, `${sign} ${key.state}`)),
      key.reason || key.until ? el("div", { class: `why ${tone}` },
        key.reason ? spaced(key.reason) : "",
        key.reason && back(key, 0) ? " · " : "",
        this.#clock("mono", (now) => back(key, now))) : null,
      el("div", { class: "dim facts" }, facts.join(" · "), ...used),
      where.length > 0 ? el("div", { class: "dim facts" }, el("bdi", {}, where.join(" · "))) : null,
      this.#quota(key.quota));
  }

  /** What is left of each limit as a small bar, and when the tightest one starts anew. */
  #quota(quota) {
    const left = (limit) => Math.min(1, Math.max(0, 1 - limit.used_ratio));
    const limits = quota.limits.map((limit) => {
      const tone = left(limit) <= 0 ? "bad" : left(limit) < 0.2 ? "warn" : "plain";
      const words = `${percent(left(limit), 0)} left`;
      const resets = limit.resets_at ? `, resets ${new Date(limit.resets_at).toLocaleString()}` : "";
      const label = `${visible(limit.name)}: ${words}`;
      return el("span", { class: "quota-limit", title: `${label}${resets}` },
        el("bdi", { class: "dim" }, visible(limit.name)), bar(left(limit), null, tone, label),
        el("span", { class: `num ${tone}` }, percent(left(limit), 0)));
    });
    const [tightest] = quota.limits.filter((it) => it.resets_at).sort((a, b) => b.used_ratio - a.used_ratio);
    const resets = tightest && tightest.used_ratio > 0.5
      ? this.#clock("dim", (now) => `${visible(tightest.name)} anew in ${until(tightest.resets_at, now)}`) : null;
    const balance = quota.balance === null ? null : el("span", { class: "dim" }, `balance ${quota.balance.toFixed(2)} ${visible(quota.currency ?? "")}`);
    return limits.length > 0 || balance ? el("div", { class: "quota" }, ...limits, balance, resets) : null;
  }
}

/** The keys' shares of the last turns, each beside what was expected of it. A key that could not
 * serve in any of them has none, which is worth a line, too. */
export function drawShares(window, keys, colours) {
  const told = new Set(window.shares.map((it) => it.key));
  const none = keys.filter((key) => window.turns > 0 && !told.has(key.key));
  const shares = [...window.shares, ...none.map(({ key, label }) => ({ key, label, turns: 0, expected: 0 }))];
  const most = Math.max(1, ...shares.flatMap((it) => [it.turns, it.expected]));
  say(at("shares-of"), window.turns > 0 ? `of the last ${window.turns} turns` : "");
  if (shares.length === 0) {
    put(at("shares"), [el("p", { class: "empty" }, "no turns yet")]);
    return;
  }
  put(at("shares"), shares.map((it) => {
    const words = `${it.turns} turns, ${it.expected.toFixed(1)} expected`;
    return el("div", { class: "share", title: words },
      name(colours, it.key, it.label),
      bar(it.turns / most, it.expected / most, colours.of(it.key), `${visible(it.label)}: ${words}`),
      el("span", { class: "num" }, String(it.turns)),
      el("span", { class: "num dim" }, it.expected.toFixed(1)));
  }).concat(el("p", { class: "dim legend" }, "bar: turns served · mark: turns expected")));
}
