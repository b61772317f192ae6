// The newest requests: the lines of the trace, with all attempts of a request joined.

import { clock, spaced, visible } from "./words.js";

// So many are kept, and so many go at once when there are more.
const KEPT = 5_000;
const AT_ONCE = 1_000;

export class Requests {
  /** Oldest first. */
  entries = [];
  /** The newest attempt. */
  newest = null;
  #byId = new Map();
  /** The labels of keys, by id: a change of the mode names the id only. */
  #labels = new Map();
  #missed = 0;

  /** Takes a line of the trace. */
  line(line) {
    if (line.type === "attempt") {
      this.newest = line;
      this.#labels.set(line.key, line.label);
      const joined = this.#byId.get(line.request_id);
      if (joined) {
        join(joined, line);
      } else {
        const entry = request(line);
        this.#byId.set(line.request_id, entry);
        this.entries.push(entry);
      }
    } else {
      const entry = event(line, this.#labels);
      if (entry) this.entries.push(entry);
    }
    if (this.entries.length > KEPT + AT_ONCE) this.#forget(this.entries.splice(0, AT_ONCE));
  }

  /** So many lines came too fast. */
  missed(lines) {
    const text = `${lines} lines came too fast to be shown; the ledger has them`;
    this.#missed += 1;
    this.entries.push(note(`missed-${this.#missed}`, this.newest?.seq ?? 0, this.newest?.ts, "warn", text));
  }

  /** Takes lines from before the oldest one, oldest first; true when there was room for them. */
  older(lines) {
    if (this.entries.length + lines.length > KEPT) return false;
    const before = [];
    for (const line of lines) {
      if (line.type !== "attempt") {
        const entry = event(line, this.#labels);
        if (entry) before.push(entry);
        continue;
      }
      const joined = this.#byId.get(line.request_id);
      if (joined) {
        join(joined, line);
        continue;
      }
      const entry = request(line);
      this.#byId.set(line.request_id, entry);
      before.push(entry);
    }
    this.entries.unshift(...before);
    return true;
  }

  /** The number of the oldest line. */
  first() {
    return this.entries[0]?.seq ?? null;
  }

  #forget(entries) {
    for (const entry of entries) if (entry.attempts) this.#byId.delete(entry.id);
  }
}

function request(line) {
  return { id: line.request_id, seq: line.seq, attempts: [line], version: 0, haystack: null };
}

function join(entry, line) {
  if (entry.attempts.some((it) => it.seq === line.seq)) return;
  entry.attempts.push(line);
  entry.attempts.sort((a, b) => a.attempt - b.attempt);
  entry.seq = Math.min(entry.seq, line.seq);
  entry.version += 1;
  entry.haystack = null;
}

function note(id, seq, ts, tone, text) {
  return { id, seq, ts, tone, text, attempts: null, version: 0, haystack: null };
}

const TONES = { healthy: "good", warn: "warn", blocked: "bad", disabled: "dim" };

function event(line, labels) {
  const say = (tone, text) => note(`line-${line.seq}`, line.seq, line.ts, tone, text);
  switch (line.type) {
    case "health": {
      const reason = line.reason ? `, ${spaced(line.reason)}` : "";
      const until = line.until ? `, until ${clock(line.until)}` : "";
      return say(TONES[line.to] ?? "dim", `key ${visible(line.label)}: ${visible(line.from)} → ${visible(line.to)}${reason}${until}`);
    }
    case "mode":
      return say("strong", `mode ${visible(line.mode)}${line.key ? `, active key ${visible(labels.get(line.key) ?? line.key)}` : ""} (by ${visible(line.by)})`);
    case "epoch": {
      const keys = line.keys ?? [];
      for (const key of keys) labels.set(key.key, key.label);
      const named = keys.map((key) => visible(key.label)).join(", ");
      return say("dim", `epoch ${line.epoch} of ${visible(line.upstream)}: ${named}`);
    }
    case "gap":
      return say("warn", `turns ${line.from_turn} to ${line.to_turn}: their end is not known (${visible(line.reason)})`);
    default:
      return null;
  }
}
