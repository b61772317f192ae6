#!/usr/bin/env python3
"""Tries the page at /kmi-rotor/trace in a real Chromium.

    tests/page.py                          # from anywhere; about a minute
    tests/page.py --picture docs/page.png  # draws the README's picture out of `kmi demo` instead

Rows appear live, hostile names stay inert and visible, without the token there is nothing, another
origin gets nothing, and 1,000 lines a second leave the page responsive.

Needs Debian's chromium and chromium-driver, Python >= 3.11, and the network the first time
(Selenium and Prometheus' parser are installed below target/). $KMI names the kmi binary; without it
target/debug/kmi is built.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

sys.dont_write_bytecode = True
from running import PATIENCE, ROOT, TARGET, binary, chosen, in_time, run_check  # noqa: E402
from watched import LABELS, ODD, SCRIPT, Demo, Kmi, Server, upstream  # noqa: E402

PLACE = TARGET / "page"
PACKAGES = ["selenium==4.51.0", "prometheus-client==0.26.0"]
FILES = ROOT / "kmi-proxy" / "src" / "page" / "files"


def with_packages():
    """Runs this script again where its packages are; the first time they are installed."""
    python = PLACE / "venv" / "bin" / "python"
    if Path(sys.prefix).resolve() == (PLACE / "venv").resolve():
        return
    if not (PLACE / "venv" / "ready").exists():
        venv.create(PLACE / "venv", with_pip=True, clear=True)
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, *PACKAGES], check=True)
        (PLACE / "venv" / "ready").touch()
    os.execv(python, [str(python), *sys.argv])


with_packages()
from prometheus_client.parser import text_string_to_metric_families  # noqa: E402
from selenium import webdriver  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402


class Browser:
    """Chromium, driven by its own driver."""

    def __init__(self, *args):
        options = webdriver.ChromeOptions()
        options.binary_location = "/usr/bin/chromium"
        for arg in ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                    "--disable-dev-shm-usage", "--disable-background-networking", *args]:
            options.add_argument(arg)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
        self.driver.set_script_timeout(PATIENCE)
        self.requests, self.said = [], []
        self.size(1440, 900)

    def size(self, width, height, scale=1):
        metrics = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def scheme(self, scheme):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    def open(self, url):
        # The same page with another fragment would not be loaded again.
        self.driver.get("about:blank")
        self.driver.get(url)

    def js(self, script, *args):
        return self.driver.execute_script(script, *args)

    def later(self, script, *args):
        """The value of an asynchronous script, or its error's name."""
        wrapped = f"const done = arguments[arguments.length - 1]; (async () => {{ {script} }})().then(done, (e) => done(e.name))"
        return self.driver.execute_async_script(wrapped, *args)

    def text(self, id):
        return self.js("return document.getElementById(arguments[0])?.innerText ?? ''", id)

    def rows(self):
        return self.js("return [...document.querySelectorAll('#body tr:not(.note)')].map((row) => row.innerText)")

    def press(self, *keys):
        webdriver.ActionChains(self.driver).send_keys(*keys).perform()

    def until(self, what, condition):
        deadline = time.monotonic() + PATIENCE
        while not (value := condition()):
            assert time.monotonic() < deadline, f"waited for: {what}\n{self.text('app')[:900]}"
            time.sleep(0.05)
        return value

    def gather(self):
        """What the browser asked for and said since the last time."""
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self.requests.append(message["params"]["request"]["url"])
        said = [entry["message"] for entry in self.driver.get_log("browser")]
        self.said += said
        return said

    def quit(self):
        self.driver.quit()


def shows_nothing_without_the_token(kmi, browser):
    for path in ["trace/feed", "trace/feed?after=0", "trace/lines", "trace/why?seq=1", "metrics"]:
        status, headers, body = kmi.ask(f"/kmi-rotor/{path}", token=False)
        assert (status, headers["x-kmi-error"]) == (401, "token_required"), path
        assert "alpha" not in body
    browser.open(f"{kmi.origin}/kmi-rotor/trace")
    browser.until("the notice", lambda: "without a token" in browser.text("closed"))
    browser.open(f"{kmi.origin}/kmi-rotor/trace#token={'0' * 64}")
    browser.until("the refusal", lambda: "does not accept" in browser.text("closed"))
    assert browser.js("return document.getElementById('app').hidden && sessionStorage.length === 0")
    told = browser.gather()
    assert all("401" in it for it in told), told
    browser.said.clear()


