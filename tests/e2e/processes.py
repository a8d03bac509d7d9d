"""Real servers and real processes, started and stopped by the slow tests."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def running(command: list[str], log: Path, **settings: object) -> Iterator[subprocess.Popen[bytes]]:
    """A server for the length of the block; its whole process group ends with it."""
    with open(log, "wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, process_group=0, **settings)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        for signal_number, seconds in ((15, 20), (9, 10)):
            try:
                os.killpg(process.pid, signal_number)
                process.wait(seconds)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue


def wait_until_answers(url: str, process: subprocess.Popen[bytes], log: Path, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert process.poll() is None, f"the server ended:\n{log.read_text()[-3000:]}"
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.3)
    raise AssertionError(f"{url} never answered:\n{log.read_text()[-3000:]}")


def ask_server(url: str, body: dict[str, Any] | None = None, method: str | None = None, seconds: float = 120) -> Any:
    """What a server answers, None where it answers nothing.

    A busy one is asked again until the seconds are over: its database is locked (503), or it does not answer in time.
    """
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    end = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read() or "null")
        except urllib.error.HTTPError as error:
            if error.code != 503 or time.monotonic() > end:
                raise
        except OSError:
            if time.monotonic() > end:
                raise
        time.sleep(1)


def vgan(*arguments: object, env: dict[str, str] | None = None, cwd: Path | None = None, code: int = 0) -> dict:
    """Run the installed command with --json; returns its object."""
    command = [str(BIN / "vgan"), *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=env or clean_env(), cwd=cwd, check=False)
    assert done.returncode == code, f"{command} ended with {done.returncode}:\n{done.stderr[-4000:]}"
    return json.loads(done.stdout)


def options(config: dict[str, Any]) -> list[object]:
    """The fields of a configuration as a command takes them."""
    return [word for key, value in config.items() for word in (f"--{key}", value)]


def clean_env(**extra: str) -> dict[str, str]:
    """This environment without what would lead a child to somebody's server or workspace."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_", "VGAN_"))}
    return {**kept, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", **extra}
