// The stream from the proxy: trace lines, and the whole picture now and then. It goes on after a
// pause, a restart of the proxy, or the sleep of this computer, from the line after the last one.

// kmi sends something every 15 seconds; nothing for this long means that nobody is there.
const SILENCE = 40_000;
const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 5_000;

export class Feed {
  #token;
  #tell;
  #last = null;
  #abort = null;
  #stopped = false;

  /** `tell` has `line`, `missed`, `picture`, `link` and `refused`. */
  constructor(token, tell) {
    this.#token = token;
    this.#tell = tell;
  }

  /** Reads until it is stopped, or the token is refused. */
  async run() {
    let pause = FIRST_PAUSE;
    while (!this.#stopped) {
      const began = Date.now();
      try {
        if (!(await this.#once())) return;
      } catch {
        // Gone; why does not matter.
      }
      if (this.#stopped) return;
      this.#tell.link("lost");
      pause = Date.now() - began > 10_000 ? FIRST_PAUSE : Math.min(LONGEST_PAUSE, pause * 1.5);
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }

  stop() {
    this.#stopped = true;
    this.#abort?.abort();
  }

  /** A data endpoint's answer; null when there is none. */
  async ask(path) {
    const answer = await fetch(`trace/${path}`, this.#with());
    return answer.ok ? answer.json() : null;
  }

  #with(signal) {
    const headers = { authorization: `Bearer ${this.#token}` };
    return { headers, signal, cache: "no-store", credentials: "omit", referrerPolicy: "no-referrer" };
  }

  async #once() {
    this.#abort = new AbortController();
    const from = this.#last === null ? "back=500" : `after=${this.#last}`;
    let watch = setTimeout(() => this.#abort.abort(), SILENCE);
    try {
      const answer = await fetch(`trace/feed?${from}`, this.#with(this.#abort.signal));
      if (answer.status === 401) {
        this.#tell.refused();
        return false;
      }
      if (!answer.ok) return true;
      this.#tell.link("live");
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return true;
        clearTimeout(watch);
        watch = setTimeout(() => this.#abort.abort(), SILENCE);
        const lines = (rest + value).split("\n");
        rest = lines.pop();
        lines.forEach((line) => this.#take(line));
        this.#tell.piece();
      }
    } finally {
      clearTimeout(watch);
    }
  }

  #take(text) {
    if (text === "") return;
    let line;
    try {
      line = JSON.parse(text);
    } catch {
      return; // Not ours to judge; `kmi verify` is.
    }
    if (line.type === "snapshot") this.#tell.picture(line);
    else if (line.type === "missed") this.#tell.missed(line.lines);
    else if (Number.isInteger(line.seq)) {
      this.#last = line.seq;
      this.#tell.line(line);
    }
  }
}
