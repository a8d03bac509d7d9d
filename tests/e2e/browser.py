"""A real browser without a window, driven through a pipe by the DevTools protocol; no library is needed."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--mute-audio"),
    *("--disable-dev-shm-usage", "--disable-extensions", "--disable-background-networking", "--no-first-run"),
    *("--remote-debugging-pipe", "--autoplay-policy=no-user-gesture-required"),
)
# The protocol wants its pipes as 3 and 4; copied to above them first, so that neither is closed by the other.
LAUNCH = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
for place, end in enumerate(ends, 3):
    os.dup2(end, place)
os.execv(sys.argv[3], sys.argv[3:])
"""
ANSWER_SECONDS = 60.0


def find_browser() -> str | None:
    """The browser of this machine, None when there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Page:
    """One tab: `events` holds all that it has told so far."""

    def __init__(self, write: int, read: int) -> None:
        self.events: list[dict[str, Any]] = []
        self._write, self._read, self._rest, self._last, self._session = write, read, b"", 0, ""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **params: object) -> dict[str, Any]:
        """The answer to a command; what happens meanwhile goes to `events`."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + ANSWER_SECONDS
        while time.monotonic() < end:
            for answer in self._receive(end - time.monotonic()):
                if answer.get("id") == self._last:
                    assert "error" not in answer, answer["error"]
                    return answer["result"]
                self.events.append(answer)
        raise AssertionError(f"the browser did not answer {method}")

    def _receive(self, seconds: float) -> list[dict[str, Any]]:
        if not select.select([self._read], [], [], max(0.0, seconds))[0]:
            return []
        *whole, self._rest = (self._rest + os.read(self._read, 1 << 20)).split(b"\0")
        return [json.loads(text) for text in whole]

    def open(self, url: str, width: int, height: int = 900, scheme: str = "light") -> None:
        """Load a page in a window of this width, and wait until it is there."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.events.clear()
        self.ask("Page.navigate", url=url)
        self.until("document.readyState == 'complete'")

    def value(self, expression: str) -> Any:
        """What a JavaScript expression gives."""
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, expression: str, seconds: float = 60.0) -> None:
        """Wait until a JavaScript expression is true."""
        end = time.monotonic() + seconds
        while not self.value(expression):
            assert time.monotonic() < end, f"never true: {expression}"
            time.sleep(0.05)

    def screenshot(self, path: Path) -> None:
        """The whole page as a png."""
        size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(shot["data"]))

    def requests(self) -> list[str]:
        """Every URL that was asked for since the page was opened."""
        return [e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"]

    def complaints(self) -> list[str]:
        """What stands in the console: errors, warnings, and what the security policy stopped."""
        told = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
        return [json.dumps(event["params"]) for event in self.events if event["method"] in told]


@contextmanager
def browser(executable: str, profile: Path) -> Iterator[Page]:
    """A browser with an empty profile, for the length of the block."""
    to_browser, from_browser = os.pipe(), os.pipe()
    ends = (to_browser[0], from_browser[1])
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCH, *map(str, ends), executable, *FLAGS, f"--user-data-dir={profile}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=ends,
    )  # fmt: skip
    os.close(to_browser[0])
    os.close(from_browser[1])
    try:
        yield Page(to_browser[1], from_browser[0])
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(to_browser[1])
        os.close(from_browser[0])
