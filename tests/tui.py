#!/usr/bin/env python3
"""Tries `kmi trace` and `kmi top` in tmux, as a person would use them.

    tests/tui.py             # from anywhere; about a minute
    tests/tui.py --picture   # prints the screens that README shows, out of `kmi demo`, instead

One screen says who served last, who is blocked until when, and whether the rotation is proven; keys do
what the help says; hostile names stay inert; the terminal is given back however the program ends; and
10,000 lines a second leave it responsive and below one core.

Needs tmux and Python >= 3.11. $KMI names the kmi binary; without it target/debug/kmi is built.
"""

import argparse
import contextlib
import fcntl
import json
import multiprocessing
import os
import pty
import re
import select
import shlex
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

sys.dont_write_bytecode = True
from running import PATIENCE, ROOT, TARGET, binary, chosen, in_time, run_check  # noqa: E402
from watched import ODD, Demo, Kmi, Server, upstream  # noqa: E402

SMALL, LARGE = (80, 24), (200, 60)
# What ends with Ctrl-C or SIGTERM may say so in its exit code.
INTERRUPTED, TERMINATED = ("0", "130"), ("0", "143")


class Terminal:
    """A shell in tmux; `kmi` in it is the one that is tried, on its home."""

    def __init__(self, kmi, home, size=SMALL, **env):
        self.name = f"kmi-tui-{os.getpid()}-{id(self):x}"
        width, height = map(str, size)
        env = {"KMI_HOME": str(home), "TERM": "tmux-256color", **env}
        options = [it for name, value in env.items() for it in ("-e", f"{name}={value}")]
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", width, "-y", height, *options, "bash --norc --noprofile")
        self.do(f"PS1='shell$ '; kmi() {{ {shlex.quote(str(kmi))} \"$@\"; }}; clear")
        self.until("the shell", lambda screen: screen.strip() == "shell$")

    def tmux(self, *args):
        # A server of its own, so that nobody's settings count.
        done = subprocess.run(["tmux", "-L", self.name, *args], capture_output=True, text=True)
        assert done.returncode == 0, f"tmux {args}: {done.stderr}"
        return done.stdout

    def asks(self, name):
        """One of tmux's own variables."""
        return self.tmux("display-message", "-p", f"#{{{name}}}").strip()

    def press(self, *keys):
        self.tmux("send-keys", *keys)

    def type(self, text):
        self.tmux("send-keys", "-l", text)

    def do(self, command):
        self.type(command)
        self.press("Enter")

    def screen(self, *options):
        return self.tmux("capture-pane", "-p", *options)

    def size(self, width, height):
        self.tmux("resize-window", "-x", str(width), "-y", str(height))

    def until(self, what, condition):
        deadline = time.monotonic() + PATIENCE
        while not (value := condition(self.screen())):
            assert time.monotonic() < deadline, f"waited for: {what}\n{self.screen()}"
            time.sleep(0.05)
        return value

    def shows(self, *parts):
        """Waits for a screen with all of it."""
        return self.until(" and ".join(parts), lambda screen: all(part in screen for part in parts) and screen)

    def hides(self, part):
        self.until(f"no {part}", lambda screen: part not in screen)

    def process(self):
        """The process that the shell has started."""
        found = subprocess.run(["pgrep", "-P", self.asks("pane_pid")], capture_output=True, text=True).stdout
        return int(found.split()[0])

    def ended(self, codes):
        """The shell is back, the program said one of these codes, and the terminal is as it was."""
        # What is typed before it has ended is the program's.
        self.until("the shell", lambda screen: screen.rstrip().endswith("shell$") and self.asks("alternate_on") == "0")
        self.do("echo code=$? $(stty -a | grep -o -e '-\\?icanon' -e '-\\?echo\\b' | tr '\\n' ' ')")
        told = self.until("the exit code", lambda screen: re.search(r"code=(\d+) (.*)", screen))
        assert told[1] in codes, f"{told[0]}\n{self.screen()}"
        assert told[2].split() == ["icanon", "echo"], told[0]
        self.do("clear")
        self.hides("code=")

    def at_the_trace(self):
        """Some check before may have left something else."""
        if self.asks("alternate_on") == "0":
            self.do("kmi trace")
        self.shows("requests  live", "req/s")

    def at_the_shell(self):
        if self.asks("alternate_on") == "1":
            self.press("q")
            self.ended(["0"])

    def close(self):
        subprocess.run(["tmux", "-L", self.name, "kill-server"], capture_output=True)


