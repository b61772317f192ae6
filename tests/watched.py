"""A kmi to look at, for the scripts that do: one whose names are hostile, and the demonstration."""

import json
import os
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import running
from running import PATIENCE

LABELS = ["alpha", "<b>bravo</b>", "charlie & co"]
LIMITED = "sk-page-key-0001"
SCRIPT = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
ODD = "bell\u0007 c1\u009b bidi\u202eevil\u2066 " + SCRIPT


def no_desktop():
    """The environment, but nothing can be opened on a screen."""
    return {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}


class Server(ThreadingHTTPServer):
    """A server on a free port whose answers `answer(handler)` writes."""

    daemon_threads = True

    def __init__(self, answer):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                answer(self)

            do_POST = do_GET

            def log_message(self, *_):
                pass

            def reply(self, status, body, kind="application/json", **headers):
                data = body.encode() if isinstance(body, str) else body
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                self.wfile.write(data)

        super().__init__(("127.0.0.1", 0), Handler)
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()


def upstream(handler):
    """Answers as a model would; the first key is limited for the model `limited`."""
    body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
    try:
        model = json.loads(body or b"{}").get("model", "")
    except ValueError:
        model = ""  # Some checks send what is no JSON.
    if model == "limited" and handler.headers["Authorization"].endswith(LIMITED):
        error = {"error": {"message": f"slow down {ODD}", "type": "rate_limit_reached_error"}}
        return handler.reply(429, json.dumps(error), Retry_After="20")
    usage = {"prompt_tokens": 1200, "completion_tokens": 34, "prompt_tokens_details": {"cached_tokens": 1000}}
    return handler.reply(200, json.dumps({"choices": [], "usage": usage}))


class Kmi(running.Kmi):
    """A running `kmi serve` whose keys have hostile names, at a port that stays."""

    def __init__(self, kmi, home, upstream_port):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        super().__init__(home, f"http://127.0.0.1:{upstream_port}/v1", keys=[], listen=f"127.0.0.1:{self.port}")
        self.kmi = kmi
        for number, label in enumerate(LABELS, 1):
            file = home / "_auths" / f"{number}.json"
            file.write_text(json.dumps({"api_key": f"sk-page-key-{number:04}", "label": label}))
            file.chmod(0o600)
        self.origin = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self):
        assert super().start(), self.said()

    def run(self, *args, **env):
        return super().run(*args, env=no_desktop() | env).strip()

    def page(self):
        return self.run("trace", "--web")

    def chat(self, model="kimi-for-coding", session=None):
        """One request; the status of its answer."""
        body = json.dumps({"model": model, "messages": [], "prompt_cache_key": session}).encode()
        return self.ask("/kmi-rotor/v1/chat/completions", body, Content_Type="application/json")[0]

    def ask(self, path, body=None, token=True, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if token:
            headers["Authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(self.origin + path, body, headers)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return answer.status, answer.headers, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read().decode()


class Demo:
    """A running `kmi demo --serve`; its home goes away with it."""

    def __init__(self, kmi, requests):
        command = [kmi, "demo", "--serve", "--requests", str(requests), "--color", "never"]
        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        self.kmi = kmi
        self.process = subprocess.Popen(command, text=True, env=no_desktop(), **pipes)
        self.home = None
        for line in self.process.stderr:
            if "--home " in line:
                self.home = line.split("--home ")[1].split()[0]
            # The requests are done, and their turns are in the trace.
            if "visitors go on" in line:
                break
        assert self.home, "kmi demo --serve did not start"
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def run(self, *args):
        done = subprocess.run([self.kmi, "--home", self.home, *args], env=no_desktop(), capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, f"kmi {args}: {done.stderr}"
        return done.stdout.strip()

    def stop(self):
        self.process.terminate()
        self.process.wait(PATIENCE)
