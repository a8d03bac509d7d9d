"""The report in a real browser, served as any file is: at two widths, in both colour schemes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from browser import Page, browser, find_browser
from made_report import HOSTILE, Made, made_verdict, write_made

from vgan.evaluation.pages import write_verdict
from vgan.workspace import Workspace

WIDTHS = (380, 1280)
ASKED: list[str] = []  # paths that the server was asked for


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A report in which a stranger's words try to break out, judged."""
    made = write_made(Workspace.open(tmp_path_factory.mktemp("report")), HOSTILE)
    write_verdict(made.folder, made.run, made.dataset, made.evaluation, made_verdict("registered", HOSTILE))
    return made


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    found = find_browser()
    if found is None:
        pytest.skip("no Chromium or Chrome on this machine")
    with browser(found, tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture(scope="module")
def url(made: Made) -> Iterator[str]:
    """Where the report is served."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            ASKED.append(self.path)
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(made.folder.report.read_bytes())

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/report.html"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_it_is_whole_plays_and_fits(tab: Page, url: str, made: Made, width: int, scheme: str, tmp_path: Path) -> None:
    """FAULTS 46: what a stranger wrote is text in a real browser too: nothing runs, and nothing is asked for."""
    ASKED.clear()
    tab.open(url, width, scheme=scheme)
    tab.until("[...document.querySelectorAll('video')].every(film => film.readyState >= 3)")
    assert tab.value("document.querySelectorAll('video').length") == 5
    tab.until("[...document.querySelectorAll('video')].some(film => film.currentTime > 0)")
    tab.value("document.querySelectorAll('details').forEach(part => part.open = true)")
    assert tab.value("document.documentElement.scrollWidth") <= width
    assert tab.value("[...document.images].every(image => image.naturalWidth > 0)")
    assert tab.value("document.body.innerText").count(HOSTILE) >= 6
    assert tab.value("document.querySelectorAll('script').length") == 0
    assert [found for found in tab.requests() if not found.startswith("data:")] == [url]
    assert tab.complaints() == []
    # A light page's background is white, a dark one's nearly black.
    assert tab.value("getComputedStyle(document.body).backgroundColor") == (
        "rgb(255, 255, 255)" if scheme == "light" else "rgb(22, 24, 28)"
    )
    tab.screenshot(tmp_path / "report.png")
    assert ASKED == ["/report.html"]


def test_its_policy_lets_nothing_out(tab: Page, url: str) -> None:
    """FAULTS 46: even a script that got in could fetch nothing."""
    tab.open(url, 1280)
    ASKED.clear()
    tab.value("fetch('/elsewhere').catch(() => 0), new Image().src = '/elsewhere.png', 1")
    tab.until("performance.now() > 0")
    tab.value("document.body.append(Object.assign(document.createElement('script'), {text: 'window.ran = 1'})), 1")
    assert tab.value("window.ran") is None
    assert len(tab.complaints()) >= 3, "the browser says what it stopped"
    assert ASKED == []


def test_keyboards_reach_the_wide_tables_and_links_lead_to_their_parts(tab: Page, url: str) -> None:
    tab.open(url, 380)
    assert tab.value("[...document.querySelectorAll('.scroll')].every(box => box.tabIndex === 0)")
    broken = "[...document.querySelectorAll('nav a')].filter(a => !document.querySelector(a.getAttribute('href')))"
    assert tab.value(f"{broken}.length") == 0
    assert tab.value("document.querySelectorAll('nav a').length") == 7
