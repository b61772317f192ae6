#!/usr/bin/env python3
"""What others see of a running kmi: another user of the machine, and whoever reads what it says.

    tests/outsiders.py           # from anywhere, as root; some seconds

Another user reads no file of a home, reaches no socket and looks into no process. No key is in
anything that kmi writes, prints, answers or leaves behind when it crashes, in whatever form, also
when a provider echoes it and when everything is asked for with `-vv`.

Needs Python >= 3.11, Linux, and root for the other users; without it those checks are skipped
loudly. $KMI names the kmi binary.
"""

import base64
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import urllib.parse
from pathlib import Path

from running import PATIENCE, Kmi, Skipped, Upstream, run_checks

#: The user that kmi runs as, and another one.
OWNER, OTHER = 61234, 65534
CANARIES = [
    "sk-canary-aaaaaaaaaaaaaaaaaaaaaaaaaaaa0001",
    "sk-kimi-canary/bbbbbbbbbb+bbbbbbbbbbbb=0002",
    "canary-without-prefix-ccccccccccccccc-0003",
]


def need_root():
    if os.geteuid() != 0:
        raise Skipped("not root")


def as_user(user, *command, **options):
    command = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *command]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, **options)


@contextlib.contextmanager
def user(number):
    """This program as another user: that one may not be able to start the Python it runs in."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(number)
    os.seteuid(number)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def asked(path):
    with socket.socket(socket.AF_UNIX) as stream:
        stream.settimeout(PATIENCE)
        stream.connect(str(path))
        stream.sendall(b'{"do":"status"}\n')
        return stream.recv(99)


def owned(scratch):
    """A kmi that runs as a user of its own, below a directory that everybody may enter."""
    need_root()
    scratch.chmod(0o755)
    kmi = Kmi(scratch / "home", Upstream().url, owner=OWNER)
    # Whatever the user's umask is.
    os.umask(0)
    try:
        assert kmi.start(), kmi.said()
    finally:
        os.umask(0o022)
    kmi.chat(5)
    return kmi


def another_user_reads_no_file(scratch):
    kmi = owned(scratch)
    paths = [kmi.home, *kmi.home.rglob("*")]
    assert {path.name for path in paths} >= {"token", "secret", "ledger.db", "kmi.sock", "k1.key", "kmi.config.toml"}
    # The directories above are opened on purpose: every one of them must hold by itself.
    for path in paths:
        mode = path.lstat().st_mode & 0o777
        if path.name not in ("kmi.config.toml",):
            assert mode & 0o077 == 0, f"{path}: {mode:o}"
    assert as_user(OTHER, "ls", str(kmi.home)).returncode != 0
    # What the user wrote may be readable by itself; the directory above it is not to be entered.
    assert as_user(OTHER, "cat", str(kmi.home / "kmi.config.toml")).returncode != 0
    for directory in [path for path in paths if path.is_dir()]:
        directory.chmod(0o755)
    for path in paths:
        if path.is_file() and path.name != "kmi.config.toml":
            done = as_user(OTHER, "cat", str(path))
            assert done.returncode != 0 and done.stdout == "", path
            assert as_user(OTHER, "sh", "-c", f"echo x >> '{path}'").returncode != 0, path
    kmi.stop()


def another_user_reaches_no_socket(scratch):
    kmi = owned(scratch)
    path = kmi.home / "run" / "kmi.sock"
    for directory in [kmi.home, kmi.home / "run"]:
        directory.chmod(0o755)
    with user(OTHER):
        try:
            raise AssertionError(f"another user was answered: {asked(path)}")
        except PermissionError:
            pass
    # With the permissions gone too, kmi itself looks who calls: that is no other user, not even root.
    path.chmod(0o777)
    for number in [OTHER, 0]:
        with user(number):
            try:
                assert asked(path) == b"", number
            except (BrokenPipeError, ConnectionResetError):
                pass
    # The port is open to every user of the machine, and useless without the token.
    with user(OTHER):
        connection = http.client.HTTPConnection(kmi.address, timeout=PATIENCE)
        connection.request("GET", "/kmi-rotor/v1/models")
        assert connection.getresponse().status == 401
        connection.close()
    kmi.stop()


def nobody_looks_into_the_process(scratch):
    kmi = owned(scratch)
    for user in [OTHER, OWNER]:
        for name in ["environ", "mem", "maps", "fd", "exe"]:
            # Opening is what is refused: the first byte of memory cannot be read by anybody.
            looks = "readlink" if name == "exe" else "ls" if name == "fd" else ": <"
            done = as_user(user, "sh", "-c", f"{looks} /proc/self/{name}")
            assert done.returncode == 0, f"the look itself fails: {user} {name}: {done}"
            done = as_user(user, "sh", "-c", f"{looks} /proc/{kmi.pid}/{name}")
            # Not even a program of the same user: whatever may look could take the keys.
            assert done.returncode != 0 and done.stdout == "", f"{user} {name}: {done}"
    assert kmi.chat() == [200], "there was a process to look into"
    limits = Path(f"/proc/{kmi.pid}/limits").read_text()
    core = next(line.split() for line in limits.splitlines() if line.startswith("Max core file size"))
    assert core[4] == "0", core
    arguments = Path(f"/proc/{kmi.pid}/cmdline").read_bytes()
    assert kmi.token.encode() not in arguments and not any(key.encode() in arguments for key in kmi.keys)
    kmi.stop()


def forms(key):
    """The ways in which a key could slip through, each at most as long as its first nine letters."""
    raw = key.encode()
    found = {raw[:9], raw[:9].hex().encode(), raw[:9].hex().upper().encode()}
    found |= {urllib.parse.quote(key, safe="").encode(), urllib.parse.quote_plus(key).lower().encode()}
    for before in range(3):
        whole = raw[(3 - before) % 3 :]
        found.add(base64.b64encode(whole[: min(15, len(whole) // 3 * 3)]))
    return found


class Seen:
    """All that was seen, with where."""

    def __init__(self):
        self.places = []
        self.forms = [form for key in CANARIES for form in forms(key)]

    def add(self, place, text):
        data = text.encode() if isinstance(text, str) else text
        self.places.append((place, data))

    def check(self):
        assert len(self.places) > 20, "too little was seen"
        leaks = [(place, form) for place, data in self.places for form in self.forms if form in data]
        assert leaks == [], leaks


def echo(handler, _):
    """A provider that repeats the key wherever it can."""
    key = handler.headers.get("Authorization", "").removeprefix("Bearer ")
    turn = handler.server.requests
    if handler.path.endswith("/usages"):
        return handler.reply(403, {"error": {"message": f"key {key} may not"}})
    if turn % 4 == 0:
        error = {"error": {"message": f"Incorrect API key provided: {key}.", "type": "invalid_authentication_error"}}
        return handler.reply(500, error, X_Key=key)
    if turn % 4 == 1:
        return handler.reply(400, {"error": {"message": f"bad request by {key}", "type": "invalid_request_error"}})
    return handler.reply(200, {"choices": [], "usage": {"prompt_tokens": 1}}, X_Request=key)


def no_key_is_in_anything_that_kmi_says(scratch):
    seen = Seen()
    kmi = Kmi(scratch / "home", Upstream(echo).url, keys=CANARIES)
    (kmi.home / "_auths" / "bad.toml").write_text(f'api_key = "{CANARIES[0]}"\nwieght = 1\n')
    (kmi.home / "_auths" / "bad.toml").chmod(0o600)
    work = scratch / "work"
    work.mkdir()
    trace = {"RUST_LOG": "trace", "RUST_BACKTRACE": "full"}
    assert kmi.start(args=("-vv", "serve"), env=trace, cwd=work), kmi.said()
    client = kmi.client()
    for number in range(24):
        body = '{"model":"kimi-for-coding","messages":[]}'
        status, headers, text = client.ask("POST", "/kmi-rotor/v1/chat/completions", body)
        seen.add(f"answer {number}", f"{status} {headers} {text}")
    for path in ["v1/models", "v1/usages", "metrics", "trace", "trace/lines", "healthz", "nothing"]:
        status, headers, text = client.ask("GET", f"/kmi-rotor/{path}")
        seen.add(path, f"{status} {headers} {text}")
    # The picture comes first, so a part of the stream is enough.
    with socket.create_connection(kmi.address.rsplit(":", 1)) as stream:
        head = f"GET /kmi-rotor/trace/feed HTTP/1.1\r\nHost: {kmi.address}\r\nAuthorization: Bearer {kmi.token}\r\n\r\n"
        stream.sendall(head.encode())
        stream.settimeout(2)
        feed = b""
        try:
            while data := stream.recv(1 << 16):
                feed += data
        except TimeoutError:
            pass
        assert b"k1" in feed, feed[:500]
        seen.add("feed", feed)
    commands = [
        ["status"], ["status", "--json"], ["keys", "list"], ["keys", "list", "--json"], ["trace", "export"],
        ["trace", "export", "--format", "csv"], ["trace", "show", "1"], ["usage"], ["usage", "--json"], ["verify"],
        ["config", "show", "--json"], ["config", "check"], ["env"], ["keys", "test"], ["reload"], ["rotate"], ["auto", "on"],
    ]
    for command in commands:
        done = subprocess.run(kmi.command("-vv", *command), capture_output=True, text=True, timeout=PATIENCE, cwd=work)
        seen.add(" ".join(command), done.stdout + done.stderr)
    arguments = Path(f"/proc/{kmi.pid}/cmdline").read_bytes()
    environment = Path(f"/proc/{kmi.pid}/environ").read_bytes()
    seen.add("arguments and environment", arguments + environment)
    # A crash: no core file, and nothing in what is said.
    os.kill(kmi.pid, signal.SIGABRT)
    kmi.process.wait(PATIENCE)
    assert list(work.iterdir()) == [], "a core file"
    seen.add("what it said", kmi.said())
    for path in kmi.home.rglob("*"):
        if path.is_file() and path.parent.name != "_auths":
            seen.add(str(path), path.read_bytes())
    seen.check()


def what_is_looked_for_is_found(_):
    """The search finds what it looks for, in each form."""
    key = CANARIES[1]
    for text in [key, key[:12], key.encode().hex(), urllib.parse.quote(key, safe=""), *[base64.b64encode(b"x" * n + key.encode()).decode() for n in range(3)]]:
        assert any(form in text.encode() for form in forms(key)), text
    assert not any(form in b"sk-\xe2\x80\xa60002 k-01234567" for form in forms(key))


CHECKS = [
    what_is_looked_for_is_found,
    no_key_is_in_anything_that_kmi_says,
    another_user_reads_no_file,
    another_user_reaches_no_socket,
    nobody_looks_into_the_process,
]

if __name__ == "__main__":
    run_checks(CHECKS)