def lines(screen, *parts):
    return [line for line in screen.splitlines() if all(part in line for part in parts)]


def one_screen_answers_three_questions(demo, terminal):
    terminal.at_the_trace()
    for size in (SMALL, LARGE, SMALL):
        terminal.size(*size)
        parts = ["ROTATION PROVEN", "confidence", "blocked, ", "req/s"]
        screen = terminal.until("all the answers", lambda it: lines(it, " last ", " → ") and all(part in it for part in parts) and it)
        assert max(map(len, screen.splitlines())) <= size[0]
        last = lines(screen, " last ", "→")[0]
        assert re.search(r"turn \d+ → \w+ sk-…\d{4}  \w+ \d{3} in ", last), last
        blocked = [line for line in lines(screen, "blocked") if re.search(r"sk-…\d{4}.* blocked, back in \d+\w+: \w+", line)]
        assert blocked, screen
    terminal.size(*LARGE)
    header = lines(terminal.shows("session"), "ttft")[0]
    for column in ["time", "turn", "key", "masked", "try", "outcome", "ttft", "all", "in", "out", "hit", "endpoint",
                   "model", "request", "session"]:
        assert column in header, header
    rows = terminal.until("an answer with tokens", lambda screen: lines(screen, "demo-1", "kimi-for-coding", "ok 200"))
    assert re.search(r"\d\d:\d\d:\d\d\.\d{3}\s+\d+ \w+\s+sk-…\d{4}\s+ok 200\s", rows[-1]), rows[-1]


def failovers_are_joined(demo, terminal):
    terminal.at_the_trace()
    # Where requests have a column.
    terminal.size(*LARGE)
    joined = terminal.until("two attempts", lambda screen: re.search(r"╭.*\n.*╰.*", screen))[0]
    attempts = joined.splitlines()
    assert "ok" not in attempts[0].split()[4:6], joined
    first, second = [re.search(r"(?:…|\breq)\S*-[0-9a-f]+", attempt) for attempt in attempts]
    assert first and second and first[0] == second[0], joined


def requests_are_filtered_paused_and_scrolled(demo, terminal):
    terminal.at_the_trace()
    terminal.press("/")
    terminal.type("key:alpha out")
    terminal.shows("filter: key:alpha out")
    terminal.type("come:ok")
    terminal.press("Enter")
    screen = terminal.shows("key:alpha outcome:ok")
    rows = screen.split("endpoint", 1)[1].splitlines()[1:-2]
    assert rows and all("alpha" in row and "ok" in row for row in rows if row.strip()), screen
    terminal.press("c")
    terminal.hides("outcome:ok")
    terminal.press("Space")
    before = terminal.shows("paused, ")
    terminal.until("what waits", lambda screen: re.search(r"paused, [1-9]\d* new lines", screen))
    last = [row for row in before.splitlines() if re.match(r"[ ╭├╰] \d\d:\d\d:", row)][-1]
    assert last in terminal.screen(), "the list stands still"
    terminal.press("Space")
    terminal.shows("requests  live")
    for _ in range(60):
        terminal.press("Home")
        if "epoch 1 of" in terminal.screen():
            break
        time.sleep(0.1)
    terminal.shows("epoch 1 of")
    terminal.press("End")
    terminal.shows("requests  live ")


