#!/usr/bin/env python3
"""Runs real clients through `kmi run`: compares with direct runs, and lets keys fail.

    tests/real_clients.py            # from anywhere; two minutes, the first time a few more

Installs kimi-cli 1.51.0 (Python), kimi-code 2.1.0 (Node) and Claude Code 2.1.197 into
target/clients and starts the stand-in for Kimi. Each of Kimi's clients answers one prompt with a
tool call, first directly and then through kmi with seven keys in auto mode. Through kmi

* the answer must be right (it contains what the tool printed, which the prompt does not),
* every upstream request must come on the next key in ring order,
* User-Agent, other headers and body must be those of the direct run,
* the client's own configuration must be as the direct run leaves it,
* each client's own code must read kmi's answer of `/usages` as it reads the provider's.

Then each client, Claude Code too, asks with five keys of which four fail in four ways: it must get
its answer in one request of its own.

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
CLAUDE_CODE = "2.1.197"
MODEL = "kimi-for-coding"

# The shell multiplies: the answer is not in the prompt.
COMMAND = "echo product-$((6 * 7))"
ANSWER = "product-42"

# What the stand-in says to any other prompt.
PLAIN_ANSWER = "pong from the stand-in"
# What it says of five keys, four of which fail, in the order of the ring.
FAILING = [401, 403, 403, 429, 200]

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
    """A client: where it is, how it is asked, how it finds its home."""

    name: str
    path: str
    command: list  # the prompt comes last
    home_variable: str
    user_agent: str
    # For runs without kmi; what is asked then, and the program that reads the quota with the
    # client's own code.
    direct: dict = None
    tool: str = None
    usage: list = None


class Failure(Exception):
    """A check that failed, or something that is missing; the text says what to do."""


def main():
    clients = [install_kimi_cli(), install_kimi_code()]
    others = [install_claude_code()]
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
            for client in clients:
                bench.compare_usage(client)
        for client in clients + others:
            # A stand-in and a home of its own: all keys are well at the beginning.
            with StandIn(stand_in, "--failing", keys=5) as upstream:
                place = Path(scratch) / f"failing-{client.name}"
                Bench(place, upstream, kmi).answered_in_one_request(client)
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
        command=["kimi", "--quiet", "-p"],
        home_variable="KIMI_SHARE_DIR",
        user_agent="KimiCLI/1.51.0",
        direct={
            "KIMI_BASE_URL": "{base}",
            "KIMI_API_KEY": "{key}",
            "NO_PROXY": "127.0.0.1,localhost",
        },
        tool="Shell",
        usage=["python", "-c", KIMI_CLI_USAGE],
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
        command=["kimi", "-p"],
        home_variable="KIMI_CODE_HOME",
        user_agent="kimi-code-cli/2.1.0",
        direct={"KIMI_MODEL_BASE_URL": "{base}", "KIMI_MODEL_API_KEY": "{key}"},
        tool="Bash",
        usage=["node", "--input-type=module", "-e", KIMI_CODE_USAGE,
               modules / "@moonshot-ai" / "kimi-code" / "dist" / "main.mjs"],
    )


def install_claude_code():
    folder = CACHE / "claude-code"
    # The package of one platform is the whole program.
    package = f"@anthropic-ai/claude-code-{node_platform()}"
    once(folder, f"{package}@{CLAUDE_CODE}", lambda: run([
        "npm", "install", "--prefix", folder, "--no-audit", "--no-fund", "--loglevel=error",
        f"{package}@{CLAUDE_CODE}",
    ]))
    return Client(
        name="claude-code",
        path=f"{folder / 'node_modules' / package}:/usr/bin:/bin",
        command=["claude", "-p"],
        home_variable="CLAUDE_CONFIG_DIR",
        user_agent=f"claude-cli/{CLAUDE_CODE} (external, sdk-cli)",
    )


# The quota as a client's own code reads it, a line for each window: name, used, limit, and whether
# the time of the reset is understood.
KIMI_CLI_USAGE = """
import asyncio, os
from kimi_cli.ui.shell.usage import _fetch_usage, _parse_usage_payload
url, key = os.environ["KIMI_BASE_URL"] + "/usages", os.environ["KIMI_API_KEY"]
summary, limits = _parse_usage_payload(asyncio.run(_fetch_usage(url, key)))
for row in [summary, *limits]:
    print(row.label, row.used, row.limit, str(row.reset_hint).startswith("resets in "))
