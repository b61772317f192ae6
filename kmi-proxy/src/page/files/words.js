// Numbers, times and states as people read them; the same words as in the terminal.

// What could act on the place it is shown in, instead of being seen there.
const UNSAFE = /[\u{0}-\u{1f}\u{7f}-\u{9f}\u{ad}\u{61c}\u{180e}\u{200b}-\u{200f}\u{2028}-\u{202e}\u{2060}-\u{206f}\u{feff}\u{fff9}-\u{fffb}\u{e0000}-\u{e007f}]/gu;
const LONGEST = 256;

/** A foreign text, harmless and not endless. kmi filters what it stores; this is the second look. */
export function visible(text) {
  const all = String(text ?? "");
  const cut = all.length > LONGEST ? Array.from(all.slice(0, 2 * LONGEST)).slice(0, LONGEST).join("") + "…" : all;
  return cut.replace(UNSAFE, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);
}

/** Milliseconds, as `80ms`, `1.2s`, `34s`. */
export function seconds(ms) {
  if (ms === null || ms === undefined) return "";
  if (ms < 100) return `${ms}ms`;
  if (ms < 9950) return `${(ms / 1000).toFixed(1)}s`;
  return `${Math.round(ms / 1000)}s`;
}

/** A count in at most four characters: `950`, `1.2k`, `34k`. */
export function count(n) {
  if (n === null || n === undefined) return "";
  for (const [unit, letter] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (n >= unit) {
      const tenths = Math.floor((n * 10) / unit);
      return tenths < 100 ? `${(tenths / 10).toFixed(1)}${letter}` : `${Math.floor(n / unit)}${letter}`;
    }
  }
  return String(n);
}

/** A share from 0 to 1 in percent, never rounded up to one that it does not reach. */
export function percent(share, decimals) {
  const unit = 10 ** decimals;
  return `${(Math.floor(share * 100 * unit) / unit).toFixed(decimals)} %`;
}

/** Seconds in their two largest units: `4m 12s`. */
export function duration(total) {
  const s = Math.max(0, Math.floor(total));
  const pad = (n) => String(n).padStart(2, "0");
  if (s < 60) return `${s}s`;
  if (s < 3600) return `${Math.floor(s / 60)}m ${pad(s % 60)}s`;
  if (s < 86400) return `${Math.floor(s / 3600)}h ${pad(Math.floor(s / 60) % 60)}m`;
  return `${Math.floor(s / 86400)}d ${pad(Math.floor(s / 3600) % 24)}h`;
}

/** How long until a time; rounded up, so that 0 means it has come. */
export function until(time, now) {
  return duration(Math.ceil((Date.parse(time) - now) / 1000));
}

/** How long ago a time was, in its largest unit. */
export function ago(time, now) {
  const s = Math.max(0, Math.floor((now - Date.parse(time)) / 1000));
  if (s < 60) return `${s}s ago`;
  if (s < 3600) return `${Math.floor(s / 60)}m ago`;
  return s < 86400 ? `${Math.floor(s / 3600)}h ago` : `${Math.floor(s / 86400)}d ago`;
}

/** The time of day. */
export function clock(time) {
  const at = new Date(time);
  return Number.isNaN(at.getTime()) ? "" : at.toLocaleTimeString([], { hour12: false });
}

/** One of something, or several. */
export function several(n, one, many = `${one}s`) {
  return `${n} ${n === 1 ? one : many}`;
}

/** The words of an enumeration: `rate_limited` is `rate limited`. */
export function spaced(word) {
  return visible(word).replaceAll("_", " ");
}

// Whose fault an outcome is; sign and word stand beside the colour.
const OUTCOMES = {
  ok: ["good", "✓"],
  auth: ["warn", "⊘"], quota: ["warn", "⊘"], rate_limited: ["warn", "⊘"],
  client_error: ["dim", "○"], client_gone: ["dim", "○"], shutdown: ["dim", "□"],
  connect_failed: ["bad", "✕"], upstream_cut: ["bad", "✕"], upstream_error: ["bad", "✕"],
  upstream_protocol: ["bad", "✕"], upstream_timeout: ["bad", "✕"],
};

/** Every outcome. */
export const ALL_OUTCOMES = Object.keys(OUTCOMES);

/** How an outcome is to be taken: tone and sign. */
export function outcome(word) {
  const [tone, sign] = OUTCOMES[word] ?? ["dim", "·"];
  return { tone, sign };
}

/** Whether an outcome is a fault of a key or of the provider. */
export function isError(word) {
  return ["warn", "bad"].includes(outcome(word).tone);
}

const STATES = { healthy: ["good", "●"], warn: ["warn", "▲"], blocked: ["bad", "⊘"], disabled: ["dim", "○"] };

/** How a key's state is to be taken. */
export function state(word) {
  const [tone, sign] = STATES[word] ?? ["dim", "·"];
  return { tone, sign };
}

const NEEDS_USER = ["auth_failed", "account_terminated"];

/** For how long a key is kept out: a countdown, or that it waits for its user. */
export function back(key, now) {
  if (key.until) return `back in ${until(key.until, now)}`;
  return key.state === "blocked" && NEEDS_USER.includes(key.reason) ? "needs you" : "";
}

/** A judgement on the rotation: tone, headline, what it rests on, what it means. `sure` is its
    confidence in words, which kmi itself rounds. */
export function judgement(numbers, sure, chainOk) {
  const { turns, conforming, violations } = numbers;
  switch (numbers.verdict) {
    case "verified":
      return ["good", "✓ Proven", `${conforming} of ${turns} turns in order, confidence ${sure}`, "so sure it is that at least 95 % of turns rotate correctly"];
    case "insufficient_data":
      return turns === 0
        ? ["dim", "Not yet proven", "no turns yet; it takes 59", ""]
        : ["warn", "Not yet proven", `${turns} of 59 turns that it takes, ${conforming === turns ? "all" : conforming} in order`, `confidence ${sure} so far`];
    case "incomplete":
      return ["warn", "Not proven", "nothing is out of order, but not every turn can be checked", "kmi verify says which"];
    default: {
      const because = violations === 0 && !chainOk ? "the trace's chain is broken" : `${violations} of ${turns} turns broke the rules`;
      return ["bad", "✕ Broken", because, "kmi verify says where"];
    }
  }
}