def is_dressed_as_promised(kmi, _):
    for path in ["trace", "trace/main.js", "trace/page.css", "trace/nothing", "trace/lines?limit=1"]:
        _, headers, _ = kmi.ask(f"/kmi-rotor/{path}")
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy, path
        assert "unsafe" not in policy and "*" not in policy, path
        assert headers["X-Content-Type-Options"] == "nosniff", path
        assert headers["Referrer-Policy"] == "no-referrer", path
        assert headers["Access-Control-Allow-Origin"] is None, path
    assert kmi.ask("/kmi-rotor/trace", b"x")[0] == 405


def opens_by_the_printed_address(kmi, browser):
    url = kmi.page()
    assert url == f"{kmi.origin}/kmi-rotor/trace#token={kmi.token}", url
    desk = kmi.home / "desk"
    desk.mkdir()
    (desk / "xdg-open").write_text(f'#!/bin/sh\nprintf %s "$1" > {desk}/opened.new && mv {desk}/opened.new {desk}/opened\n')
    (desk / "xdg-open").chmod(0o755)
    kmi.run("trace", "--web", DISPLAY=":7", PATH=f"{desk}:{os.environ['PATH']}")
    browser.until("the opener", (desk / "opened").exists)
    assert (desk / "opened").read_text().startswith(f"{kmi.origin}/kmi-rotor/trace#")
    browser.open(url)
    browser.until("the connection", lambda: "live" in browser.text("link"))
    assert browser.driver.current_url == f"{kmi.origin}/kmi-rotor/trace", "the token left the address bar"
    assert kmi.token not in browser.js("return document.documentElement.outerHTML")


def rows_appear_live(kmi, browser):
    before = len(browser.rows())
    assert kmi.chat(session="session-7") == 200
    browser.until("one more row", lambda: len(browser.rows()) == before + 1)
    row = browser.rows()[0]
    assert "kimi-for-coding" in row and "/chat/completions" in row and "1.2k" in row and "✓ ok" in row, row
    browser.until("who served last", lambda: any(label in browser.text("last") for label in LABELS))
    browser.until("the keys", lambda: "3 of 3 usable" in browser.text("usable"))
    browser.until("the shares", lambda: "of the last" in browser.text("shares-of"))
    browser.until("what is known so far", lambda: "of 59 turns that it takes, all in order" in browser.text("proof"))
    thin = re.search(r"confidence (\d+\.\d\d) % so far", browser.text("proof"))
    assert thin and 0 < float(thin[1]) < 95, browser.text("proof")
    for _ in range(60):
        kmi.chat()
    browser.until("the proof", lambda: "Proven" in browser.text("proof"))
    sure = re.search(r"in order, confidence (\d+\.\d\d) %", browser.text("proof"))
    assert sure and 95 <= float(sure[1]) < 100, browser.text("proof")
    assert browser.js("return document.querySelectorAll('#shares svg .mark').length") == len(LABELS)
    assert browser.js("return document.querySelectorAll('#pulse svg .column').length") > 0


def a_choice_by_hand_is_told_by_its_label(kmi, browser):
    def notes():
        return browser.js("return [...document.querySelectorAll('#body tr.note')].map((row) => row.innerText).join('\\n')")

    kmi.run("rotate", LABELS[-1])
    browser.until("the choice", lambda: f"mode manual, active key {LABELS[-1]}" in notes())
    kmi.run("auto", "on")
    browser.until("the mode", lambda: "mode auto" in notes())


def attempts_are_joined(kmi, browser):
    # Round robin: one of three in a row meets the key that is limited.
    for _ in range(3):
        assert kmi.chat("limited") == 200
    row = browser.until("the joined row", lambda: next((row for row in browser.rows() if "after" in row), None))
    assert "alpha ⊘" in row and "✓ ok" in row, row
    browser.until("the blocked key", lambda: re.search(r"⊘\s+alpha\s+rate limited\s+back in \d+s", browser.text("usable")))
    first = browser.text("usable")
    browser.until("the countdown", lambda: browser.text("usable") != first)
    browser.js("document.querySelector('#body .after').closest('tr').click()")
    browser.until("why this key", lambda: browser.text("detail").count("✓ replay: the rule leads to this key") == 2)
    detail = browser.text("detail")
    assert "was tried before (rate_limited)" in detail and "1. alpha" in detail, detail
    browser.press(Keys.ESCAPE)
    browser.until("closed", lambda: not browser.js("return document.getElementById('detail').open"))


