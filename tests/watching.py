#!/usr/bin/env python3
"""Measures what watching costs the proxy: its CPU time a request with and without watchers.

    KMI=target/release/kmi tests/watching.py            # about two minutes
    KMI=target/release/kmi tests/watching.py --watchers 4

Blocks of requests with and without watchers take turns, so that a disturbance meets both. A watcher
reads the whole feed, lines and pictures, as the terminal and the page do. CPU time is that of the
proxy's process alone, from the kernel, in nanoseconds.
"""

import argparse
import asyncio
import json
import multiprocessing
import socket
import statistics
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True
from running import binary  # noqa: E402
from watched import Kmi  # noqa: E402

USAGE = {"prompt_tokens": 1200, "completion_tokens": 34, "prompt_tokens_details": {"cached_tokens": 1000}}
ANSWER = json.dumps({"choices": [{"message": {"content": "pong " * 40}}], "usage": USAGE}).encode()
BODY = json.dumps({"model": "kimi-for-coding", "messages": [{"role": "user", "content": "ping " * 200}]}).encode()
CONNECTIONS = 8


async def answer(reader, writer):
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(ANSWER)
    try:
        while True:
            asked = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in asked.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.split(b":")[1]))
            writer.write(head + ANSWER)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def upstream(tell):
    async def serve():
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        tell.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())


def watch(path):
    with socket.socket(socket.AF_UNIX) as feed:
        feed.connect(path)
        feed.sendall(b'{"do":"feed","after":null}\n')
        while feed.recv(1 << 20):
            pass


async def visit(kmi, requests):
    reader, writer = await asyncio.open_connection("127.0.0.1", kmi.port)
    head = (f"POST /kmi-rotor/v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{kmi.port}\r\n"
            f"authorization: Bearer {kmi.token}\r\ncontent-type: application/json\r\ncontent-length: {len(BODY)}\r\n\r\n")
    for _ in range(requests):
        writer.write(head.encode() + BODY)
        told = await reader.readuntil(b"\r\n\r\n")
        assert told.startswith(b"HTTP/1.1 200"), told
        length = next(line for line in told.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.split(b":")[1]))
    writer.close()


def cpu(pid):
    """Nanoseconds that all threads of a process have run."""
    return sum(int(task.joinpath("schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir())


async def block(kmi, requests):
    """Microseconds of CPU a request."""
    before = cpu(kmi.process.pid)
    await asyncio.gather(*(visit(kmi, requests // CONNECTIONS) for _ in range(CONNECTIONS)))
    # What a request leaves behind, its line, is part of it.
    await asyncio.sleep(0.2)
    return (cpu(kmi.process.pid) - before) / requests / 1000


async def measure(kmi, watchers, blocks, requests):
    await block(kmi, requests)
    alone, watched = [], []
    for _ in range(blocks):
        alone.append(await block(kmi, requests))
        eyes = [multiprocessing.Process(target=watch, args=(str(kmi.home / "run" / "kmi.sock"),)) for _ in range(watchers)]
        for eye in eyes:
            eye.start()
        await asyncio.sleep(0.5)
        watched.append(await block(kmi, requests))
        for eye in eyes:
            eye.terminate()
            eye.join()
        await asyncio.sleep(0.2)
    growth = sorted(b / a - 1 for a, b in zip(alone, watched))
    low, high = growth[len(growth) // 4], growth[len(growth) * 3 // 4]
    print(f"{blocks} blocks of {requests} requests: {statistics.median(alone):.1f} µs of CPU a request alone, "
          f"{statistics.median(watched):.1f} µs with {watchers} watching; growth {statistics.median(growth):+.1%} "
          f"(median; quartiles {low:+.1%} and {high:+.1%}), {sum(watched) / sum(alone) - 1:+.1%} in all")


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--watchers", type=int, default=1)
    arguments.add_argument("--blocks", type=int, default=30)
    arguments.add_argument("--requests", type=int, default=4_000)
    given = arguments.parse_args()
    tell = multiprocessing.Queue()
    model = multiprocessing.Process(target=upstream, args=(tell,), daemon=True)
    model.start()
    with tempfile.TemporaryDirectory(prefix="kmi-watching-") as scratch:
        kmi = Kmi(binary(), Path(scratch) / "home", tell.get())
        try:
            asyncio.run(measure(kmi, given.watchers, given.blocks, given.requests))
        finally:
            kmi.stop()
            model.terminate()


if __name__ == "__main__":
    main()
