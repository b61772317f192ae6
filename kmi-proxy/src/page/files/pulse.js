// Requests, errors and latency of the last minute, second by second.

import { isError } from "./words.js";

/** How many seconds it looks back. */
export const SECONDS = 60;
// Latencies of one second that are remembered; with more of them the first ones speak for all.
const SAMPLES = 256;

export class Pulse {
  #buckets = new Map();

  /** Counts an attempt in the second in which it ended. */
  count(attempt) {
    const second = Math.floor(Date.parse(attempt.ts) / 1000);
    if (Number.isNaN(second)) return;
    let bucket = this.#buckets.get(second);
    if (!bucket) {
      bucket = { requests: 0, attempts: 0, errors: 0, latency: [] };
      this.#buckets.set(second, bucket);
      if (this.#buckets.size > 4 * SECONDS) {
        for (const old of this.#buckets.keys()) if (old < second - 2 * SECONDS) this.#buckets.delete(old);
      }
    }
    bucket.attempts += 1;
    if (attempt.attempt === 1) bucket.requests += 1;
    if (isError(attempt.outcome)) bucket.errors += 1;
    if (bucket.latency.length < SAMPLES) bucket.latency.push(attempt.latency_ms);
  }

  /** What the last minute comes to. */
  beat(now) {
    const end = Math.floor(now / 1000);
    const seconds = Array.from({ length: SECONDS }, (_, n) => this.#buckets.get(end - SECONDS + 1 + n));
    const sum = (name, of) => of.reduce((all, it) => all + (it?.[name] ?? 0), 0);
    const sorted = seconds.flatMap((it) => it?.latency ?? []).sort((a, b) => a - b);
    const rank = (share) => (sorted.length ? sorted[Math.floor((sorted.length - 1) * share)] : null);
    const attempts = sum("attempts", seconds);
    return {
      // The running second is not over, so it does not count for the rate.
      rate: sum("requests", seconds.slice(-11, -1)) / 10,
      errors: attempts > 0 ? sum("errors", seconds) / attempts : null,
      p50: rank(0.5),
      p95: rank(0.95),
      requests: seconds.map((it) => it?.requests ?? 0),
      latency: seconds.map((it) => (it ? median(it.latency) : null)),
    };
  }
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? null;
}