def a_request_says_why_it_had_its_key(demo, terminal):
    terminal.at_the_trace()
    terminal.press("Up", "Enter")
    terminal.shows("Why this key", "request", "latency")
    screen = terminal.until("the reason", lambda screen: re.search(r"(turn \d+|no turn): \w+", screen) and screen)
    assert "replay: the rule leads to this key" in screen or "no turn" in screen, screen
    terminal.press("Escape")
    terminal.hides("Why this key")
    terminal.press("End")


def what_is_shown_is_exported(demo, terminal):
    with tempfile.TemporaryDirectory(prefix="kmi-tui-") as place:
        terminal.at_the_shell()
        terminal.do(f"cd {place}; kmi trace")
        terminal.shows("ROTATION PROVEN", "ok 200")
        terminal.press("e")
        terminal.shows("lines written to", "kmi-trace-")
        [export] = Path(place).glob("kmi-trace-*.jsonl")
        # A stretch out of the middle of the traffic has open turns, but no wrong ones.
        command = [demo.kmi, "--home", demo.home, "verify", "--json", str(export)]
        proof = json.loads(subprocess.run(command, capture_output=True, text=True).stdout)
        assert proof["chain"]["ok"] and proof["violations"] == 0 and proof["turns"] >= 59, proof
        export.unlink()
        terminal.press("/")
        terminal.type("key:alpha")
        terminal.press("Enter")
        terminal.shows("lines: key:alpha")
        terminal.press("e")
        terminal.until("the file", lambda _: list(Path(place).glob("kmi-trace-*.jsonl")))
        [export] = Path(place).glob("kmi-trace-*.jsonl")
        terminal.until("its lines", lambda _: export.read_text().count("\n") > 1)
        head, *rest = map(json.loads, export.read_text().splitlines())
        assert head["type"] == "filtered" and {it["label"] for it in rest} == {"alpha"}, head
        terminal.press("c")


def keys_are_acted_on_after_a_question(demo, terminal):
    def key(label):
        status = json.loads(demo.run("status", "--json"))
        return status, next(it for it in status["keys"] if it["label"] == label)

    def answer(press, question, yes="y"):
        terminal.press(press)
        terminal.shows(question)
        terminal.press(yes)
        terminal.hides(question)

    def reaches(what, condition):
        terminal.until(what, lambda _: condition(*key("bravo")))

    terminal.at_the_trace()
    terminal.press("Tab")
    terminal.shows("keys usable", "selected key", "state", "account", "5h quota", "7d quota", "anew in")
    terminal.press("Home", "Down")
    answer("d", "Disable bravo?", "n")
    assert key("bravo")[1]["state"] == "healthy"
    answer("d", "Disable bravo?")
    reaches("bravo is off", lambda _, bravo: bravo["state"] == "disabled")
    terminal.until("its line", lambda screen: lines(screen, "bravo", "disabled"))
    answer("e", "Enable bravo?")
    reaches("bravo is on", lambda _, bravo: bravo["state"] == "healthy")
    answer("t", "Test bravo?")
    terminal.shows("bravo works")
    answer("r", "Rotate to bravo?")
    reaches("bravo serves", lambda status, _: (status["mode"], status["active_key"]) == ("manual", "bravo"))
    terminal.shows("manual: bravo serves")
    answer("m", "Switch automatic rotation on?", "Enter")
    terminal.shows("auto (round-robin)")
    assert key("bravo")[0]["mode"] == "auto"
    answer("m", "Switch automatic rotation off?", "Escape")
    terminal.shows("auto (round-robin)")

    def blocked(screen):
        return lines(screen, "charlie", "blocked")

    terminal.press("Home", "Down", "Down")
    terminal.until("charlie is blocked", blocked)
    first = blocked(terminal.screen())
    assert re.search(r"blocked\s+(too fast|rate limited)\s+\d+s", first[0]), first
    terminal.until("the countdown", lambda screen: blocked(screen) != first)
    terminal.until("charlie is blocked", blocked)
    answer("x", "End what blocks charlie?")
    terminal.shows("what blocked charlie is over")
    terminal.press("Tab")
    terminal.shows("requests  live")


