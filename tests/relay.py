"""An HTTP server on loopback that answers by a script: alone, or in front of a real server."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

Action = Literal["pass", "refuse", "lose"]  # on to the real server; answer 503; pass it on and answer 503
Script = Callable[[str, str], Action]  # of method and path


class Relay(ThreadingHTTPServer):
    """Asks its script about each request and remembers them all."""

    daemon_threads = True

    def __init__(self, script: Script, behind: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script, self.behind = script, behind
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Relay  # pyright: ignore[reportIncompatibleVariableOverride]

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append(f"{self.command} {self.path}")
        action = self.server.script(self.command, self.path)
        status, content = (503, b"{}") if action == "refuse" else self._pass_on(body)
        if action != "pass":
            status, content = 503, b"{}"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _pass_on(self, body: bytes) -> tuple[int, bytes]:
        kept = {key: value for key, value in self.headers.items() if key in ("Content-Type", "Accept")}
        url = f"{self.server.behind}{self.path}"
        request = urllib.request.Request(url, body or None, kept, method=self.command)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except OSError:
            return 502, b"{}"

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _answer

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def relayed(script: Script, behind: str = "") -> Iterator[Relay]:
    """A relay for the length of the block."""
    server = Relay(script, behind)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
