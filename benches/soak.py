#!/usr/bin/env python3
"""A long, full and uneasy day in ten minutes: does a running kmi grow, leak or forget?

    benches/soak.py                            # ten minutes at 2,000 requests a second
    benches/soak.py --seconds 60 --rate 500    # shorter, lighter

A constant load meets an upstream that refuses some of it, keys are switched off and on, clients go
away in the middle of slow answers, and the configuration is read again and again. Every few seconds
memory, file descriptors and threads are noted; at the end the whole trace is verified. Prints a
report, and fails when memory grows by more than 1 % a minute in the second half, descriptors are
left over, a request fails for another reason than the upstream's, or a turn is missing.

Needs Debian's nginx-light and hey, Python >= 3.11, and a kmi in $KMI (a release build, for figures
that mean something).
"""

import argparse
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from running import Kmi, eventually  # noqa: E402

KEYS = 7
STEP = 5
CONFIG = '[health]\n[trace]\nretention = "2GiB"\n'
NGINX = """
daemon off; worker_processes 1; error_log stderr error; pid {place}/pid;
worker_rlimit_nofile 16384; events {{ worker_connections 8192; }}
http {{
    access_log off; keepalive_requests 100000; default_type application/json;
    client_body_temp_path {place}/b; proxy_temp_path {place}/p; fastcgi_temp_path {place}/f;
    uwsgi_temp_path {place}/u; scgi_temp_path {place}/s;
    split_clients "$request_id" $fate {{ {fates} * good; }}
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location /v1/slow {{ alias {place}/slow; limit_rate 4k; }}
        location / {{
            if ($fate = limited) {{
                add_header Retry-After 1 always;
                return 429 '{{"error":{{"message":"slow down","type":"rate_limit_reached_error"}}}}';
            }}
            if ($fate = broken) {{ return 500 '{{"error":{{"message":"oops"}}}}'; }}
            return 200 '{{"choices":[],"usage":{{"prompt_tokens":120,"completion_tokens":30}}}}';
        }}
    }}
}}
"""


class Upstream:
    """nginx as a model; `fates`: which share of the requests it treats how."""

    def __init__(self, place, fates=""):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        (place / "slow").write_bytes(b"x" * 400_000)
        (place / "nginx.conf").write_text(NGINX.format(place=place, port=port, fates=fates))
        place.chmod(0o755)
        self.process = subprocess.Popen(["nginx", "-c", place / "nginx.conf", "-e", "stderr"], stderr=subprocess.DEVNULL)
        self.url = f"http://127.0.0.1:{port}/v1"
        eventually("the upstream listens", lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)


def vanish(kmi, until):
    """Clients that go away: before the head, in the middle of the body, in the middle of the answer."""
    count = 0
    while time.monotonic() < until:
        with socket.create_connection(kmi.address.rsplit(":", 1)) as stream:
            head = f"Host: {kmi.address}\r\nAuthorization: Bearer {kmi.token}\r\n"
            way = random.randrange(3)
            if way == 0:
                stream.sendall(b"POST /kmi-rotor/v1/chat/comp")
            elif way == 1:
                stream.sendall(f"POST /kmi-rotor/v1/chat/completions HTTP/1.1\r\n{head}Content-Length: 9999\r\n\r\nab".encode())
            else:
                stream.sendall(f"GET /kmi-rotor/v1/slow HTTP/1.1\r\n{head}\r\n".encode())
                stream.recv(2048)
            if random.random() < 0.5:
                # A reset instead of an orderly end.
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        count += 1
        time.sleep(0.05)
    return count


def flap(kmi, until):
    """Keys go and come, and the configuration is read again."""
    count = 0
    while time.monotonic() < until:
        label = f"k{random.randrange(1, KEYS + 1)}"
        for what in [("keys", "disable", label), ("reload",), ("keys", "enable", label)]:
            kmi.run(*what)
            time.sleep(0.7)
        count += 1
    return count