def hostile_names_are_visible_and_inert(kmi, browser):
    assert kmi.ask(f"/kmi-rotor/v1/{'p' * 10_000}", b"{}")[0] == 200
    for model, session in [(SCRIPT, ODD), (ODD, SCRIPT)]:
        assert kmi.chat(model, session) == 200
    cells = """return [...document.querySelectorAll('#body tr:not(.note)')].slice(0, 3)
        .flatMap((row) => ['.c-model', '.c-endpoint'].map((cell) => row.querySelector(cell).textContent))"""
    browser.until("the names", lambda: any("bell" in cell for cell in browser.js(cells)))
    shown = browser.js(cells)
    assert any(cell.startswith("/pppp") and cell.endswith("…") for cell in shown), shown
    assert SCRIPT in shown, shown
    assert any("bell\\u{7} c1\\u{9b} bidi\\u{202e}evil\\u{2066} <script>" in cell for cell in shown), shown
    assert max(map(len, shown)) <= 260, "cut"
    browser.js("document.querySelector('#body tr:not(.note)').click()")
    browser.until("why", lambda: "Why this key" in browser.text("detail") and "asking" not in browser.text("detail"))
    # The provider's words about the key that is still blocked.
    assert "slow down bell\\u{7}" in browser.text("detail"), browser.text("detail")
    browser.press(Keys.ESCAPE)
    assert browser.js("return document.querySelectorAll('#app img, #app script, dialog script, dialog img, #app b').length") == 0
    assert "owned" not in browser.driver.title
    assert browser.js("return Math.max(...[...document.querySelectorAll('#body tr')].map((row) => row.offsetHeight))") < 40
    assert not re.search("[\u0007\u009b\u202e\u2066]", browser.js("return document.body.textContent"))


def nothing_can_be_injected(_, browser):
    """What an attacker could do who got text to become markup: nothing."""
    assert browser.later("document.body.innerHTML = '<i>x</i>'") == "TypeError"
    assert browser.later("document.createElement('img').setAttribute('onerror', 'window.owned = 1')") == "TypeError"
    assert browser.later("const it = document.createElement('script'); it.textContent = 'window.owned = 1'; document.body.append(it)") == "TypeError"
    assert browser.later("await fetch('https://example.com/')") == "TypeError"
    assert browser.js("return window.owned ?? null") is None
    told = browser.gather()
    assert any("Content Security Policy" in it for it in told), told
    browser.said.clear()
    browser.requests.clear()


def keys_do_what_the_help_says(kmi, browser):
    browser.driver.refresh()
    browser.until("rows after a reload, without the token in the address", lambda: len(browser.rows()) > 10)
    browser.press("?")
    browser.until("help", lambda: browser.js("return document.getElementById('help').open"))
    browser.press(Keys.ESCAPE)
    browser.press("/")
    browser.press("key:alpha outcome:rate")
    browser.until("the filter", lambda: len(browser.rows()) == 1 and "alpha" in browser.rows()[0])
    assert browser.js("return document.getElementById('by-key').value") == "alpha"
    browser.press(Keys.ESCAPE, Keys.TAB)
    browser.driver.find_element(By.ID, "filter").clear()
    browser.js("document.activeElement.blur()")
    browser.press("c")
    browser.until("everything", lambda: len(browser.rows()) > 10)
    browser.press(" ")
    before = browser.rows()
    kmi.chat("while-paused")
    browser.until("what waits", lambda: "paused, 1 new" in browser.text("shown"))
    assert browser.rows() == before
    browser.press(" ")
    browser.until("going on", lambda: "while-paused" in browser.rows()[0])
    browser.press(Keys.ARROW_DOWN, Keys.ARROW_DOWN)
    focused = browser.js("return [...document.querySelectorAll('#body tr:not(.note)')].indexOf(document.activeElement.closest('tr'))")
    assert focused == 1, focused
    browser.press(Keys.ENTER)
    browser.until("the detail", lambda: browser.js("return document.getElementById('detail').open"))
    browser.press(Keys.ESCAPE)
    assert browser.js("return document.activeElement.closest('#body') !== null"), "focus comes back"