def it_ends_as_promised(demo, terminal):
    terminal.at_the_trace()
    terminal.press("?")
    terminal.shows("? closes", "only its outcome", "auto mode on or off")
    terminal.press("?")
    terminal.hides("? closes")
    terminal.press("q")
    terminal.ended(["0"])
    for command in ("kmi trace", "kmi top"):
        terminal.do(command)
        terminal.shows("kmi  auto")
        terminal.press("C-c")
        terminal.ended(INTERRUPTED)
        for number, codes in [(signal.SIGTERM, TERMINATED), (signal.SIGINT, INTERRUPTED), (signal.SIGHUP, ("0", "129"))]:
            terminal.do(command)
            terminal.shows("kmi  auto")
            os.kill(terminal.process(), number)
            terminal.ended(codes)


def a_terminal_that_hangs_up_ends_it(demo, _):
    for command in ("kmi trace", "kmi top"):
        window = Terminal(demo.kmi, demo.home)
        window.do(command)
        window.shows("kmi  auto")
        pid = window.process()
        window.close()
        deadline = time.monotonic() + PATIENCE
        while Path(f"/proc/{pid}").exists():
            assert time.monotonic() < deadline, f"{command} goes on without a terminal"
            time.sleep(0.05)


def it_can_be_stopped_and_goes_on(demo, terminal):
    terminal.at_the_shell()
    for stop in (lambda: terminal.press("C-z"), lambda: os.kill(terminal.process(), signal.SIGTSTP)):
        terminal.do("kmi trace")
        terminal.shows("kmi  auto")
        stop()
        terminal.shows("Stopped")
        assert terminal.asks("alternate_on") == "0"
        terminal.do("stty -a | grep -o '.icanon'; echo in the meantime")
        assert "-icanon" not in terminal.shows("in the meantime")
        terminal.do("fg")
        screen = terminal.shows("kmi  auto", "requests  live")
        assert "meantime" not in screen and "Stopped" not in screen, screen
        terminal.press("q")
        terminal.ended(["0"])


def a_panic_gives_the_terminal_back(demo, terminal):
    example = TARGET / "debug" / "examples" / "panics"
    if not example.exists():
        subprocess.run(["cargo", "build", "--quiet", "--locked", "-p", "kmi-tui", "--example", "panics"], cwd=ROOT, check=True)
    terminal.at_the_shell()
    terminal.do(f"RUST_BACKTRACE=0 {shlex.quote(str(example))}")
    terminal.shows("q quit")
    terminal.press("g")
    terminal.shows("on purpose")
    terminal.ended(["101"])


def without_a_terminal_or_colours_it_obeys(demo, terminal):
    terminal.at_the_shell()
    terminal.do("kmi trace | head -n 3 | cut -c 1-10; echo done")
    assert len(lines(terminal.shows("\ndone"), '{"type":"a')) + len(lines(terminal.screen(), '{"type":"h')) == 3
    terminal.do("clear; kmi top | head -n 1")
    terminal.shows("mode   auto")
    terminal.do("clear; NO_COLOR=1 kmi trace")
    terminal.shows("ROTATION PROVEN")
    colours = re.findall(r"\x1b\[[0-9;]*m", terminal.screen("-e"))
    assert colours and not any(re.search(r"[\[;](3[0-8]|4[0-8]|9\d|10\d)\b", it) for it in colours), set(colours)
    terminal.press("q")
    terminal.ended(["0"])
    terminal.do("kmi trace")
    terminal.shows("ROTATION PROVEN")
    assert "\x1b[38;5;" in terminal.screen("-e")
    terminal.press("q")
    terminal.ended(["0"])


