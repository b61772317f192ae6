#!/usr/bin/env python3
"""A second verifier, written after docs/trace-format.md alone: no line of kmi's code, and nothing
but Python's standard library.

    tests/second_verifier.py FILE...            what the traces prove, as JSON
    KMI=target/debug/kmi tests/second_verifier.py
                                                the examples of docs/, traces that `kmi simulate`
                                                writes, and damaged ones: `kmi verify` must say the
                                                same of each, to 1e-9
"""

import hashlib
import json
import math
import os
import random
import re
import subprocess
import sys
import tempfile
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"
TAIL = re.compile(rb',"hash":"([0-9a-f]{64})"\}$')


def moment(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


# Step 1: the chain.

def read_chain(data):
    """The lines as objects, the one that the contiguous stretch begins with, and the number where
    the file stops being right."""
    lines, bad, last, start = [], None, None, None
    for raw in data.split(b"\n"):
        if not raw:
            continue
        expected = last["seq"] + 1 if last else 1
        tail = TAIL.search(raw)
        try:
            line = json.loads(raw) if tail else None
            seq, prev = line["seq"], line["prev"]
        except (ValueError, TypeError, KeyError):
            return lines, start, bad or expected
        computed = hashlib.sha256(prev.encode() + raw[: tail.start()]).hexdigest()
        only_epochs = all(it["type"] == "epoch" for it in lines)
        if last is None or (only_epochs and seq > expected):
            start = line
            if (seq == 1) != (prev == "0" * 64):
                bad = bad or 1
        elif seq != expected or prev != last["hash"]:
            bad = bad or expected
        if computed != line["hash"]:
            bad = bad or seq
        lines.append(line)
        last = line
    return lines, start, bad


# Steps 2 to 4: rings, turns, completeness.

class Upstream:
    def __init__(self):
        self.epochs, self.turns, self.gaps, self.loose = {}, {}, [], 0

    def epoch(self, line):
        seats = [line["ring"].count(at) for at in range(len(line["keys"]))]
        weights = [key["weight"] for key in line["keys"]]
        good = seats == weights and sum(weights) == len(line["ring"]) and weights
        if len(set(weights)) == 1:
            good = good and all(at % len(weights) == key for at, key in enumerate(line["ring"]))
        good = good and len({key["key"] for key in line["keys"]}) == len(weights)
        good = good and (line["cursor"] is None or line["cursor"] < len(line["ring"]))
        good = good and all(line["epoch"] > number for number in self.epochs)
        if good:
            self.epochs[line["epoch"]] = line
        else:
            self.loose += 1

    def attempt(self, line):
        if line["turn"] is None:
            self.loose += line["slot"] is not None or line["prev_slot"] is not None
        elif line["turn"] == 0 or line["turn"] in self.turns or self.in_gap(line["turn"]):
            # A number that was used before: the line counts as a turn of its own.
            self.turns[-line["seq"]] = dict(line, reused=True)
        else:
            self.turns[line["turn"]] = line

    def gap(self, line):
        first, last, slots = line["from_turn"], line["to_turn"], line["slots"]
        overlaps = any(first <= turn <= last for turn in self.turns)
        wrong = slots is not None and len(slots) != last - first + 1
        if overlaps or wrong or first == 0 or last < first:
            self.loose += 1
        else:
            self.gaps.append(line)

    def in_gap(self, turn):
        return next((g for g in self.gaps if g["from_turn"] <= turn <= g["to_turn"]), None)

    def before(self, turn):
        """Epoch, slot and served key of the turn before; None where that is not known."""
        line = self.turns.get(turn - 1)
        if line:
            return line["epoch"], line["slot"], line["key"]
        gap = self.in_gap(turn - 1)
        if not gap or gap["slots"] is None:
            return None
        slot = gap["slots"][turn - 1 - gap["from_turn"]]
        epoch = self.epochs.get(gap["epoch"])
        key = epoch["keys"][epoch["ring"][slot]]["key"] if epoch else None
        return gap["epoch"], slot, key

    def check(self, turn, line):
        """conforming, violation or unverifiable; and whether it could be linked."""
        epoch = self.epochs.get(line["epoch"])
        if epoch is None or line.get("eligible") is None or line.get("tried") is None:
            return "unverifiable", True
        if line.get("reused"):
            return "violation", True
        size = len(epoch["ring"])
        usable = int(line["eligible"], 16) & ~int(line["tried"], 16)
        width = int(line["eligible"], 16) | int(line["tried"], 16)
        slot, prev = line["slot"], line["prev_slot"]
        if slot is None or slot >= size or (prev is not None and prev >= size):
            return "violation", True
        if width >> len(epoch["keys"]):
            return "violation", True
        if epoch["keys"][epoch["ring"][slot]]["key"] != line["key"]:
            return "violation", True
        start = 0 if prev is None else prev + 1
        round_trip = [(start + step) % size for step in range(size)]
        rule = next((at for at in round_trip if usable >> epoch["ring"][at] & 1), None)
        linked = True
        if turn == 1:
            follows = epoch["cursor"] is None and prev is None
        else:
            follows, linked = self.follows(turn, epoch, prev)
        good = rule == slot and follows
        return "conforming" if good else "violation", linked or not good

    def follows(self, turn, epoch, prev):
        before = self.before(turn)
        if before is None:
            return True, False
        number, slot, key = before
        if number > epoch["epoch"]:
            return False, True
        if number == epoch["epoch"]:
            return slot is None or slot == prev, slot is not None
        cursor = self.inherited(number, epoch, key)
        good = epoch["cursor"] == prev and (cursor is None or cursor == epoch["cursor"])
        return good, slot is not None

    def inherited(self, number, epoch, key):
        """Where a new ring's cursor must stand after this key; None where that is not known."""
        ids = [it["key"] for it in epoch["keys"]]
        if key in ids:
            return epoch["ring"].index(ids.index(key))
        old = self.epochs.get(number)
        gone = next((it for it in old["keys"] if it["key"] == key), None) if old else None
        if gone is None:
            return None
        order = lambda it: (it["tier"], it["label"], it["key"])
        later = [at for at, it in enumerate(epoch["keys"]) if order(it) > order(gone)]
        first = epoch["ring"].index(later[0] if later else 0)
        return (first - 1) % len(epoch["ring"])

    def whole_from(self, start):
        """The first turn that was certainly chosen after the trace begins; None where there is none."""
        if start["seq"] == 1:
            return 1
        begins = moment(start["ts"]) + timedelta(milliseconds=2)
        chosen = lambda line: moment(line["ts"]) - timedelta(milliseconds=line["latency_ms"])
        return min((turn for turn, line in self.turns.items() if turn > 0 and chosen(line) >= begins), default=None)

    def report(self, start):
        out = dict(turns=0, conforming=0, violations=self.loose, unverifiable=0, unlinked=0)
        observed, expected, names = {}, {}, {}
        for turn, line in sorted(self.turns.items()):
            status, linked = self.check(turn, line)
            out["turns"] += 1
            out[{"violation": "violations"}.get(status, status)] += 1
            out["unlinked"] += not linked
            exposure = self.exposure(line)
            if exposure:
                observed[line["key"]] = observed.get(line["key"], 0) + 1
                total = sum(exposure.values())
                for key, weight in exposure.items():
                    share = Fraction(weight, total)
                    expected[key] = expected.get(key, 0) + share
            names[line["key"]] = line["label"]
        numbers = set(turn for turn in self.turns if turn > 0)
        newest = max([*numbers, *(gap["to_turn"] for gap in self.gaps)], default=0)
        first = self.whole_from(start)
        out["open"] = 0
        if first is not None:
            in_gaps = sum(max(0, gap["to_turn"] - max(first, gap["from_turn"]) + 1) for gap in self.gaps)
            out["open"] = newest - first + 1 - sum(turn >= first for turn in numbers) - in_gaps
        out["gaps_without_slots"] = sum(gap["slots"] is None for gap in self.gaps)
        out["repeats"], out["max_pair_gap"] = self.repeats(), self.pair_gap()
        out["chi_square"] = chi_square(observed, expected)
        return out

    def exposure(self, line):
        """The weight of each key that could have served."""
        epoch = self.epochs.get(line["epoch"])
        if epoch is None or line.get("eligible") is None or line.get("tried") is None:
            return None
        usable = int(line["eligible"], 16) & ~int(line["tried"], 16)
        if usable >> len(epoch["keys"]):
            return None
        return {it["key"]: it["weight"] for at, it in enumerate(epoch["keys"]) if usable >> at & 1}

    def repeats(self):
        found = 0
        for turn, line in self.turns.items():
            before, usable = self.before(turn), self.exposure(line)
            if before and usable and before[2] == line["key"]:
                found += len(set(usable) - {line["key"]}) > 0
        return found

    def pair_gap(self):
        """The widest drift of any two keys over any stretch in which both could serve."""
        widest, runs, last, ring = Fraction(0), {}, None, None
        for turn, line in sorted(it for it in self.turns.items() if it[0] > 0):
            usable = self.exposure(line)
            if usable is None or line["key"] not in (k["key"] for k in self.epochs[line["epoch"]]["keys"]):
                runs, last = {}, None
                continue
            if turn - 1 != last or line["epoch"] != ring:
                runs = {}
            last, ring = turn, line["epoch"]
            weight = {k["key"]: k["weight"] for k in self.epochs[ring]["keys"]}
            keys = sorted(usable)
            still = {}
            for at, a in enumerate(keys):
                for b in keys[at + 1 :]:
                    now, low, high = runs.get((a, b), (Fraction(0),) * 3)
                    if line["key"] == a:
                        now += Fraction(1, weight[a])
                    elif line["key"] == b:
                        now -= Fraction(1, weight[b])
                    low, high = min(low, now), max(high, now)
                    still[a, b] = now, low, high
                    widest = max(widest, high - low)
            runs = still
        return float(widest)


# Step 5: the numbers.

def at_least(n, m, p):
    """P(Bin(n, p) >= m), summed over the shorter side."""
    if m <= 0:
        return 1.0
    def mass(k):
        log = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
        return math.exp(log + k * math.log(p) + (n - k) * math.log1p(-p))
    above, below = n - m + 1, m
    if above <= below:
        return math.fsum(mass(k) for k in range(m, n + 1))
    return 1 - math.fsum(mass(k) for k in range(m))


def confidence(n, m):
    return 0.0 if m == 0 else 1 - at_least(n, m, 0.95)


def lower_bound(n, m):
    if m == 0:
        return 0.0
    if m == n:
        return 0.05 ** (1 / n)
    low, high = 0.0, 1.0
    for _ in range(64):
        middle = (low + high) / 2
        low, high = (middle, high) if at_least(n, m, middle) < 0.05 else (low, middle)
    return low


def chi_square(observed, expected):
    keys = [key for key, e in expected.items() if e > 0]
    statistic = sum(float((observed.get(k, 0) - expected[k]) ** 2 / expected[k]) for k in keys)
    df = max(len(keys) - 1, 0)
    return dict(statistic=statistic, df=df, p=upper_gamma(df / 2, statistic / 2) if df else 1.0)


def upper_gamma(a, x):
    """Q(a, x), the regularised upper incomplete gamma function: series or continued fraction."""
    if x <= 0:
        return 1.0
    front = math.exp(a * math.log(x) - x - math.lgamma(a))
    if x < a + 1:
        term = total = 1 / a
        n = a
        while abs(term) > abs(total) * 1e-17:
            n += 1
            term *= x / n
            total += term
        return 1 - front * total
    tiny = 1e-300
    b = x + 1 - a
    c, d = 1 / tiny, 1 / b
    h = d
    for i in range(1, 10_000):
        an = -i * (i - a)
        b += 2
        d = 1 / (an * d + b or tiny)
        c = b + an / c or tiny
        h *= d * c
        if abs(d * c - 1) < 1e-16:
            break
    return front * h


# Step 6: the verdict.

def verify(data):
    lines, start, bad = read_chain(data)
    upstreams = {}
    for line in lines:
        if line["type"] in ("epoch", "attempt", "gap"):
            upstream = upstreams.setdefault(line["upstream"], Upstream())
            getattr(upstream, line["type"])(line)
    parts = {name: it.report(start) for name, it in sorted(upstreams.items())}
    names = ["turns", "conforming", "violations", "unverifiable", "unlinked", "open", "repeats"]
    report = {name: sum(part[name] for part in parts.values()) for name in names}
    n, m = report["turns"], report["conforming"]
    report["confidence"], report["lower_bound"] = confidence(n, m), lower_bound(n, m)
    report["max_pair_gap"] = max((part["max_pair_gap"] for part in parts.values()), default=0.0)
    statistic = sum(part["chi_square"]["statistic"] for part in parts.values())
    df = sum(part["chi_square"]["df"] for part in parts.values())
    p = upper_gamma(df / 2, statistic / 2) if df else 1.0
    report["chi_square"] = dict(statistic=statistic, df=df, p=p)
    no_slots = sum(part["gaps_without_slots"] for part in parts.values())
    if report["violations"] or bad:
        verdict = "violated"
    elif n < 59:
        verdict = "insufficient_data"
    elif no_slots or report["unverifiable"] or report["open"] or report["confidence"] < 0.95:
        verdict = "incomplete"
    else:
        verdict = "verified"
    report.update(verdict=verdict, first_bad_seq=bad)
    report["head"] = lines[-1]["hash"] if lines else "0" * 64
    return report


# Side by side with kmi.

def kmi(*args):
    return subprocess.run([os.environ["KMI"], *map(str, args)], capture_output=True, check=False, timeout=60)


def same(name, data, folder):
    path = Path(folder) / "trace.jsonl"
    path.write_bytes(data)
    theirs = json.loads(kmi("verify", path, "--json").stdout)
    ours = verify(data)
    exact = ["verdict"]
    if ours["first_bad_seq"] is None and theirs.get("first_bad_seq") is None:
        exact += ["turns", "conforming", "violations", "unverifiable", "unlinked", "open", "repeats"]
        assert ours["head"] == theirs["chain"]["head"], name
        pairs = [(ours[it], theirs[it]) for it in ("confidence", "lower_bound", "max_pair_gap")]
        pairs += [(ours["chi_square"][it], theirs["chi_square"][it]) for it in ("statistic", "df", "p")]
        for mine, other in pairs:
            assert abs(mine - other) <= 1e-9 * max(1, abs(mine)), f"{name}: {mine} and {other}"
    assert ours["first_bad_seq"] == theirs.get("first_bad_seq"), f"{name}: {ours} and {theirs}"
    for it in exact:
        assert ours[it] == theirs[it], f"{name}: {it} is {ours[it]} and {theirs[it]}"
    print(f"{name}: {ours['verdict']}, {ours['turns']} turns, same")


def rechain(lines):
    """Chains changed lines anew, as a forger would who knows how."""
    out, prev = [], "0" * 64
    for seq, line in enumerate(lines, 1):
        line = {**line, "seq": seq, "prev": prev}
        line.pop("hash", None)
        body = json.dumps(line, separators=(",", ":"))[:-1]
        prev = hashlib.sha256((prev + body).encode()).hexdigest()
        out.append(f'{body},"hash":"{prev}"}}\n')
    return "".join(out).encode()


def forgeries(data, dice):
    """The same trace with one turn changed, each in another way."""
    lines = [json.loads(line) for line in data.splitlines()]
    turns = [at for at, line in enumerate(lines) if line["type"] == "attempt" and line["turn"]]
    def change(**fields):
        others = [at for at in turns[5:] if any(lines[at][name] != value for name, value in fields.items())]
        changed = [dict(line) for line in lines]
        changed[dice.choice(others)].update(fields)
        return rechain(changed)
    yield "nothing changed", rechain(lines)
    yield "another slot", change(slot=0)
    yield "another cursor", change(prev_slot=0)
    yield "no masks", change(eligible=None)
    yield "a wide mask", change(eligible="fffffff")
    yield "a number twice", change(turn=3)
    yield "another key", change(key="k-00000000")
    gone = dice.choice(turns[5:])
    yield "a turn gone", rechain(lines[:gone] + lines[gone + 1 :])
    newest = max(line["epoch"] for line in lines if line["type"] == "epoch")
    for what, epoch in [("a", newest), ("a later epoch's", newest + 1), ("an earlier epoch's", 0)]:
        gap = dict(type="gap", slots=None, epoch=epoch, reason="power_lost")
        gap.update({name: lines[gone][name] for name in ("seq", "ts", "upstream")})
        gap.update(from_turn=lines[gone]["turn"], to_turn=lines[gone]["turn"])
        yield f"{what} gap without slots", rechain([*lines[:gone], *lines[gone + 1 :], gap])


def cuts(data, dice):
    """The same trace without its beginning, as an export by time or retention leaves it (the epochs
    in force stand alone before the stretch), and one that lacks a turn further on."""
    lines = data.splitlines(keepends=True)
    late = [at for at, line in enumerate(lines) if b'"type":"attempt"' in line and b'"turn":null' not in line]
    gone = dice.choice(late[-len(late) // 4 :])
    without = rechain([json.loads(line) for line in lines[:gone] + lines[gone + 1 :]])
    for what, lines in [("", lines), (" without a turn", without.splitlines(keepends=True))]:
        for at in sorted(dice.sample(range(5, len(lines) * 3 // 4), 4)):
            epochs = [line for line in lines[:at] if b'"type":"epoch"' in line]
            yield f"from line {at + 1}{what}", b"".join(epochs + lines[at:])


def damages(data, dice):
    lines = data.splitlines(keepends=True)
    at = dice.randrange(5, len(lines) - 5)
    yield "a line gone", b"".join(lines[:at] + lines[at + 1 :])
    yield "a line twice", b"".join(lines[: at + 1] + lines[at:])
    yield "lines swapped", b"".join([*lines[:at], lines[at + 1], lines[at], *lines[at + 2 :]])
    at = dice.choice([at for at, line in enumerate(lines) if b"POST" in line])
    yield "an edit", b"".join([*lines[:at], lines[at].replace(b"POST", b"PUSH", 1), *lines[at + 1 :]])


SIMULATED = [
    "--turns 58",
    "--turns 700 --keys 7 --fail 3@50..300 --fail 6@2m..10m=timeout",
    "--turns 900 --weights 1,2,3,1,5 --fail 2@100..400=concurrency_limited",
    "--turns 400 --keys 3 --policy session",
    "--time 1h --keys 4 --rate 40/m --fail *@10m..20m=overloaded",
]


def main():
    if len(sys.argv) > 1:
        for path in sys.argv[1:]:
            print(json.dumps(verify(Path(path).read_bytes()), indent=2))
        return
    if "KMI" not in os.environ:
        sys.exit(__doc__)
    dice = random.Random(7)
    with tempfile.TemporaryDirectory() as folder:
        same("an empty file", b"", folder)
        for path in sorted(DOCS.glob("example-*.jsonl")):
            same(path.name, path.read_bytes(), folder)
        for args in SIMULATED:
            path = Path(folder) / "simulated.jsonl"
            run = kmi("simulate", *args.split(), "--trace", path)
            assert run.returncode == 0, run.stderr.decode()
            data = path.read_bytes()
            same(args, data, folder)
            for what, damaged in [*forgeries(data, dice), *damages(data, dice), *cuts(data, dice)]:
                same(f"{args}: {what}", damaged, folder)


if __name__ == "__main__":
    main()
