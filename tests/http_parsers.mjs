// What Node's HTTP parser reads in bytes; the other half of http_parsers.py.
//
// Reads a JSON array of {kind, method, data} (data in base64) from stdin and writes what it read of
// each: {head, headers, body, whole}, or {error}.

import http from "node:http";
import { Duplex } from "node:stream";
import { buffer } from "node:stream/consumers";

const QUIET_MS = 300;
const maxHeaderSize = 1 << 20;

/** A connection on which exactly these bytes arrive, and then its end. */
class Wire extends Duplex {
  constructor(data) {
    super();
    this.push(data);
    this.push(null);
  }
  _read() {}
  _write(_chunk, _encoding, done) {
    done();
  }
  setTimeout() {
    return this;
  }
  setNoDelay() {}
  setKeepAlive() {}
  ref() {}
  unref() {}
}

function pairs(raw) {
  const found = [];
  for (let at = 0; at < raw.length; at += 2) {
    found.push([raw[at].toLowerCase(), raw[at + 1]]);
  }
  return found;
}

/** Reads a message's body, however it ends. */
function collect(message, head, done) {
  const chunks = [];
  const end = (whole) => {
    const body = Buffer.concat(chunks).toString("base64");
    done({ head, headers: pairs(message.rawHeaders), body, whole });
  };
  message.on("data", (chunk) => chunks.push(chunk));
  message.on("end", () => end(message.complete));
  message.on("error", () => end(false));
}

function request({ data }) {
  return new Promise((resolve) => {
    const found = [];
    let timer;
    const settle = () => {
      clearTimeout(timer);
      timer = setTimeout(() => resolve(found), QUIET_MS);
    };
    const server = http.createServer({ maxHeaderSize }, (message, answer) => {
      collect(message, `${message.method} ${message.url}`, (read) => {
        found.push(read);
        answer.end();
        settle();
      });
    });
    server.on("clientError", (error) => {
      // The end of the connection after a whole request is no error.
      if (error.code !== "ECONNRESET" && error.code !== "HPE_INVALID_EOF_STATE") {
        found.push({ error: error.code });
      }
      settle();
    });
    server.emit("connection", new Wire(Buffer.from(data, "base64")));
    settle();
  });
}

function response({ method, data }) {
  return new Promise((resolve) => {
    const wire = new Wire(Buffer.from(data, "base64"));
    const sent = http.request({ method, path: "/", maxHeaderSize, createConnection: () => wire });
    let timer;
    const done = (read) => {
      clearTimeout(timer);
      timer = setTimeout(() => resolve([read]), 0);
    };
    sent.on("response", (message) => collect(message, `${message.statusCode}`, done));
    sent.on("error", (error) => {
      timer ??= setTimeout(() => resolve([{ error: error.code }]), QUIET_MS);
    });
    sent.end();
  });
}

const asked = JSON.parse(await buffer(process.stdin));
const read = await Promise.all(
  asked.map((one) => (one.kind === "request" ? request(one) : response(one))),
);
process.stdout.write(JSON.stringify(read), () => process.exit(0));
