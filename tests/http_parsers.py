#!/usr/bin/env python3
"""Lets two other HTTP parsers read every byte that kmi emits: they must understand the same.

    tests/http_parsers.py            # from anywhere; some seconds

Plays the tables of tests/edge against a running `kmi serve`, keeps what kmi sends upstream and
what it answers to clients, and has both read by h11 (Python) and by Node's parser. A message that
one of them refuses, or reads otherwise than the other, is a bug of kmi: somebody behind it could
read another request than kmi meant, or another answer.

Needs Python >= 3.11, node, and the network the first time (h11 is installed below target/).
$KMI names the kmi binary; without it target/debug/kmi is built.
"""

import base64
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
PLACE = TARGET / "parsers"
H11 = "h11==0.16.0"
KEY = "sk-parsers-key-0001"
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
PATIENCE = 20
LIMIT = 4 << 20


def with_h11():
    """Imports h11; the first time it is installed, below target/."""
    python = PLACE / "bin" / "python"
    if Path(sys.prefix).resolve() != PLACE.resolve():
        if not python.exists():
            venv.create(PLACE, with_pip=True, clear=True)
        command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", H11]
        subprocess.run(command, check=True)
        os.execv(python, [str(python), *sys.argv])
    import h11

    return h11


h11 = with_h11()


def filled(text, **values):
    """A table's text as bytes, its placeholders and repetitions filled in."""
    for name, value in values.items():
        text = text.replace("{" + name + "}", value)
    repeated = {
        "a": lambda _: "a",
        "lines": lambda n: f"X-{n}: 1\r\n",
        "hints": lambda _: "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n",
    }
    for name, make in repeated.items():
        pattern = re.compile(r"\{" + name + r"\*(\d+)\}")
        text = pattern.sub(lambda m, make=make: "".join(map(make, range(int(m[1])))), text)
    return text.encode("latin-1")


def cases(name):
    with open(ROOT / "tests" / "edge" / name, "rb") as file:
        return tomllib.load(file)["case"]


