#!/usr/bin/env python3
"""Breaks what a running kmi stands on, and looks that nothing is lost and nobody is turned away.

    tests/faults.py              # from anywhere; about two minutes
    tests/faults.py full_disk    # only this one

Full and read-only disks, refused writes and syncs, a torn log, foreign and newer databases, two
proxies on one home, jumping clocks, no file descriptors left. docs/reliability.md has the table of
what must come of each. SIGKILL has a test of its own (kmi-cli/tests/cli/crash.rs).

Needs Python >= 3.11, and Linux. What needs root (a small disk), strace or faketime is skipped
loudly without it, and fails instead with KMI_CHECKS=all. $KMI names the kmi binary.
"""

import contextlib
import http.client
import json
import os
import random
import resource
import sqlite3
import subprocess
import threading
import time
from pathlib import Path

from running import PATIENCE, Kmi, Skipped, Upstream, eventually, need, run_checks, started

SLOTS = 3


class Disk:
    """A small disk, below a directory."""

    def __init__(self, place, size):
        self.place = place
        place.mkdir(exist_ok=True)
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], capture_output=True)
        if mounted.returncode:
            raise Skipped("no right to mount")

    def fill(self):
        with open(self.place / "filler", "ab", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError:
                pass

    def empty(self):
        (self.place / "filler").unlink()

    def remount(self, how):
        # A file that is open for writing keeps a disk from becoming read-only.
        subprocess.run(["mount", "-o", f"remount,{how}", self.place], check=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run(["umount", "-l", self.place], check=True)


def on_disk(scratch, size="8m", **options):
    """A home on a small disk."""
    disk = Disk(scratch / "disk", size)
    upstream = Upstream()
    kmi = Kmi(scratch / "disk" / "home", upstream.url, said=scratch / "said", **options)
    kmi.upstream = upstream
    return disk, kmi


def proven(kmi, turns, gaps=False):
    """Every turn is in the trace, in order, none missing and none twice; gives the report."""
    report = kmi.verify()
    assert report["chain"]["ok"] and report["verdict"] in ("verified", "insufficient_data"), report
    found = {key: report[key] for key in ("violations", "open", "gaps_without_slots")}
    assert found == {"violations": 0, "open": 0, "gaps_without_slots": 0}, report
    assert report["turns"] + report["gap_turns"] == turns, f"{report['turns']} of {turns}: {report['gaps']}"
    assert (report["gap_turns"] > 0) == gaps, report["gaps"]
    numbers = []
    for line in map(json.loads, kmi.run("trace", "export").splitlines()):
        if line["type"] == "attempt":
            numbers.append((line["turn"], line["slot"]))
        elif line["type"] == "gap":
            slots = line.get("slots") or [None] * (line["to_turn"] - line["from_turn"] + 1)
            numbers.extend(zip(range(line["from_turn"], line["to_turn"] + 1), slots))
    numbers.sort()
    assert [turn for turn, _ in numbers] == list(range(1, len(numbers) + 1)), "a turn is missing, or there twice"
    known = [(turn, slot) for turn, slot in numbers if slot is not None]
    assert all(slot == (turn - 1) % SLOTS for turn, slot in known), "the rotation did not go on in place"
    return report


# --- the disk ------------------------------------------------------------------------------------


def full_disk(scratch):
    """Requests go on; their lines wait and are written when there is room again."""
    disk, kmi = on_disk(scratch)
    with disk:
        assert kmi.start()
        kmi.chat(20)
        disk.fill()
        assert set(kmi.chat(300)) == {200}
        told = kmi.status()["trace_failure"]
        assert "full" in told, told
        disk.empty()
        eventually("lines are written again", lambda: kmi.status()["trace_failure"] is None)
        kmi.chat(20)
        kmi.stop()
        proven(kmi, 340)


def full_disk_when_the_trace_is_required(scratch):
    """With `trace.required` a request that cannot be recorded is 503 and goes nowhere."""
    disk, kmi = on_disk(scratch, config="[trace]\nrequired = true\n")
    with disk:
        assert kmi.start()
        kmi.chat(20)
        disk.fill()
        client, statuses = kmi.client(), []

        def asked():
            statuses.append(client.chat()[0])
            return statuses[-1]

        eventually("requests are refused", lambda: asked() == 503)
        sent = kmi.upstream.requests
        assert {asked() for _ in range(20)} == {503}
        _, headers, _ = client.ask("POST", "/kmi-rotor/v1/chat/completions", "{}")
        assert headers["x-kmi-error"] == "cannot_be_recorded", headers
        assert kmi.upstream.requests == sent, "what cannot be recorded went upstream"
        disk.empty()
        eventually("requests are served again", lambda: asked() == 200)
        kmi.stop()
        assert set(statuses) == {200, 503}
        assert kmi.upstream.requests == 20 + statuses.count(200)
        proven(kmi, 20 + statuses.count(200))


def full_disk_and_then_killed(scratch):
    """What waited is lost with the process, and declared: numbers and places are still known."""
    disk, kmi = on_disk(scratch)
    with disk:
        assert kmi.start()
        kmi.chat(20)
        disk.fill()
        assert set(kmi.chat(100)) == {200}
        kmi.kill()
        disk.empty()
        assert kmi.start()
        kmi.chat(20)
        kmi.stop()
        proven(kmi, 140, gaps=True)


def full_disk_at_the_start(scratch):
    """kmi does not start, says why in one line and a hint, and starts when there is room."""
    disk, kmi = on_disk(scratch, size="1m")
    with disk:
        disk.fill()
        assert not kmi.start()
        said = kmi.said().splitlines()
        assert len(said) == 2 and said[0].startswith("error: ") and said[1].startswith("hint: "), said
        assert "No space left" in said[0] or "full" in said[0], said
        disk.empty()
        disk.remount("size=8m")
        assert kmi.start()
        kmi.chat(30)
        kmi.stop()
        proven(kmi, 30)


def read_only_state_at_the_start(scratch):
    """kmi does not start on a state that it cannot write, and says so."""
    disk, kmi = on_disk(scratch)
    with disk:
        assert kmi.start()
        kmi.chat(20)
        kmi.stop()
        disk.remount("ro")
        assert not kmi.start()
        said = kmi.said()
        assert "Read-only file system" in said and "hint: " in said, said
        disk.remount("rw")
        assert kmi.start()
        kmi.chat(20)
        kmi.stop()
        proven(kmi, 40)


class Faults:
    """Faults in the system calls of a running process, for as long as this is open."""

    def __init__(self, kmi, calls, fault):
        need("strace")
        around = ["strace", "-f", "-p", str(kmi.pid), "-o", "/dev/null", "-e", f"trace={calls}", "-e", f"inject={calls}:{fault}"]
        self.strace = subprocess.Popen(around, stderr=subprocess.PIPE, text=True)
        started.append(self.strace)
        attached = self.strace.stderr.readline()
        assert "attached" in attached, attached

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.strace.terminate()
        self.strace.wait(PATIENCE)


def refused_writes(scratch):
    """Requests go on while every write fails with ENOSPC or EIO for a time; no line is lost."""
    kmi = Kmi(scratch / "home", Upstream().url)
    assert kmi.start()
    for error in ["ENOSPC", "EIO"]:
        with Faults(kmi, "pwrite64", f"error={error}"):
            assert set(kmi.chat(50)) == {200}
            eventually("it is told", lambda: kmi.status()["trace_failure"])
        # It goes on by itself, without another request.
        eventually("lines are written again", lambda: kmi.status()["trace_failure"] is None)
        kmi.chat(20)
    kmi.stop()
    proven(kmi, 140)


def refused_syncs(scratch):
    """Requests go on while every sync fails with EIO for a time; no line is lost."""
    kmi = Kmi(scratch / "home", Upstream().url)
    assert kmi.start()
    client, turns = kmi.client(), 0
    with Faults(kmi, "fdatasync,fsync", "error=EIO"):
        end = time.monotonic() + 3
        while time.monotonic() < end or kmi.status()["trace_failure"] is None:
            assert client.chat()[0] == 200
            turns += 1
            time.sleep(0.02)
    eventually("lines are written again", lambda: kmi.status()["trace_failure"] is None)
    kmi.stop()
    proven(kmi, turns)


def killed_at_the_nth_write(scratch):
    """SIGKILL in place of a write: whatever the write was, the next start makes it good."""
    kmi = Kmi(scratch / "home", Upstream().url)
    random.seed(7)
    given_out = 0
    for at in [1, 2, 3, *random.sample(range(4, 40), 5)]:
        assert kmi.start(), kmi.said()
        client = kmi.client()
        with Faults(kmi, "pwrite64", f"signal=KILL:when={at}"):
            try:
                while True:
                    given_out = max(given_out, int(client.chat()[1]))
            except (OSError, http.client.HTTPException):
                kmi.process.wait(PATIENCE)
    assert kmi.start(), kmi.said()
    assert int(kmi.client().chat()[1]) > given_out, "a turn number was given out again"
    kmi.chat(30)
    kmi.stop()
    report = kmi.verify()
    proven(kmi, report["turns"] + report["gap_turns"], gaps=True)


# --- what lies there ------------------------------------------------------------------------------


def torn_log(scratch):
    """A write-ahead log that is cut short or scribbled over: what it lost is declared as gaps."""
    for name, tear in [("cut", lambda data: data[: len(data) * 2 // 3 - 7]), ("scribbled", scribble)]:
        place = scratch / name
        place.mkdir()
        kmi = Kmi(place / "home", Upstream().url)
        assert kmi.start()
        with held_back(kmi):
            kmi.chat(300)
            kmi.kill()
            log = kmi.home / "state" / "ledger.db-wal"
            data = log.read_bytes()
        log.write_bytes(tear(data))
        assert kmi.start(), kmi.said()
        kmi.chat(30)
        kmi.stop()
        proven(kmi, 330, gaps=True)


@contextlib.contextmanager
def held_back(kmi):
    """Keeps what is written in the log: a reader still looks at the database as it is now."""
    path = kmi.home / "state" / "ledger.db"
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
        yield


def scribble(data):
    middle = len(data) // 2
    return data[:middle] + bytes(200) + data[middle + 200 :]


def foreign_or_newer_database(scratch):
    """Another program's database, and one of a newer kmi, are refused and left as they are."""
    kmi = Kmi(scratch / "home", Upstream().url)
    assert kmi.start()
    kmi.chat(20)
    kmi.stop()
    path = kmi.home / "state" / "ledger.db"
    for pragma, said in [("user_version = 99", "update kmi"), ("application_id = 7", "another program's database")]:
        with sqlite3.connect(path) as database:
            name, value = pragma.split(" = ")
            before = database.execute(f"PRAGMA {name}").fetchone()[0]
            database.execute(f"PRAGMA {pragma}")
        database.close()
        content = path.read_bytes()
        for command in ["serve", "status", "verify"]:
            told = kmi.run(command, code=1)
            assert said in told and len(told.splitlines()) == 2, told
        assert path.read_bytes() == content
        with sqlite3.connect(path) as database:
            database.execute(f"PRAGMA {name} = {before}")
        database.close()
    assert kmi.start()
    kmi.chat(20)
    kmi.stop()
    proven(kmi, 40)


def a_damaged_database(scratch):
    """A database that is damaged in its middle: never a panic, never a wrong number."""
    kmi = Kmi(scratch / "home", Upstream().url)
    assert kmi.start()
    kmi.chat(400)
    kmi.stop()
    path = kmi.home / "state" / "ledger.db"
    content = path.read_bytes()
    for at in range(0, len(content), len(content) // 12):
        path.write_bytes(content[:at] + b"\xff" * 300 + content[at + 300 :])
        done = subprocess.run(kmi.command("verify", "--json"), capture_output=True, text=True, timeout=PATIENCE)
        assert "a bug in kmi" not in done.stderr and done.returncode in (0, 1), f"{at}: {done.stderr}"
        if done.returncode == 0:
            # The damage hit no line: then every line is still proven.
            assert json.loads(done.stdout)["turns"] == 400
    path.write_bytes(content)
    proven(kmi, 400)


# --- others ---------------------------------------------------------------------------------------


def two_proxies_on_one_home(scratch):
    """Of many that start at once exactly one serves; the others name it and leave."""
    kmi = Kmi(scratch / "home", Upstream().url)
    starts = [
        subprocess.Popen(kmi.command("serve"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(6)
    ]
    started.extend(starts)
    eventually("five have left", lambda: sum(start.poll() is not None for start in starts) == 5)
    (first,) = [start for start in starts if start.poll() is None]
    for start in starts:
        if start is not first:
            said = start.stderr.read()
            assert start.returncode == 1 and f"another kmi (process {first.pid}) serves" in said, said
    kmi.address = first.stdout.readline().split("/")[2]
    kmi.token = (kmi.home / "state" / "token").read_text().strip()
    assert set(kmi.chat(30)) == {200}
    kmi.run("stop")
    assert first.wait(PATIENCE) == 0
    proven(kmi, 30)


def no_descriptors_left(scratch):
    """Connections that find no file descriptor wait; when there are some again all goes on.

    No key is lost because no file could be opened, and one that came meanwhile is used."""
    kmi = Kmi(scratch / "home", Upstream().url)
    assert kmi.start()
    kmi.chat(10)
    used = len(os.listdir(f"/proc/{kmi.pid}/fd"))
    hard = resource.prlimit(kmi.pid, resource.RLIMIT_NOFILE)[1]
    resource.prlimit(kmi.pid, resource.RLIMIT_NOFILE, (used + 10, hard))
    clients = [kmi.client() for _ in range(40)]
    for client in clients:
        client.connection.connect()
    files = Path(f"/proc/{kmi.pid}/fd")
    eventually("there are none left", lambda: len(os.listdir(files)) == used + 10)
    # The last one waits for a descriptor, and has its answer when there is one again.
    *others, last = clients
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(last.chat()[0]))
    waiting.start()
    kmi.add_key("late", "sk-running-key-late")
    # Longer than the watcher of the keys takes to look and to see that they have changed.
    time.sleep(3)
    assert answers == [], "there was a descriptor"
    for client in others:
        client.connection.close()
    waiting.join(PATIENCE)
    assert answers == [200], answers
    assert set(kmi.chat(20)) == {200}
    eventually("the new key is there", lambda: len(kmi.status()["keys"]) == 4)
    assert set(kmi.chat(8)) == {200}
    kmi.stop()
    report = kmi.verify()
    assert report["turns"] == 39 and report["violations"] == 0 and report["open"] == 0, report


def jumping_clock(scratch):
    """The clock jumps hours back and weeks ahead: requests go on, lines never go back in time."""
    need("faketime")
    clock = scratch / "clock"
    clock.write_text("+0")
    library = subprocess.run(["faketime", "-f", "+0", "printenv", "LD_PRELOAD"], capture_output=True, text=True, check=True)
    env = {
        "LD_PRELOAD": library.stdout.strip(),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    limited = []

    def answer(handler, body):
        if handler.headers["Authorization"].endswith("0001") and not limited and not handler.path.endswith("/usages"):
            limited.append(True)
            return handler.reply(429, {"error": {"message": "slow down", "type": "rate_limit_reached_error"}}, Retry_After="2")
        return Upstream.good(handler, body)

    kmi = Kmi(scratch / "home", Upstream(answer).url)
    assert kmi.start(env=env)
    # A block that ends in two seconds does not last two hours longer.
    assert set(kmi.chat(3)) == {200}
    assert kmi.status()["keys"][0]["state"] == "blocked"
    clock.write_text("-2h")
    eventually("the key serves again", lambda: kmi.chat() and kmi.status()["keys"][0]["state"] == "healthy", patience=5)
    before = kmi.verify()["turns"]
    for jump in ["+0", "-2h", "+40d", "-1d", "+0"]:
        clock.write_text(jump)
        assert set(kmi.chat(20)) == {200}, jump
    kmi.stop()
    # A start long before the last line was written.
    clock.write_text("-3d")
    assert kmi.start(env=env)
    assert set(kmi.chat(20)) == {200}
    kmi.stop()
    report = kmi.verify()
    assert report["turns"] == before + 120 and report["violations"] == 0 and report["open"] == 0, report
    assert report["chain"]["ok"] and report["gaps"] == [], report
    # The stored order holds for a search by time, whatever the clock said.
    database = sqlite3.connect(kmi.home / "state" / "ledger.db")
    stored = [row[0] for row in database.execute("SELECT ts FROM lines ORDER BY seq")]
    database.close()
    assert stored == sorted(stored)


CHECKS = [
    full_disk,
    full_disk_when_the_trace_is_required,
    full_disk_and_then_killed,
    full_disk_at_the_start,
    read_only_state_at_the_start,
    refused_writes,
    refused_syncs,
    killed_at_the_nth_write,
    torn_log,
    foreign_or_newer_database,
    a_damaged_database,
    two_proxies_on_one_home,
    no_descriptors_left,
    jumping_clock,
]

if __name__ == "__main__":
    run_checks(CHECKS)
