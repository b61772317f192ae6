#!/usr/bin/env python3
"""How kmi's costs grow: with the keys, with the connections, with the requests that it has served.

    KMI=target/release/kmi benches/growth.py              # all three curves, about four minutes
    KMI=target/release/kmi benches/growth.py requests --most 10000000

Prints one table for each curve. CPU time is that of the proxy's process, all threads, from the kernel;
memory is its own (anonymous) memory. Other work on the machine disturbs CPU and hardly the memory.

Needs Debian's nginx-light and hey, Python >= 3.11, and a kmi in $KMI (a release build, for figures
that mean something).
"""

import argparse
import contextlib
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from soak import CONFIG, Kmi, Upstream, look

KEYS = (5, 50, 500, 5_000, 10_000)
CONNECTIONS = (1, 8, 64, 512, 2_000, 5_000)


@contextlib.contextmanager
def proxy(keys=5, connections=64):
    """A kmi before an upstream that answers at once and never fails."""
    with tempfile.TemporaryDirectory(prefix="kmi-growth-") as scratch:
        place = Path(scratch)
        place.chmod(0o755)
        (place / "up").mkdir()
        upstream = Upstream(place / "up")
        kmi = Kmi(place / "home", upstream.url, keys=keys, config=CONFIG)
        file = kmi.home / "kmi.config.toml"
        file.write_text(file.read_text().replace("[proxy]", f"[proxy]\nmax_connections = {connections + 64}", 1))
        (place / "body").write_text(json.dumps({"model": "kimi-for-coding", "messages": [{"role": "user", "content": "x" * 800}]}))
        try:
            began = time.monotonic()
            assert kmi.start(), kmi.said()
            kmi.started_in = time.monotonic() - began
            yield kmi
        finally:
            if kmi.process and kmi.process.poll() is None:
                kmi.stop()
            upstream.process.send_signal(signal.SIGTERM)
            upstream.process.wait(10)


def load(kmi, requests, connections):
    """So many requests over so many connections; microseconds of CPU a request, and what was seen at the end."""
    before = look(kmi)
    hey = ["hey", "-n", str(requests), "-c", str(connections), "-t", "60", "-m", "POST", "-T", "application/json"]
    hey += ["-H", f"Authorization: Bearer {kmi.token}", "-D", str(kmi.home.parent / "body")]
    hey = subprocess.Popen([*hey, f"http://{kmi.address}/kmi-rotor/v1/chat/completions"], stdout=subprocess.PIPE, text=True)
    most = before["rss"]
    while hey.poll() is None:
        time.sleep(0.2)
        most = max(most, look(kmi)["rss"])
    said = hey.communicate()[0]
    done = requests // connections * connections
    assert f"[200]\t{done} responses" in said, said
    time.sleep(0.5)
    after = look(kmi)
    return {"cpu": (after["cpu"] - before["cpu"]) / done * 1e6, "before": before["rss"], "most": most, "after": after["rss"]}


def keys(_):
    print("| keys | start, ms | memory, MiB | CPU a request, us |\n|---|---|---|---|")
    for count in KEYS:
        with proxy(keys=count) as kmi:
            load(kmi, 2_000, 16)
            seen = load(kmi, 20_000, 16)
            print(f"| {count:,} | {kmi.started_in * 1000:.0f} | {seen['after']:.1f} | {seen['cpu']:.0f} |", flush=True)


def connections(_):
    print("| connections | CPU a request, us | memory before, MiB | at most | KiB a connection |\n|---|---|---|---|---|")
    for count in CONNECTIONS:
        with proxy(connections=count) as kmi:
            load(kmi, 2_000, 1)
            seen = load(kmi, max(20_000, 4 * count) // count * count, count)
            # Of few connections the rest of the program is more.
            each = f"{(seen['most'] - seen['before']) * 1024 / count:.1f}" if count >= 512 else ""
            print(f"| {count:,} | {seen['cpu']:.0f} | {seen['before']:.1f} | {seen['most']:.1f} | {each} |", flush=True)


def requests(most):
    print("| requests served | memory, MiB | CPU a request, us |\n|---|---|---|")
    with proxy() as kmi:
        done, step = 0, max(most // 10, 1_000)
        while done < most:
            seen = load(kmi, step // 64 * 64, 64)
            done += step // 64 * 64
            print(f"| {done:,} | {seen['after']:.1f} | {seen['cpu']:.0f} |", flush=True)


CURVES = {"keys": keys, "connections": connections, "requests": requests}

if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("curves", nargs="*", metavar="CURVE", help=f"of {', '.join(CURVES)}; all of them by default")
    arguments.add_argument("--most", type=int, default=200_000, help="requests of the curve `requests`")
    given = arguments.parse_args()
    if unknown := set(given.curves) - set(CURVES):
        sys.exit(f"there is no curve {', '.join(sorted(unknown))}")
    for name in given.curves or CURVES:
        CURVES[name](given.most)
        print()
