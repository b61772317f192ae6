#!/usr/bin/env python3
"""Runs the real Kimi clients through `kmi run` and compares with direct runs.

    tests/real_clients.py            # from anywhere; a minute, the first time a few

Installs kimi-cli 1.51.0 (Python) and kimi-code 2.1.0 (Node) into target/clients, starts the
stand-in for Kimi, and lets each client answer one prompt with a tool call, first directly and then
through kmi with seven keys in auto mode. Through kmi

* the answer must be right (it contains what the tool printed, which the prompt does not),
* every upstream request must come on the next key in ring order,
* User-Agent, other headers and body must be those of the direct run,
* the client's own configuration must be as the direct run leaves it.

Needs Python >= 3.13 somewhere (>= 3.9 for this script), npm, cargo, and the network for the first
installation. $KMI names the kmi binary; without it target/debug/kmi is built. Only the standard
library is used here.
"""

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
CACHE = TARGET / "clients"

KIMI_CLI = "kimi-cli==1.51.0"
KIMI_CODE = "@moonshot-ai/kimi-code@2.1.0"
NODE = "24.9.0"
MODEL = "kimi-for-coding"

# The shell multiplies: the answer is not in the prompt.
COMMAND = "echo product-$((6 * 7))"
ANSWER = "product-42"

# Set anew for every connection, or the one thing that kmi is there to replace.
PER_CONNECTION = {"host", "connection", "keep-alive", "authorization", "x-api-key"}

# What differs between two direct runs as well, and therefore says nothing about kmi.
VOLATILE = [
    # Session ids, message ids.
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<uuid>"),
    # The time of day in system prompts.
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?", "<time>"),
    # How long the tool took.
    (r"Wall time: [\d.]+ seconds", "Wall time: <seconds>"),
]


@dataclass
class Client:
    """One of the two clients: where it is, what it is asked, how it finds its home."""

    name: str
    path: str
    arguments: list
    home_variable: str
    user_agent: str
    direct: dict


class Failure(Exception):
    """A check that failed, or something that is missing; the text says what to do."""


def main():
    clients = [install_kimi_cli(), install_kimi_code()]
    stand_in = build("kmi-proxy", "--example", "stand_in") / "examples" / "stand_in"
    kmi = Path(os.environ["KMI"]).resolve() if "KMI" in os.environ else build("kmi-cli") / "kmi"
    if not kmi.is_file():
        raise Failure(f"{kmi} does not exist: set KMI to the kmi binary")
    with tempfile.TemporaryDirectory(prefix="kmi-real-clients-") as scratch:
        with StandIn(stand_in) as upstream:
            bench = Bench(Path(scratch), upstream, kmi)
            for client in clients:
                bench.compare(client)
            bench.check_ring_order()
    print("real clients: all good")


# --- Installation ------------------------------------------------------------------------------


def install_kimi_cli():
    venv = CACHE / "kimi-cli"
    once(venv, KIMI_CLI, lambda: (
        run([find_python(), "-m", "venv", venv]),
        run([venv / "bin" / "python", "-m", "pip", "install", "--quiet", KIMI_CLI]),
    ))
    return Client(
        name="kimi-cli",
        path=f"{venv}/bin:/usr/bin:/bin",
        arguments=["kimi", "--quiet", "-p", prompt("Shell")],
        home_variable="KIMI_SHARE_DIR",
        user_agent="KimiCLI/1.51.0",
        direct={
            "KIMI_BASE_URL": "{base}",
            "KIMI_API_KEY": "{key}",
            "NO_PROXY": "127.0.0.1,localhost",
        },
    )


def install_kimi_code():
    folder = CACHE / "kimi-code"
    node = f"node-{node_platform()}@{NODE}"
    # The machine's npm may run on an older node than kimi-code needs: it only downloads.
    once(folder, f"{KIMI_CODE} {node}", lambda: run([
        "npm", "install", "--prefix", folder, "--no-audit", "--no-fund", "--loglevel=error",
        KIMI_CODE, node,
    ]))
    modules = folder / "node_modules"
    return Client(
        name="kimi-code",
        path=f"{modules}/node-{node_platform()}/bin:{modules}/.bin:/usr/bin:/bin",
        arguments=["kimi", "-p", prompt("Bash")],
        home_variable="KIMI_CODE_HOME",
        user_agent="kimi-code-cli/2.1.0",
        direct={"KIMI_MODEL_BASE_URL": "{base}", "KIMI_MODEL_API_KEY": "{key}"},
    )