def look(kmi):
    status = Path(f"/proc/{kmi.pid}/status").read_text()
    number = lambda name: int(re.search(rf"^{name}:\s+(\d+)", status, re.M)[1])
    ticks = Path(f"/proc/{kmi.pid}/stat").read_text().rsplit(")", 1)[1].split()
    cpu = (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK")
    # Without mapped files: the turn page is one, and is touched bit by bit.
    return {"rss": number("RssAnon") / 1024, "threads": number("Threads"), "fds": len(os.listdir(f"/proc/{kmi.pid}/fd")), "cpu": cpu}


def slope(points):
    """Least squares, in units of y a minute."""
    n = len(points)
    mx, my = sum(x for x, _ in points) / n, sum(y for _, y in points) / n
    spread = sum((x - mx) ** 2 for x, _ in points)
    return 60 * sum((x - mx) * (y - my) for x, y in points) / spread


def soak(seconds, rate, place):
    (place / "up").mkdir()
    place.chmod(0o755)
    upstream = Upstream(place / "up", fates="0.05% limited; 0.1% broken;")
    kmi = Kmi(place / "home", upstream.url, keys=KEYS, config=CONFIG)
    try:
        assert kmi.start(), kmi.said()
        before = look(kmi)
        body = place / "body"
        body.write_text(json.dumps({"model": "kimi-for-coding", "messages": [{"role": "user", "content": "x" * 800}]}))
        workers = 20
        load = ["hey", "-z", f"{seconds}s", "-c", str(workers), "-q", str(rate / workers), "-m", "POST", "-T", "application/json"]
        load += ["-H", f"Authorization: Bearer {kmi.token}", "-D", body, f"http://{kmi.address}/kmi-rotor/v1/chat/completions"]
        began = time.monotonic()
        until = began + seconds
        hey = subprocess.Popen(load, stdout=subprocess.PIPE, text=True)
        counts = {}
        uneasy = [
            threading.Thread(target=lambda name=name, work=work: counts.update({name: work(kmi, until)}))
            for name, work in [("vanished", vanish), ("flapped", flap)]
        ]
        for thread in uneasy:
            thread.start()
        seen = []
        while time.monotonic() < until:
            time.sleep(STEP)
            seen.append((time.monotonic() - began, look(kmi)))
        said = hey.communicate()[0]
        for thread in uneasy:
            thread.join()
        time.sleep(3)
        after = look(kmi)
        kmi.run("stop")
        kmi.process.wait(60)
        report = kmi.verify()
    finally:
        upstream.process.send_signal(signal.SIGTERM)
        upstream.process.wait(10)
        if kmi.process and kmi.process.poll() is None:
            kmi.process.kill()
    return tell(said, seen, before, after, counts, report, seconds)


def tell(said, seen, before, after, counts, report, seconds):
    statuses = {int(code): int(number) for code, number in re.findall(r"\[(\d+)\]\s+(\d+) responses", said)}
    failed = said.split("Error distribution:")[1].strip() if "Error distribution:" in said else ""
    done = sum(statuses.values())
    slowest = dict(re.findall(r"(\d+)% in ([\d.]+) secs", said))
    half = [(at, it["rss"]) for at, it in seen if at > seconds / 2]
    grows = slope(half)
    level = sum(rss for _, rss in half) / len(half)
    cpu = (seen[-1][1]["cpu"] - before["cpu"]) / done * 1e6
    lines = [
        f"requests    {done:,} in {seconds} s ({done / seconds:,.0f}/s); by status {statuses}; failed: {failed or 'none'}",
        f"latency     50 % {slowest.get('50', '?')} s, 99 % {slowest.get('99', '?')} s",
        f"uneasy      {counts.get('vanished')} clients vanished, {counts.get('flapped')} times a key went and came back",
        f"memory      {before['rss']:.1f} MiB before, {level:.1f} MiB on average in the second half, {after['rss']:.1f} MiB after; "
        f"slope {grows:+.2f} MiB a minute",
        f"descriptors {before['fds']} before, at most {max(it['fds'] for _, it in seen)}, {after['fds']} after; "
        f"threads {before['threads']} before, {after['threads']} after",
        f"processor   {cpu:.0f} us a request",
        f"trace       {report['turns']:,} turns, {report['conforming']:,} conforming, {report['violations']} violations, "
        f"{report['open']} open, gaps {report['gaps']}, chain {'whole' if report['chain']['ok'] else 'BROKEN'}, verdict {report['verdict']}",
    ]
    print("\n".join(lines))
    wrong = []
    if grows > max(level / 100, 0.3):
        wrong.append("memory grows")
    # The upstream's connections that are kept for the next request may stay a while.
    if after["fds"] > before["fds"] + 300:
        wrong.append("descriptors are left over")
    if failed or set(statuses) - {200, 429, 500, 503}:
        wrong.append("requests failed")
    if report["verdict"] != "verified" or report["open"] or report["violations"] or report["gaps"]:
        wrong.append("the trace")
    print("verdict     " + (", ".join(wrong) if wrong else "nothing grew, nothing was left over, nothing is missing"))
    return not wrong


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seconds", type=int, default=600)
    arguments.add_argument("--rate", type=int, default=2000)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="kmi-soak-") as scratch:
        sys.exit(0 if soak(given.seconds, given.rate, Path(scratch)) else 1)