CHECKS = [
    one_screen_answers_three_questions,
    failovers_are_joined,
    requests_are_filtered_paused_and_scrolled,
    a_request_says_why_it_had_its_key,
    what_is_shown_is_exported,
    keys_are_acted_on_after_a_question,
    it_ends_as_promised,
    a_terminal_that_hangs_up_ends_it,
    it_can_be_stopped_and_goes_on,
    a_panic_gives_the_terminal_back,
    without_a_terminal_or_colours_it_obeys,
]


def hostile_names_are_visible_and_inert(binary):
    model = Server(upstream)
    with tempfile.TemporaryDirectory(prefix="kmi-tui-") as scratch:
        kmi = Kmi(binary, Path(scratch) / "home", model.port)
        terminal = Terminal(binary, kmi.home, LARGE)
        try:
            title = "\x1b]0;owned\x07"
            terminal.do("kmi trace")
            terminal.shows("requests  live")
            for name in (ODD + title, title + "x" * 10_000, "\x1b[2J\x1b[31m", "日本語\u0301\u200f"):
                assert kmi.chat(name, name) == 200
            assert kmi.ask(f"/kmi-rotor/v1/{'p' * 10_000}", b"\xff\xfe\x1b]0;owned\x07")[0] == 200
            terminal.until("all of them", lambda screen: len(lines(screen, "ok 200")) >= 6)
            screen = terminal.shows("bell\\u{7} c1\\u{9b}", "\\u{1b}[2J", "日本語", "\\u{200f}", "pppp")
            assert max(map(len, screen.splitlines())) <= LARGE[0]
            for _ in range(4):
                terminal.press("Up", "Enter")
                terminal.shows("Why this key")
                terminal.press("Escape")
                terminal.hides("Why this key")
            terminal.press("Tab")
            terminal.shows("<b>bravo</b>", "charlie & co")
            assert "owned" not in terminal.asks("pane_title")
            kmi.stop()
            terminal.shows("NO PROXY RUNS")
            kmi.start()
            terminal.hides("NO PROXY RUNS")
            terminal.press("q")
            terminal.ended(["0"])
        finally:
            terminal.close()
            kmi.stop()
            model.shutdown()