class Upstream:
    """Keeps every byte that comes, and answers as it is told."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.answer, self.keeps = GOOD, True
        self.seen = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            stream, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=[stream], daemon=True).start()

    def serve(self, stream):
        with stream:
            while (raw := self.one_request(stream)) is not None:
                # kmi's own question about the quota is none of a table's.
                asks_quota = raw.split(b" ", 2)[1].endswith(b"/usages")
                self.seen.append(raw)
                stream.sendall(GOOD if asks_quota else self.answer)
                if not (asks_quota or self.keeps):
                    return

    def one_request(self, stream):
        """The bytes of one request, which h11 must be able to follow."""
        parser = h11.Connection(h11.SERVER, max_incomplete_event_size=LIMIT)
        raw = b""
        while True:
            event = parser.next_event()
            if event is h11.NEED_DATA:
                try:
                    data = stream.recv(1 << 16)
                except ConnectionResetError:
                    data = b""
                # Between two requests, or in the middle of one whose body broke at its client.
                if not data:
                    return None
                raw += data
                parser.receive_data(data)
            elif isinstance(event, h11.EndOfMessage):
                assert parser.trailing_data[0] == b"", f"more than one request: {raw!r}"
                return raw


def read_by_h11(kind, method, data):
    """What h11 reads, in the form in which http_parsers.mjs gives it."""
    role = h11.SERVER if kind == "request" else h11.CLIENT
    parser = h11.Connection(role, max_incomplete_event_size=LIMIT)
    if role is h11.CLIENT:
        parser.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
        parser.send(h11.EndOfMessage())
    parser.receive_data(data)
    parser.receive_data(b"")
    read, body = None, b""
    try:
        while True:
            event = parser.next_event()
            if isinstance(event, (h11.Request, h11.Response)):
                if role is h11.SERVER:
                    head = f"{event.method.decode()} {event.target.decode()}"
                else:
                    head = str(event.status_code)
                headers = [[n.decode("latin-1"), v.decode("latin-1")] for n, v in event.headers]
                read = {"head": head, "headers": headers, "whole": False}
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                read["whole"] = True
                break
            elif not isinstance(event, h11.InformationalResponse):
                break
    except h11.RemoteProtocolError as error:
        if read is None:
            return {"error": str(error)}
    read["body"] = base64.b64encode(body).decode()
    return read


class Kmi:
    """A running `kmi serve` on a home of its own."""

    def __init__(self, home, upstream):
        auths = home / "_auths"
        auths.mkdir(mode=0o700, parents=True)
        home.chmod(0o700)
        (auths / "one.key").write_text(KEY)
        (auths / "one.key").chmod(0o600)
        (home / "kmi.config.toml").write_text(
            '[proxy]\nlisten = "127.0.0.1:0"\n'
            f'[upstream.kimi]\nbase_url = "http://127.0.0.1:{upstream.port}/coding/v1"\n'
        )
        binary = os.environ.get("KMI")
        if not binary:
            build = ["cargo", "build", "--quiet", "--locked", "-p", "kmi-cli"]
            subprocess.run(build, cwd=ROOT, check=True)
            binary = TARGET / "debug" / "kmi"
        command = [binary, "--home", home, "serve"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        self.host = re.search(r"http://([^/]+)", line)[1]
        self.token = (home / "state" / "token").read_text().strip()
        self.open = f"Host: {self.host}\r\nAuthorization: Bearer {self.token}\r\n"

    def ask(self, data, last):
        """Sends bytes, then `last` on the same connection, and gives all bytes of the answers."""
        host, port = self.host.rsplit(":", 1)
        answer = b""
        with socket.create_connection((host, int(port)), timeout=PATIENCE) as stream:
            try:
                stream.sendall(data + last)
                while chunk := stream.recv(1 << 16):
                    answer += chunk
            except (BrokenPipeError, ConnectionResetError):
                pass
        return answer

    def stop(self):
        self.process.terminate()
        self.process.wait(PATIENCE)


def play(kmi, upstream):
    """Every message that kmi emits, by the case that brought it about."""
    emitted = []
    close = f"GET /kmi-rotor/healthz HTTP/1.1\r\nHost: {kmi.host}\r\nConnection: close\r\n\r\n".encode()
    mine = {"host": kmi.host, "token": kmi.token, "open": kmi.open}
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    large = filled("POST /kmi-rotor/v1/files HTTP/1.1\r\n{open}Transfer-Encoding: chunked\r\n\r\n", **mine)
    sent = [("client: " + case["name"], filled(case["send"], **mine)) for case in cases("client.toml")]
    sent.append(("client: a body that is too large to be held", large + chunk * 80 + b"0\r\n\r\n"))
    for name, data in sent:
        upstream.seen.clear()
        answers = kmi.ask(data, close)
        emitted += [(name, "request", "GET", raw) for raw in upstream.seen]
        emitted += [(name, "response", "GET", raw) for raw in split(answers)]
    for case in cases("upstream.toml"):
        name = "upstream: " + case["name"]
        upstream.seen.clear()
        upstream.answer, upstream.keeps = filled(case["answer"]), case.get("keeps", False)
        method = case.get("method", "GET")
        line = f"{method} /kmi-rotor/v1/models HTTP/1.1\r\n{kmi.open}Connection: close\r\n\r\n"
        answer = kmi.ask(line.encode(), b"")
        emitted += [(name, "request", "GET", raw) for raw in upstream.seen]
        emitted.append((name, "response", method, answer))
    return emitted


def split(answers):
    """The bytes of each of several answers on one connection."""
    found = []
    while answers:
        parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=LIMIT)
        parser.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
        parser.send(h11.EndOfMessage())
        parser.receive_data(answers)
        while not isinstance(parser.next_event(), h11.EndOfMessage):
            pass
        rest = parser.trailing_data[0]
        found.append(answers[: len(answers) - len(rest)])
        answers = rest
    return found


def read_by_node(emitted):
    asked = [
        {"kind": kind, "method": method, "data": base64.b64encode(raw).decode()}
        for _, kind, method, raw in emitted
    ]
    script = ROOT / "tests" / "http_parsers.mjs"
    command = ["node", script]
    done = subprocess.run(command, input=json.dumps(asked), stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def main():
    with tempfile.TemporaryDirectory(prefix="kmi-parsers.") as place:
        upstream = Upstream()
        kmi = Kmi(Path(place) / "home", upstream)
        try:
            emitted = play(kmi, upstream)
        finally:
            kmi.stop()
    failures = 0
    cuts = {"upstream: " + case["name"] for case in cases("upstream.toml") if case.get("cut")}
    for (name, kind, method, raw), by_node in zip(emitted, read_by_node(emitted), strict=True):
        by_h11 = read_by_h11(kind, method, raw)
        whole = not (kind == "response" and name in cuts)
        good = by_node == [by_h11] and by_h11.get("whole") is whole
        if not good:
            failures += 1
            print(f"{name}: {kind} {raw[:300]!r}\n  h11:  {by_h11}\n  node: {by_node}", file=sys.stderr)
    requests = sum(kind == "request" for _, kind, _, _ in emitted)
    print(f"{requests} requests and {len(emitted) - requests} answers: {failures} read in two ways")
    enough = requests > 70 and len(emitted) - requests > 200
    return 0 if failures == 0 and enough else 1


if __name__ == "__main__":
    sys.exit(main())