"""
KIMI_CODE_USAGE = """
import { readFileSync } from "node:fs";
const bundle = readFileSync(process.argv[1], "utf8");
const region = bundle.split("//#region ../../packages/oauth/src/managed-usage.ts")[1];
const from = region.indexOf("function parseManagedUsagePayload");
const code = region.slice(from, region.indexOf("var DEFAULT_KIMI_CODE_BASE_URL"));
const isRecord = (it) => typeof it === "object" && it !== null && !Array.isArray(it);
const names = [/isRecord\\$\\d+/.exec(code)[0], "FIXED_POINT_CENTS"];
const fetchManagedUsage = new Function(...names, `${code} return fetchManagedUsage;`)(isRecord, 1e6);
const { KIMI_MODEL_BASE_URL: base, KIMI_MODEL_API_KEY: key } = process.env;
const read = await fetchManagedUsage(`${base}/usages`, key);
if (read.kind !== "ok") throw new Error(read.message);
for (const [name, window] of Object.entries(read.quota.usages)) {
    if (window) console.log(name, window.usedRatio, 1, !Number.isNaN(Date.parse(window.resetAt)));
}
"""


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

    def __init__(self, binary, scenario="--healthy", keys=7):
        self.process = subprocess.Popen(
            [binary, scenario], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        lines = [self.process.stdout.readline().strip() for _ in range(1 + keys)]
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

    def compare_usage(self, client):
        """All accounts of the stand-in have used the same, so one of them reads as the pool does."""
        rows = [
            self.run(client, client.usage, self.direct_variables(client)),
            self.kmi_run(client, client.usage),
        ]
        rows = [[line.split() for line in said.splitlines()] for said in rows]
        window = lambda row: (row[:-3], round(float(row[-3]), 2), float(row[-2]), row[-1])
        direct, through = [list(map(window, said)) for said in rows]
        if direct != through or len(direct) < 2:
            raise Failure(f"{client.name}: another quota\n{direct}\n{through}")
        print(f"{client.name}: reads kmi's /usages as the provider's: {through}")

    def answered_in_one_request(self, client):
        """Four of five keys fail, and the client sees nothing of it."""
        self.fresh_disk(seed=None)
        said = self.kmi_run(client, [*client.command, "Say one word."])
        if PLAIN_ANSWER not in said:
            raise Failure(f"{client.name}: not the right answer: {said}")
        asked = self.upstream.requests()
        if [request["status"] for request in asked[:5]] != FAILING:
            raise Failure(f"{client.name}: {[(r['target'], r['status']) for r in asked]}")
        if len({(request["target"], request["body"]) for request in asked[:5]}) != 1:
            raise Failure(f"{client.name}: not the same request to all five keys")
        export = subprocess.run(
            [self.kmi, "trace", "export", "--home", self.kmi_home], capture_output=True, text=True)
        lines = [json.loads(line) for line in export.stdout.splitlines()]
        attempts = [line for line in lines if line["type"] == "attempt"]
        first = [line for line in attempts if line["request_id"] == attempts[0]["request_id"]]
        if [line["status"] for line in first] != FAILING:
            raise Failure(f"{client.name}: not one request of the client's: {attempts}")
        ends = {line["request_id"]: line["outcome"] for line in attempts}
        if set(ends.values()) != {"ok"}:
            raise Failure(f"{client.name}: a request of the client's failed: {ends}")
        print(f"{client.name}: answered in one request though four of five keys failed: {FAILING}")

    def direct(self, client):
        command = [*client.command, prompt(client.tool)]
        return self.tool_round_trip(client, self.run(client, command, self.direct_variables(client)))

    def through_kmi(self, client):
        command = [*client.command, prompt(client.tool)]
        return self.tool_round_trip(client, self.kmi_run(client, command))

    def tool_round_trip(self, client, said):
        """The upstream requests of a run that used a tool and met no trouble."""
        if ANSWER not in said:
            raise Failure(f"{client.name}: not the right answer: {said}")
        requests = self.upstream.requests()
        failed = [r for r in requests if (r["status"], r["end"]) != (200, "answered")]
        if failed or len(requests) < 2:
            raise Failure(f"{client.name}: a tool round trip has two good requests: {said}")
        return requests

    def direct_variables(self, client):
        fill = {"base": self.upstream.base, "key": self.upstream.keys[0]}
        variables = {name: text.format(**fill) for name, text in client.direct.items()}
        return {**variables, "KIMI_MODEL_NAME": MODEL}

    def kmi_run(self, client, command):
        return self.run(client, [self.kmi, "run", "--home", self.kmi_home, "--", *command], {
            "KMI_UPSTREAM_BASE_URL": self.upstream.base,
            "KMI_ROTATION_MODE": "auto",
            "KMI_ROTATION_MAX_ATTEMPTS": "5",
            # A port of this run's own, should a proxy of the user's be running.
            "KMI_PROXY_LISTEN": "127.0.0.1:0",
        })

    def run(self, client, command, variables):
        """Runs a command with nothing but these variables; gives what it printed."""
        home = self.scratch / "home"
        environment = {
            "PATH": client.path,
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "KIMI_DISABLE_TELEMETRY": "1",
            "KIMI_CLI_NO_AUTO_UPDATE": "1",
            "KIMI_CODE_NO_AUTO_UPDATE": "1",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "ANTHROPIC_MODEL": MODEL,
            client.home_variable: str(home / "config"),
            **variables,
        }
        try:
            done = subprocess.run(
                list(map(str, command)), env=environment, cwd=home / "work", timeout=180,
                stdin=subprocess.DEVNULL, capture_output=True, text=True)
        except subprocess.TimeoutExpired as error:
            raise Failure(f"{client.name}: no end after 180 s: {error.stderr}") from error
        if done.returncode != 0:
            said = f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
            raise Failure(f"{client.name}: {command[0]} failed: {said}")
        return done.stdout

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