def flood(listener, sent, sample, picture, rate):
    """Answers a live view as a very busy proxy would: a picture, then so many lines a second."""
    while True:
        caller, _ = listener.accept()
        if '"feed"' in caller.makefile().readline():
            break
        caller.close()
    # Everything but the numbers stays the same, so that Python keeps up.
    text = json.dumps(sample | {"seq": "SEQ", "turn": "SEQ", "request_id": "r-SEQ", "ts": "TS"})
    text = text.replace('"SEQ"', "SEQ") + "\n"
    piece, began, step = rate // 20, time.monotonic(), 0
    try:
        caller.sendall(picture.encode())
        while True:
            now = text.replace("TS", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
            first = sent.value + 1
            caller.sendall("".join(now.replace("SEQ", str(first + n)) for n in range(piece)).encode())
            sent.value, step = first + piece - 1, step + 1
            time.sleep(max(0, began + step / 20 - time.monotonic()))
    except OSError:
        return


def cpu(pid):
    """The seconds of a core that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def a_flood_leaves_it_responsive(binary, sample, picture, seconds=6):
    """Without tmux, which would be the slower one: what the view writes is read as it comes."""
    # What is built for debugging is several times slower, and that is no fault of it.
    rate = 10_000 if "release" in Path(binary).parts else 2_000
    with tempfile.TemporaryDirectory(prefix="kmi-tui-") as home, socket.socket(socket.AF_UNIX) as listener:
        for folder in ("run", "state"):
            Path(home, folder).mkdir(mode=0o700)
        listener.bind(f"{home}/run/kmi.sock")
        listener.listen()
        sent = multiprocessing.Value("q", 0)
        sender = multiprocessing.Process(target=flood, args=(listener, sent, sample, picture, rate), daemon=True)
        sender.start()
        pid, screen = pty.fork()
        if pid == 0:
            os.environ["TERM"] = "xterm-256color"
            os.execv(binary, [binary, "--home", home, "trace"])
        fcntl.ioctl(screen, termios.TIOCSWINSZ, struct.pack("HHHH", LARGE[1], LARGE[0], 0, 0))

        def read_until(word):
            seen, deadline = b"", time.monotonic() + PATIENCE
            while word not in seen:
                left = max(0, deadline - time.monotonic())
                assert select.select([screen], [], [], left)[0], f"waited for {word}"
                seen = seen[-len(word):] + os.read(screen, 1 << 16)

        try:
            read_until(b"req/s")
            used, lines_before, began = cpu(pid), sent.value, time.monotonic()
            answers = []
            while time.monotonic() < began + seconds:
                for word in (b"paused", b"live"):
                    start = time.monotonic()
                    os.write(screen, b"p")
                    read_until(word)
                    answers.append((time.monotonic() - start) * 1000)
            took = time.monotonic() - began
            share, got = (cpu(pid) - used) / took, (sent.value - lines_before) / took
            answers.sort()
            middle, late, worst = answers[len(answers) // 2], answers[len(answers) * 95 // 100], answers[-1]
            print(f"    {got:.0f} lines/s: {share:.2f} of a core; {len(answers)} keys were answered "
                  f"within {middle:.0f} ms (median), {late:.0f} ms (95 %), {worst:.0f} ms (worst)")
            assert got > 0.9 * rate, "it holds up whoever sends"
            assert share < 1, share
            assert late < 200, answers
            os.write(screen, b"q")
            # What it still draws has to go somewhere; reading fails once it has closed its end.
            with contextlib.suppress(OSError):
                while select.select([screen], [], [], PATIENCE)[0] and os.read(screen, 1 << 16):
                    pass
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        finally:
            sender.terminate()
            os.close(screen)


def a_busy_moment(demo):
    """A trace line and a picture out of the demonstration."""
    sample = next(it for it in map(json.loads, reversed(demo.run("trace", "export").splitlines()))
                  if it["type"] == "attempt" and it["outcome"] == "ok")
    with socket.socket(socket.AF_UNIX) as feed:
        feed.connect(str(Path(demo.home) / "run" / "kmi.sock"))
        feed.sendall(b'{"do":"feed","after":null}\n')
        picture = next(it for it in feed.makefile() if it.startswith('{"type":"snapshot"'))
    return sample, picture


def check(only):
    kmi, alone = binary(), [hostile_names_are_visible_and_inert, a_flood_leaves_it_responsive]
    checks = chosen([*CHECKS, *alone], only)
    with in_time():
        demo = Demo(kmi, 200)
    terminal = None
    try:
        with in_time():
            terminal = Terminal(kmi, demo.home)
        for check in CHECKS:
            if check in checks:
                run_check(check, demo, terminal)
        with in_time():
            moment = a_busy_moment(demo)
    finally:
        if terminal:
            terminal.close()
        demo.stop()
    if hostile_names_are_visible_and_inert in checks:
        run_check(hostile_names_are_visible_and_inert, kmi)
    if a_flood_leaves_it_responsive in checks:
        run_check(a_flood_leaves_it_responsive, kmi, *moment)


def picture():
    """What README shows."""
    kmi = binary()
    demo, terminal = Demo(kmi, 400), None
    try:
        for command, size, part in [("kmi trace", (120, 32), "ROTATION PROVEN"), ("kmi top", (120, 22), "keys usable")]:
            terminal = Terminal(kmi, demo.home, size, NO_COLOR="1")
            terminal.do(command)
            terminal.shows(part)
            time.sleep(30)
            print(f"$ {command}\n{terminal.screen().rstrip()}\n")
            terminal.close()
    finally:
        if terminal:
            terminal.close()
        demo.stop()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--picture", action="store_true", help="print README's screens, check nothing")
    arguments.add_argument("checks", nargs="*", help="only these checks")
    given = arguments.parse_args()
    picture() if given.picture else check(given.checks)