def once(folder, what, install):
    """Installs into a folder unless exactly that is there already."""
    stamp = folder / "installed"
    if stamp.is_file() and stamp.read_text() == what:
        return
    print(f"installing {what}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    install()
    stamp.write_text(what)


# What kimi-cli does at import. Python 3.12's first releases fail there (they set
# `__orig_class__` on a frozen dataclass with slots), so the version alone does not tell.
PYTHON_CHECK = """
import venv
from dataclasses import dataclass
@dataclass(frozen=True, slots=True)
class Generic[T]:
    field: int
Generic[int](field=1)
"""


def find_python():
    """A Python that runs kimi-cli, the newest of pyenv's first; names in PATH may be dead shims."""
    versions = (Path.home() / ".pyenv" / "versions").glob("3.1[2-9]*/bin/python3")
    newest_first = sorted(versions, key=lambda path: path.parts[-3].split("."), reverse=True)
    names = [*newest_first, "python3.14", "python3.13", "python3.12", sys.executable, "python3"]
    for name in names:
        try:
            check = subprocess.run([name, "-c", PYTHON_CHECK], capture_output=True)
        except OSError:
            continue
        if check.returncode == 0:
            return name
    raise Failure("kimi-cli needs Python >= 3.13 and there is none: install one (pyenv, uv, apt)")


def node_platform():
    machine = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64"}.get(
        platform.machine().lower(), platform.machine().lower())
    return f"{platform.system().lower()}-{machine}"


def build(package, *what):
    run(["cargo", "build", "--quiet", "--locked", "--package", package, *what], cwd=ROOT)
    return TARGET / "debug"


def run(command, **options):
    try:
        subprocess.run(command, check=True, **options)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Failure(f"{' '.join(map(str, command))}: {error}") from error


def prompt(tool):
    """The stand-in calls a tool when a line of the prompt says so."""
    return f"[call {tool} {json.dumps({'command': COMMAND})}]"


# --- The upstream ------------------------------------------------------------------------------


