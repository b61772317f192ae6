// The page: takes the token, follows the feed, and draws what has changed a few times a second.

import { Detail } from "./detail.js";
import { at, el, put, say, soon } from "./dom.js";
import { Feed } from "./feed.js";
import { keyWord, parse, typed, valueOf, withField } from "./filter.js";
import { Colours, KeyList, drawShares } from "./keys.js";
import { Pulse } from "./pulse.js";
import { Requests } from "./requests.js";
import { Summary } from "./summary.js";
import { Table } from "./table.js";
import { forget, take } from "./token.js";
import { ALL_OUTCOMES, duration, spaced, visible } from "./words.js";

// Between two drawings; nobody reads faster.
const PAUSE = 100;
const OLDER = 500;

const colours = new Colours();
const requests = new Requests();
const pulse = new Pulse();
const keys = new KeyList();
const summary = new Summary(colours);
const table = new Table(requests, colours, (entry) => detail.open(entry));
const detail = new Detail(colours, (path) => feed.ask(path), (field, value) => only(field, value));
let feed = null;
let picture = null;
let known = "";
let link = "lost";

const drawRequests = soon(() => {
  if (document.hidden) return;
  table.draw();
  summary.last(requests.newest);
}, PAUSE);

const drawPicture = soon(() => {
  if (document.hidden || picture === null) return;
  const { snapshot, fairness } = picture;
  const ids = snapshot.keys.map((key) => `${key.key} ${key.label}`).join("\n");
  if (ids !== known) {
    known = ids;
    colours.learn(snapshot.keys);
    table.redraw();
    offer("by-key", "all keys", snapshot.keys.map((key) => [keyWord(key.key, key.label), visible(key.label)]));
  }
  keys.draw(picture, colours);
  summary.picture(picture);
  drawShares(fairness.window, snapshot.keys, colours);
  say(at("mode"), `${snapshot.mode} · ${snapshot.policy}`);
  alarm();
  tick();
}, PAUSE);

function tick() {
  if (document.hidden) return;
  const now = Date.now();
  keys.tick(now);
  summary.tick(now);
  summary.beat(pulse.beat(now));
  drawRequests();
  if (picture) {
    const { listen, uptime_s: up, version } = picture.snapshot.proxy;
    const since = (now - Date.parse(picture.ts)) / 1000;
    say(at("place"), `${visible(listen)} · up ${duration(up + Math.max(0, since))} · ${visible(version)}`);
    document.title = link === "live" ? `kmi · ${picture.snapshot.mode}` : "kmi · no connection";
  }
}

/** What needs the user's attention stands above everything else. */
function alarm() {
  const { trace_failure: failure, problems, siblings } = picture;
  const words = [
    failure ? `The trace cannot be written: ${visible(failure)}` : "",
    ...problems.map((problem) => `${visible(problem.message)}; ${visible(problem.hint)}`),
    ...siblings.map((labels) => `${labels.map(visible).join(", ")} are keys of one account: rotation among them gains nothing`),
  ].filter((it) => it !== "");
  at("alarm").hidden = words.length === 0;
  put(at("alarm"), words.map((it) => el("span", {}, it)));
}

function showLink(state) {
  link = state;
  const [tone, words] = state === "live" ? ["good", "● live"] : ["warn", "◌ no connection, trying again"];
  at("link").className = `link ${tone}`;
  say(at("link"), words);
}

function offer(id, all, options) {
  const select = at(id);
  const before = select.value;
  put(select, [el("option", { value: "" }, all), ...options.map(([value, words]) => el("option", { value: value.toLowerCase() }, words))]);
  select.value = before;
}

function setFilter(terms) {
  if (at("filter").value !== typed(terms) && document.activeElement !== at("filter")) at("filter").value = typed(terms);
  at("by-key").value = valueOf(terms, "key");
  at("by-outcome").value = valueOf(terms, "outcome");
  table.filter(terms);
}

function only(field, value) {
  setFilter(withField(table.terms, field, value));
}

function pause(on) {
  table.pause(on);
  at("pause").setAttribute("aria-pressed", String(on));
  say(at("pause"), on ? "Go on" : "Pause");
}

async function older() {
  if (requests.first() !== null && table.more()) {
    const lines = await feed.ask(`lines?before=${requests.first()}&limit=${OLDER}`).catch(() => null);
    if (lines !== null && lines.length > 0 && requests.older(lines)) {
      table.draw();
      return;
    }
  }
  at("older").hidden = true;
}

function keyboard(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.target.closest("input, select, textarea")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const acts = {
    "/": () => at("filter").focus(),
    "?": () => at("help").showModal(),
    c: () => setFilter([]),
    " ": () => pause(!table.paused),
    ArrowDown: () => table.step(false, null),
    j: () => table.step(false, null),
  };
  const onButton = event.target.closest("button, summary, a");
  const act = acts[event.key];
  // A button has its own Space; a row has its own arrows.
  if (!act || event.defaultPrevented || (onButton && event.key === " " && !onButton.closest("#body"))) return;
  event.preventDefault();
  act();
}

function refused() {
  forget();
  close("The proxy does not accept this page's token any more.");
}

function close(why) {
  feed?.stop();
  feed = null;
  at("app").hidden = true;
  at("closed").hidden = false;
  say(at("closed-why"), why);
}

function begin() {
  const token = take();
  if (token === null) {
    close("This page shows nothing without a token.");
    return;
  }
  feed?.stop();
  at("closed").hidden = true;
  at("app").hidden = false;
  feed = new Feed(token, {
    line: (line) => {
      requests.line(line);
      if (line.type === "attempt") pulse.count(line);
    },
    missed: (lines) => requests.missed(lines),
    picture: (it) => {
      picture = it;
      drawPicture();
    },
    piece: drawRequests,
    link: showLink,
    refused,
  });
  summary.last(null);
  feed.run();
}

offer("by-outcome", "all outcomes", ALL_OUTCOMES.map((it) => [it, spaced(it)]));
at("filter").addEventListener("input", () => setFilter(parse(at("filter").value)));
at("by-key").addEventListener("change", () => only("key", at("by-key").value));
at("by-outcome").addEventListener("change", () => only("outcome", at("by-outcome").value));
at("pause").addEventListener("click", () => pause(!table.paused));
at("older").addEventListener("click", older);
at("help-button").addEventListener("click", () => at("help").showModal());
addEventListener("keydown", keyboard);
addEventListener("hashchange", () => {
  if (location.hash.startsWith("#token=")) begin();
});
document.addEventListener("visibilitychange", () => {
  drawRequests();
  drawPicture();
});
setInterval(tick, 1000);
begin();