def fits_every_screen(_, browser):
    papers = set()
    for scheme in ["light", "dark"]:
        browser.scheme(scheme)
        papers.add(browser.js("return getComputedStyle(document.documentElement).backgroundColor"))
    assert len(papers) == 2, papers
    for width in [320, 390, 768, 1100, 1440, 2560]:
        browser.size(width, 900)
        wide = browser.js("return document.documentElement.scrollWidth")
        assert wide <= width, f"{wide} at {width}"
        list_ = browser.js("const it = document.getElementById('scroll'); return it.scrollWidth - it.clientWidth")
        assert list_ <= 0, f"the list is {list_} too wide at {width}"
        key = browser.js("return document.querySelector('#body .c-key bdi').getBoundingClientRect().width")
        assert key > 20, f"{key} for the key's name at {width}"
    browser.size(1440, 900)


def comes_back_after_a_restart(kmi, browser):
    requests = len(browser.rows())
    began = time.monotonic()
    kmi.run("stop")
    kmi.process.wait(PATIENCE)
    assert time.monotonic() - began < 10, "an open page does not hold up the end"
    browser.until("the loss", lambda: "no connection" in browser.text("link"))
    kmi.start()
    browser.until("the connection", lambda: "live" in browser.text("link"))
    kmi.chat("after-the-restart")
    browser.until("the new row", lambda: "after-the-restart" in browser.rows()[0])
    assert len(browser.rows()) == requests + 1, "each line once"
    # The browser says that a connection was refused, and nothing else.
    told = [it for it in browser.gather() if "ERR_CONNECTION_REFUSED" not in it and "ERR_INCOMPLETE" not in it]
    assert told == [], told
    browser.said.clear()


def other_origins_get_nothing(kmi, browser):
    tries = f"""
        const base = "http://127.0.0.1:{kmi.port}/kmi-rotor/";
        const headers = {{ authorization: "Bearer {kmi.token}" }};
        const told = [];
        for (const path of ["trace", "trace/feed", "trace/lines", "metrics", "healthz"]) {{
          told.push(await fetch(base + path).then((it) => "read " + it.status, (e) => e.name));
          told.push(await fetch(base + path, {{ headers }}).then((it) => "read " + it.status, (e) => e.name));
          told.push(await fetch(base + path, {{ mode: "no-cors" }}).then((it) => it.type, (e) => e.name));
        }}
        told.push(await import(base + "trace/main.js").then(() => "read", (e) => e.name));
        const frame = document.createElement("iframe");
        frame.src = base + "trace";
        const loaded = new Promise((resolve) => {{ frame.onload = frame.onerror = resolve; }});
        document.body.append(frame);
        await loaded;
        try {{ told.push("frame " + frame.contentDocument?.title); }} catch (e) {{ told.push(e.name); }}
        return told;
    """
    foreign = Server(lambda handler: handler.reply(200, "<!doctype html><body>", "text/html"))
    for host in ["evil.test", "127.0.0.1", "localhost"]:
        browser.open(f"http://{host}:{foreign.port}/")
        told = browser.later(tries)
        got = [it for it in told if it not in ("TypeError", "opaque", "SecurityError", "frame undefined", "frame null")]
        assert isinstance(told, list) and len(told) == 17 and got == [], f"{host}: {told}"
    foreign.shutdown()
    # A name of the attacker's that leads here: DNS rebinding.
    browser.open(f"http://evil.test:{kmi.port}/kmi-rotor/trace#token={kmi.token}")
    assert "host_not_allowed" in browser.js("return document.body.innerText")
    body = browser.later(f'return (await fetch("/kmi-rotor/trace/lines", {{ headers: {{ authorization: "Bearer {kmi.token}" }} }})).text()')
    assert "host_not_allowed" in body and "alpha" not in body, body
    browser.gather()
    browser.said.clear()
    browser.requests.clear()


def metrics_are_read_by_prometheus(kmi, _):
    status, headers, text = kmi.ask("/kmi-rotor/metrics")
    assert status == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4")
    families = {it.name: it for it in text_string_to_metric_families(text)}
    attempts = families["kmi_attempts"].samples
    assert {it.labels["label"] for it in attempts} == set(LABELS)
    assert sum(it.value for it in attempts) > 0
    assert len(families["kmi_key_state"].samples) == 4 * len(LABELS)
    assert "sk-page" not in text and kmi.token not in text