class StandIn:
    """The stand-in as a process of its own, on a free port."""

    def __init__(self, binary):
        self.process = subprocess.Popen(
            [binary, "--healthy"], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        lines = [self.process.stdout.readline().strip() for _ in range(8)]
        self.base, self.keys = lines[0], lines[1:]
        if not self.base.startswith("http://127.0.0.1:"):
            raise Failure(f"the stand-in did not start: {lines}")
        self.origin = self.base.removesuffix("/coding/v1")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def requests(self):
        """What clients asked since the last call; kmi's own quota questions are left out."""
        with urllib.request.urlopen(f"{self.origin}/__requests") as answer:
            requests = json.load(answer)["requests"]
        reset = urllib.request.Request(f"{self.origin}/__reset", method="POST")
        urllib.request.urlopen(reset).close()
        return [r for r in requests if (r["method"], r["target"]) != ("GET", "/coding/v1/usages")]


# --- The comparison ----------------------------------------------------------------------------


class Bench:
    """Runs clients directly and through kmi, in the same places on disk."""

    def __init__(self, scratch, upstream, kmi):
        self.scratch, self.upstream, self.kmi = scratch, upstream, kmi
        self.kmi_home = scratch / "kmi"
        self.served = []  # the key of every request through kmi
        auths = self.kmi_home / "_auths"
        auths.mkdir(parents=True, mode=0o700)
        self.kmi_home.chmod(0o700)
        # Labels are the file names' stems, and the ring is in their order.
        for number, key in enumerate(upstream.keys, 1):
            file = auths / f"key{number}.key"
            file.write_text(f"{key}\n")
            file.chmod(0o600)

    def compare(self, client):
        # The first run makes the client's configuration; a user's own line goes into it.
        self.fresh_disk(seed=None)
        self.direct(client)
        seed = self.scratch / f"seed-{client.name}"
        shutil.copytree(self.scratch / "home" / "config", seed)
        for volatile in ("sessions", "logs", "cache"):
            shutil.rmtree(seed / volatile, ignore_errors=True)
        config = seed / "config.toml"
        with config.open("a") as file:
            file.write("\n# the user's own line\n")

        self.fresh_disk(seed)
        direct = self.direct(client)
        direct_files = files(self.scratch / "home" / "config")

        self.fresh_disk(seed)
        through = self.through_kmi(client)
        through_files = files(self.scratch / "home" / "config")

        compare_requests(client, direct, through)
        compare_files(client, files(seed), direct_files, through_files)
        self.served += [request["key"] for request in through]
        print(f"{client.name}: {len(through)} requests through kmi as in a direct run")

    def fresh_disk(self, seed):
        """The same paths for every run: they stand in prompts."""
        home = self.scratch / "home"
        shutil.rmtree(home, ignore_errors=True)
        (home / "work").mkdir(parents=True)
        if seed is None:
            (home / "config").mkdir()
        else:
            shutil.copytree(seed, home / "config")

    def direct(self, client):
        fill = {"base": self.upstream.base, "key": self.upstream.keys[0]}
        variables = {name: text.format(**fill) for name, text in client.direct.items()}
        return self.run(client, client.arguments, {**variables, "KIMI_MODEL_NAME": MODEL})

    def through_kmi(self, client):
        command = [self.kmi, "run", "--home", self.kmi_home, "--", *client.arguments]
        return self.run(client, command, {
            "KMI_UPSTREAM_BASE_URL": self.upstream.base,
            "KMI_ROTATION_MODE": "auto",
            # A port of this run's own, should a proxy of the user's be running.
            "KMI_PROXY_LISTEN": "127.0.0.1:0",
        })

    def run(self, client, command, variables):
        """Runs a command with nothing but these variables; gives the upstream requests."""
        home = self.scratch / "home"
        environment = {
            "PATH": client.path,
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "KIMI_DISABLE_TELEMETRY": "1",
            "KIMI_CLI_NO_AUTO_UPDATE": "1",
            "KIMI_CODE_NO_AUTO_UPDATE": "1",
            client.home_variable: str(home / "config"),
            **variables,
        }
        try:
            done = subprocess.run(
                list(map(str, command)), env=environment, cwd=home / "work", timeout=180,
                stdin=subprocess.DEVNULL, capture_output=True, text=True)
        except subprocess.TimeoutExpired as error:
            raise Failure(f"{client.name}: no end after 180 s: {error.stderr}") from error
        said = f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        if done.returncode != 0 or ANSWER not in done.stdout:
            raise Failure(f"{client.name}: not the right answer from {command[0]}: {said}")
        requests = self.upstream.requests()
        failed = [r for r in requests if (r["status"], r["end"]) != (200, "answered")]
        if failed or len(requests) < 2:
            raise Failure(f"{client.name}: a tool round trip has two good requests: {said}")
        return requests

    def check_ring_order(self):
        """The rotation goes on from one run to the next, so all of them are one sequence."""
        keys = self.upstream.keys
        first = keys.index(self.served[0])
        expected = [keys[(first + n) % len(keys)] for n in range(len(self.served))]
        if self.served != expected:
            raise Failure(f"not in ring order: {self.served}, expected {expected}")


def compare_requests(client, direct, through):
    if len(direct) != len(through):
        raise Failure(f"{client.name}: {len(direct)} requests directly, {len(through)} through kmi")
    for one, other in zip(direct, through):
        where = f"{client.name}, request {other['seq']}"
        if (one["method"], one["target"]) != (other["method"], other["target"]):
            raise Failure(f"{where}: {one['target']} became {other['target']}")
        agents = [v for name, v in other["headers"] if name.lower() == "user-agent"]
        if agents != [client.user_agent]:
            raise Failure(f"{where}: User-Agent is {agents}")
        if headers(one) != headers(other):
            raise Failure(f"{where}: other headers\n{headers(one)}\n{headers(other)}")
        if normal(one["body"]) != normal(other["body"]):
            raise Failure(f"{where}: another body\n{difference(one['body'], other['body'])}")


def headers(request):
    """Names (in lower case: HTTP does not tell cases apart) and values, as a sorted list."""
    kept = []
    for name, value in request["headers"]:
        name = name.lower()
        if name == "content-length":
            # Bodies are compared normalised, so lengths may differ: each must fit its own body.
            value = "fits" if int(value) == request["body_bytes"] else "does not fit"
        if name not in PER_CONNECTION:
            kept.append((name, value))
    return sorted(kept)


def normal(text):
    for pattern, name in VOLATILE:
        text = re.sub(pattern, name, text)
    return text


def difference(one, other):
    one, other = normal(one), normal(other)
    at = next((n for n, (a, b) in enumerate(zip(one, other)) if a != b), min(len(one), len(other)))
    return f"direct:  …{one[max(0, at - 60):at + 60]!r}\nkmi:     …{other[max(0, at - 60):at + 60]!r}"


def files(folder):
    """Every file's checksum by its path, ids and times in names normalised."""
    found = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            name = re.sub(r"\.\d{13}$", ".<time>", normal(str(file.relative_to(folder))))
            found[name] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


def compare_files(client, seed, direct, through):
    """The configuration of before, but for what the client itself changes in a direct run too."""
    if set(direct) != set(through):
        raise Failure(f"{client.name}: other files: {sorted(set(direct) ^ set(through))}")
    for name, before in seed.items():
        changed_by_client = direct[name] != before
        if through[name] != before and not changed_by_client:
            raise Failure(f"{client.name}: {name} was changed in the run through kmi")
    if through["config.toml"] != seed["config.toml"]:
        raise Failure(f"{client.name}: config.toml was changed")


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"error: {failure}")
