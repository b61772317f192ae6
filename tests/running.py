"""A running `kmi serve` before a stand-in for Kimi, for the scripts beside this file."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
PATIENCE = 30
# No check takes nearly as long, in seconds.
LONGEST = 300

# Every process that was started and may still run.
started = []


class Skipped(Exception):
    """Something that a check needs is not here."""


def need(program):
    if not shutil.which(program):
        raise Skipped(f"no {program}")


class TooLate(AssertionError):
    """A check waits for what does not come. No OSError: those are what many checks expect."""


@contextlib.contextmanager
def in_time():
    """Nothing inside waits for ever, whatever it waits for. Only on the main thread."""

    def late(*_):
        raise TooLate(f"it takes more than {LONGEST} s")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(LONGEST)
    try:
        yield
    finally:
        signal.alarm(0)


def chosen(checks, only):
    """The checks with these names, or all."""
    unknown = set(only) - {check.__name__ for check in checks}
    assert not unknown, f"there is no check {', '.join(sorted(unknown))}"
    return [check for check in checks if not only or check.__name__ in only]


def run_check(check, *args):
    """Runs a check and says how long it took."""
    began = time.monotonic()
    with in_time():
        check(*args)
    print(f"ok  {check.__name__} ({time.monotonic() - began:.1f} s)", flush=True)


def run_checks(checks):
    """Runs the checks that the command line names, or all, each with a directory of its own."""
    skipped = []
    for check in chosen(checks, sys.argv[1:]):
        with tempfile.TemporaryDirectory(prefix="kmi-check-") as scratch:
            try:
                run_check(check, Path(scratch))
            except Skipped as why:
                skipped.append(f"{check.__name__} ({why})")
                print(f"!!! SKIPPED: {skipped[-1]}", flush=True)
                continue
            finally:
                for process in started:
                    if process.poll() is None:
                        process.kill()
                        process.wait()
    assert not skipped or os.environ.get("KMI_CHECKS") != "all", f"skipped: {skipped}"


def binary():
    """The kmi to try: $KMI, or target/debug/kmi, which is built first."""
    if "KMI" in os.environ:
        return os.environ["KMI"]
    subprocess.run(["cargo", "build", "--quiet", "--locked", "-p", "kmi-cli"], cwd=ROOT, check=True)
    return str(TARGET / "debug" / "kmi")


def eventually(what, holds, patience=PATIENCE):
    """Looks again and again until something holds; gives what it held."""
    end = time.monotonic() + patience
    while not (held := holds()):
        assert time.monotonic() < end, f"in vain: {what}"
        time.sleep(0.02)
    return held


class Upstream(ThreadingHTTPServer):
    """A stand-in for Kimi that counts, and answers as `answer(handler, body)` writes."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, answer=None):
        upstream = self
        self.requests = 0

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                # kmi's own question about the quota is no client's request.
                if not self.path.endswith("/usages"):
                    upstream.requests += 1
                (answer or Upstream.good)(self, body)

            do_POST = do_GET

            def log_message(self, *_):
                pass

            def reply(self, status, body, **headers):
                data = json.dumps(body).encode() if not isinstance(body, bytes) else body
                head = [f"HTTP/1.1 {status} X", f"Content-Length: {len(data)}", "Content-Type: application/json"]
                head += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
                self.wfile.write("\r\n".join([*head, "", ""]).encode("latin-1") + data)

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_):
        """A connection that breaks is what many checks are about."""

    @staticmethod
    def good(handler, _):
        handler.reply(200, {"choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 3}})


class Kmi:
    """A home with keys, and `kmi serve` on it whenever it is started."""

    def __init__(self, home, url, keys=3, config="", listen="127.0.0.1:0", owner=None, said=None):
        self.kmi, self.home, self.process = binary(), Path(home), None
        self.stderr = said or self.home.parent / "said"
        self.keys = [f"sk-running-key-{number:04}" for number in range(1, keys + 1)] if isinstance(keys, int) else keys
        auths = self.home / "_auths"
        auths.mkdir(mode=0o700, parents=True)
        self.home.chmod(0o700)
        for number, key in enumerate(self.keys, 1):
            self.add_key(f"k{number}", key)
        (self.home / "kmi.config.toml").write_text(
            f'[proxy]\nlisten = "{listen}"\n[upstream.kimi]\nkind = "openai"\nbase_url = "{url}"\n'
            f'[rotation]\nmode = "auto"\n{config}'
        )
        self.owner = owner
        if owner is not None:
            for path in [self.home, *self.home.rglob("*")]:
                os.chown(path, owner, owner)

    def add_key(self, label, key):
        path = self.home / "_auths" / f"{label}.key"
        path.touch(mode=0o600)
        path.write_text(key)

    def command(self, *args):
        as_owner = []
        if self.owner is not None:
            as_owner = ["setpriv", f"--reuid={self.owner}", f"--regid={self.owner}", "--clear-groups"]
        return [*as_owner, self.kmi, "--home", str(self.home), *args]

    def start(self, args=("serve",), **options):
        """Starts it; says whether it serves."""
        env = {**os.environ, "RUST_BACKTRACE": "1", **options.pop("env", {})}
        with open(self.stderr, "ab") as said:
            self.process = subprocess.Popen(
                self.command(*args), stdout=subprocess.PIPE, stderr=said, text=True, env=env, **options
            )
        started.append(self.process)
        line = self.process.stdout.readline()
        if not line:
            self.process.wait(PATIENCE)
            return False
        self.address = line.split("/")[2]
        self.token = (self.home / "state" / "token").read_text().strip()
        self.pid = self.process.pid
        return True

    def said(self):
        return self.stderr.read_text(errors="replace")

    def run(self, *args, code=0, env=None):
        done = subprocess.run(self.command(*args), env=env, capture_output=True, text=True, timeout=2 * PATIENCE)
        assert done.returncode == code, f"kmi {args}: {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout if code == 0 else done.stderr

    def status(self):
        return json.loads(self.run("status", "--json"))

    def verify(self):
        """What `kmi verify` says, whatever the verdict."""
        done = subprocess.run(self.command("verify", "--json"), capture_output=True, text=True, timeout=2 * PATIENCE)
        return json.loads(done.stdout)

    def client(self):
        return Client(self)

    def chat(self, times=1):
        client = self.client()
        return [client.chat()[0] for _ in range(times)]

    def kill(self):
        self.process.kill()
        self.process.wait(PATIENCE)

    def stop(self):
        self.run("stop")
        self.process.wait(PATIENCE)


class Client:
    """A client on one connection."""

    def __init__(self, kmi):
        host, port = kmi.address.rsplit(":", 1)
        self.connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE)
        self.headers = {"Authorization": f"Bearer {kmi.token}", "Content-Type": "application/json"}

    def ask(self, method, path, body=None, **headers):
        """Status, headers and text of an answer."""
        self.connection.request(method, path, body, {**self.headers, **headers})
        answer = self.connection.getresponse()
        return answer.status, answer.headers, answer.read().decode(errors="replace")

    def chat(self):
        """Status and turn of a small request."""
        body = '{"model":"kimi-for-coding","messages":[]}'
        status, headers, _ = self.ask("POST", "/kmi-rotor/v1/chat/completions", body)
        return status, headers.get("x-kmi-turn")
