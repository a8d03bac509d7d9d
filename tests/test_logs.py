"""One format of log lines for every process, and what machines get of it."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from vgan import logs
from vgan.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]
HOSTILE = 'two\nlines, "quotes", \x1b[31mred\x1b[0m, \u2028, \udcff and {"time": "forged"}'


def command(*words: object, **variables: str) -> tuple[int, list[dict[str, Any]], str]:
    """(exit code, each line of standard error as an object, standard output) of a real command."""
    script = [sys.executable, "-c", "from flows.cli.app import main; main()", *map(str, words)]
    env = {k: v for k, v in os.environ.items() if k != logs.VARIABLE} | variables
    done = subprocess.run(script, check=False, cwd=ROOT, env=env, capture_output=True, text=True)
    return done.returncode, [json.loads(line) for line in done.stderr.splitlines()], done.stdout


def test_an_error_is_one_object_with_its_remedy_and_its_code_and_standard_output_stays(tmp_path: Path) -> None:
    code, lines, out = command("--json-logs", "models", "--workspace", tmp_path / "none", "--json")
    assert code == 2
    (line,) = lines
    assert {"level": "ERROR", "logger": "vgan", "code": 2}.items() <= line.items()
    assert "no workspace" in line["message"] and "VGAN_WORKSPACE" in line["hint"]
    assert datetime.fromisoformat(line["time"]).utcoffset().total_seconds() == 0  # type: ignore[union-attr]
    assert json.loads(out)["error"]["code"] == 2, "what --json prints is the same as ever"


def test_the_environment_asks_as_the_option_does_and_a_wrong_option_is_an_object_too() -> None:
    code, lines, out = command("doctor", "--no-such-option", VGAN_JSON_LOGS="1")
    assert (code, out) == (2, "")
    assert [line["message"] for line in lines] == ["No such option: --no-such-option"]


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Standard error that all of this process's lines go to; loggers are afterwards as they were."""
    stream = io.StringIO()
    for name in (logs.VARIABLE, *logs.SETTINGS):
        monkeypatch.setenv(name, "")  # put back afterwards
    root, held = logging.getLogger(), ["", "vgan", "tasks", "another.library"]
    before = [(logging.getLogger(name), *_state(logging.getLogger(name))) for name in held]
    root.handlers = []
    # In the test's body: pytest puts its own stream there when the test begins.
    yield stream
    logging.captureWarnings(False)
    for logger, handlers, level, propagate in before:
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


def _state(logger: logging.Logger) -> tuple[list[logging.Handler], int, bool]:
    return list(logger.handlers), logger.level, logger.propagate


def objects(stream: io.StringIO) -> list[dict[str, Any]]:
    text = stream.getvalue()
    assert text.isascii()
    return [json.loads(line) for line in text.split("\n")[:-1]]


def test_whatever_a_process_says_on_standard_error_is_one_object_a_line(
    captured: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FAULTS 46: hostile text in a message stays within its line, for people and for machines."""
    monkeypatch.setattr(sys, "stderr", captured)
    other = logging.getLogger("another.library")
    other.propagate = False
    other.addHandler(logging.StreamHandler(sys.stderr))
    logs.as_json()
    logging.getLogger("vgan.data").warning("%s", HOSTILE)
    other.error("with a handler of its own")
    print('past logging\n{"time": forged', file=sys.stderr)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("of Python", UserWarning, stacklevel=1)
    try:
        raise ValueError(HOSTILE.replace("\udcff", ""))
    except ValueError:
        logging.getLogger("tasks").exception("it broke")
    with logs.about(stage="train", run="mine-1"):
        logs.complain(ConfigError("no.", hint="Do."))
    found = objects(captured)
    said = [(line["logger"], line["level"]) for line in found]
    assert said == [
        ("vgan.data", "WARNING"), ("another.library", "ERROR"), ("stderr", "INFO"), ("stderr", "INFO"),
        ("py.warnings", "WARNING"), ("tasks", "ERROR"), ("vgan", "ERROR"),
    ]  # fmt: skip
    assert found[0]["message"] == HOSTILE
    assert "ValueError: two\nlines" in found[5]["exception"]
    assert {"stage": "train", "run": "mine-1", "hint": "Do.", "code": 2}.items() <= found[6].items()


def test_the_line_for_people_keeps_to_one_line_and_does_not_command_the_terminal(
    captured: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", captured)
    logs.as_text(("vgan",))
    logging.getLogger("vgan.data").warning("%s", HOSTILE)
    (line, rest) = captured.getvalue().split("\n")
    assert line.startswith('WARNING vgan.data: two\\x0alines, "quotes", \\x1b[31mred') and rest == ""


def test_prefects_own_lines_are_objects_and_those_that_go_to_the_server_still_go(
    captured: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ToServer(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            sent.append(record.getMessage())

    sent: list[str] = []
    monkeypatch.setattr(sys, "stderr", captured)
    logging.getLogger("vgan").addHandler(ToServer())
    logs.as_json()
    logs.as_json()  # after imports that set up logging of their own
    logging.getLogger("vgan.training").info("told to both")
    assert sent == ["told to both"]
    assert [line["message"] for line in objects(captured)] == ["told to both"]