def a_thousand_lines_a_second_leave_it_responsive(kmi, browser):
    """The page before a server of the test's, which sends lines as fast as a busy proxy would."""
    _, _, sample = kmi.ask("/kmi-rotor/trace/lines?limit=200")
    line = next(it for it in reversed(json.loads(sample)) if it["type"] == "attempt")
    policy = kmi.ask("/kmi-rotor/trace")[1]["Content-Security-Policy"]
    seconds, rate, sent = 8, 1_000, []

    def serve(handler):
        path = handler.path.split("?")[0].removeprefix("/kmi-rotor/trace").lstrip("/")
        if path == "feed":
            handler.send_response(200)
            handler.send_header("Connection", "close")
            handler.end_headers()
            began = time.monotonic()
            for piece in range(seconds * 20):
                lines = []
                for n in range(piece * rate // 20 + 1, (piece + 1) * rate // 20 + 1):
                    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
                    lines.append(json.dumps(line | {"seq": n, "turn": n, "request_id": f"req-{n}", "ts": now}))
                handler.wfile.write("".join(f"{it}\n" for it in lines).encode())
                sent.append(len(lines))
                time.sleep(max(0, began + (piece + 1) / 20 - time.monotonic()))
            time.sleep(PATIENCE)
            return
        file = FILES / (path or "page.html")
        kind = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}.get(file.suffix, "image/svg+xml")
        handler.reply(200, file.read_bytes(), kind, Content_Security_Policy=policy)

    busy = Server(serve)
    browser.open(f"http://127.0.0.1:{busy.port}/kmi-rotor/trace#token={'0' * 64}")
    browser.js("""
        window.gaps = []; let before = performance.now();
        const beat = () => { const now = performance.now(); gaps.push(now - before); before = now; setTimeout(beat, 0); };
        setTimeout(beat, 0);
    """)
    answers = []
    while sum(sent) < seconds * rate:
        began = time.monotonic()
        browser.press("?")
        browser.until("help", lambda: browser.js("return document.getElementById('help').open"))
        browser.press(Keys.ESCAPE)
        answers.append(time.monotonic() - began)
        time.sleep(0.2)
    browser.until("the last line", lambda: browser.rows() and str(seconds * rate) in browser.rows()[0])
    gaps = sorted(browser.js("return gaps"))
    rows = browser.js("return document.querySelectorAll('#body tr').length")
    p99, worst = gaps[len(gaps) * 99 // 100], gaps[-1]
    print(f"    {sum(sent)} lines in {seconds} s; {rows} rows; the page was busy for 99 % at most {p99:.0f} ms, once {worst:.0f} ms; "
          f"help opened and closed within {sorted(answers)[len(answers) // 2] * 1000:.0f} ms (median)")
    assert rows <= 1_000, rows
    # Far from what was measured, because this machine may be busy with something else.
    assert p99 < 400 and worst < 3_000, (p99, worst)
    busy.shutdown()
    told = [it for it in browser.gather() if "favicon" not in it]
    assert told == [], told
    browser.requests.clear()


def other_origins_spend_nothing(kmi, browser):
    """Whatever a page can send to a port of this machine, and were the token known to it: a server
    that only answers would be reached by nearly all of it, an upstream behind kmi by nothing."""
    reached = []

    def naive(handler):
        reached.append(handler.command)
        handler.reply(200, "{}")

    tries = """
        const base = arguments[0], body = '{"model":"kimi-for-coding","messages":[]}';
        const ways = [
          { mode: "no-cors" },
          { mode: "no-cors", headers: { "content-type": "text/plain" } },
          { mode: "no-cors", credentials: "include", keepalive: true },
          { headers: { "content-type": "application/json" } },
          { headers: { authorization: "Bearer TOKEN" } },
        ];
        for (const root of [base, base + "t/TOKEN/"]) {
          const url = root + "v1/chat/completions";
          for (const way of ways) await fetch(url, { method: "POST", body, ...way }).catch(() => {});
          navigator.sendBeacon(url, body);
          navigator.sendBeacon(url, new Blob([body], { type: "text/plain" }));
          const frame = document.body.appendChild(document.createElement("iframe"));
          frame.name = root;
          const form = document.body.appendChild(document.createElement("form"));
          Object.assign(form, { action: url, method: "post", enctype: "text/plain", target: root });
          form.appendChild(Object.assign(document.createElement("input"), { name: body.slice(0, -1) + ',"a":"', value: '"}' }));
          form.submit();
          document.body.appendChild(Object.assign(document.createElement("img"), { src: root + "v1/models" }));
          await import(root + "v1/models").catch(() => {});
          new EventSource(root + "v1/models");
          new WebSocket(root.replace("http", "ws") + "v1/chat/completions");
        }
        await new Promise((resolve) => setTimeout(resolve, 700));
        return "done";
    """.replace("TOKEN", kmi.token)

    def attempts():
        return kmi.run("trace", "export").count('"type":"attempt"')

    # A line is in the ledger some milliseconds after its answer.
    before = attempts() + 1
    assert kmi.chat() == 200
    browser.until("the line of an honest request", lambda: attempts() == before)
    target, foreign = Server(naive), Server(lambda handler: handler.reply(200, "<!doctype html><body>", "text/html"))
    for host in ["evil.test", "localhost"]:
        browser.open(f"http://{host}:{foreign.port}/")
        for port, least in [(target.port, 6), (kmi.port, 0)]:
            reached.clear()
            told = browser.later(tries.replace("arguments[0]", json.dumps(f"http://127.0.0.1:{port}/kmi-rotor/")))
            assert told == "done" and reached.count("POST") >= least, f"{told}: {reached}"
        told = browser.later(tries.replace("arguments[0]", json.dumps(f"http://0.0.0.0:{kmi.port}/kmi-rotor/")))
        assert told == "done", told
    # A name of the attacker's that leads here: then the page is of the same origin.
    browser.open(f"http://evil.test:{kmi.port}/")
    told = browser.later(tries.replace("arguments[0]", '"/kmi-rotor/"').replace('root.replace("http", "ws")', '"ws://" + location.host + root'))
    assert told == "done", told
    assert attempts() == before, "a page has spent something"
    assert kmi.chat() == 200
    browser.until("one line more", lambda: attempts() == before + 1)
    target.shutdown()
    foreign.shutdown()
    browser.gather()
    browser.said.clear()
    browser.requests.clear()


def nothing_leaks(kmi, browser):
    told = browser.gather()
    assert told == [], told
    foreign = [url for url in browser.requests if not url.startswith((kmi.origin + "/", "about:", "data:"))]
    assert foreign == [], foreign
    for url in browser.requests:
        assert kmi.token not in url.split("#")[0], url
    kept = [path for path in kmi.home.rglob("*") if path.is_file() and path.name not in ("token", "opened")]
    for path in kept:
        assert kmi.token.encode() not in path.read_bytes(), path


CHECKS = [
    shows_nothing_without_the_token,
    is_dressed_as_promised,
    opens_by_the_printed_address,
    rows_appear_live,
    a_choice_by_hand_is_told_by_its_label,
    attempts_are_joined,
    hostile_names_are_visible_and_inert,
    keys_do_what_the_help_says,
    fits_every_screen,
    nothing_leaks,
    nothing_can_be_injected,
    comes_back_after_a_restart,
    metrics_are_read_by_prometheus,
    other_origins_get_nothing,
    a_thousand_lines_a_second_leave_it_responsive,
    # The last one: what it opens may stay in front of the page, which then has no reason to draw.
    other_origins_spend_nothing,
]


def check(only):
    checks, model = chosen(CHECKS, only), Server(upstream)
    with tempfile.TemporaryDirectory(prefix="kmi-page-") as scratch:
        with in_time():
            kmi = Kmi(binary(), Path(scratch) / "home", model.port)
        browser = None
        try:
            with in_time():
                browser = Browser("--host-resolver-rules=MAP evil.test 127.0.0.1, MAP example.com ~NOTFOUND")
            for check in checks:
                run_check(check, kmi, browser)
        finally:
            if browser:
                browser.quit()
            kmi.stop()
            model.shutdown()


def picture(path):
    """The page before `kmi demo`, as README shows it."""
    demo, browser = Demo(binary(), 400), None
    try:
        url = demo.run("trace", "--web")
        browser = Browser()
        browser.size(1500, 1010)
        browser.scheme("light")
        browser.open(url)
        browser.until("a blocked key", lambda: "back in" in browser.text("usable"))
        # A minute that has something to show.
        time.sleep(40)
        browser.until("two blocked keys", lambda: "5 of 7" in browser.text("usable"))
        browser.driver.save_screenshot(path)
    finally:
        if browser:
            browser.quit()
        demo.stop()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--picture", metavar="FILE", help="draw README's picture, check nothing")
    arguments.add_argument("checks", nargs="*", help="only these checks")
    given = arguments.parse_args()
    picture(given.picture) if given.picture else check(given.checks)
