"""A real S3 endpoint, a process of its own on loopback: moto's server."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

START_SECONDS = 60
PAGE = 100  # files in one answer to a listing; 1,000 at Amazon, which takes a test seconds to fill
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "canary-of-the-secret-key",
    "AWS_DEFAULT_REGION": "us-east-1",
    # No file of the developer's account decides anything here.
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}


@dataclass(frozen=True)
class S3Server:
    """A running endpoint and the environment in which drivers find it."""

    endpoint: str
    environment: dict[str, str]

    def bucket(self, name: str) -> str:
        """Make a bucket; returns its URL."""
        # moto reads which service is meant from the header, and checks no signature.
        sign = "AWS4-HMAC-SHA256 Credential=testing/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
        request = urllib.request.Request(f"{self.endpoint}/{name}", method="PUT", headers={"Authorization": sign})
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200
        return f"s3://{name}"


def free_port() -> int:
    """A port that nobody listens on, just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def s3_server(log: Path) -> Generator[S3Server]:
    """Run an endpoint until the block ends; what it says goes to `log`."""
    with contextlib.ExitStack() as stack:
        for _ in range(3):  # the port may be taken between asking for it and listening
            port = free_port()
            child = stack.enter_context(_process(port, log))
            if _answers(f"http://127.0.0.1:{port}", child):
                break
        else:
            raise RuntimeError(f"no S3 endpoint after three attempts: {log.read_text()[-2000:]}")
        endpoint = f"http://127.0.0.1:{port}"
        yield S3Server(endpoint, ENVIRONMENT | {"AWS_ENDPOINT_URL": endpoint})


@contextlib.contextmanager
def _process(port: int, log: Path) -> Generator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with open(log, "ab") as output:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **ENVIRONMENT, "MOTO_S3_DEFAULT_MAX_KEYS": "100"},
        )
    try:
        yield child
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()


def _answers(endpoint: str, child: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and child.poll() is None:
        try:
            with urllib.request.urlopen(f"{endpoint}/moto-api/", timeout=5):
                return True
        except urllib.error.HTTPError:
            return True
        except OSError:
            time.sleep(0.05)
    return False


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Generator[S3Server]:
    """One endpoint for all tests of a session."""
    with s3_server(tmp_path_factory.mktemp("s3") / "server.log") as server:
        yield server


_numbers = count(1)


@pytest.fixture
def bucket(s3_endpoint: S3Server, s3_environment: None, monkeypatch: pytest.MonkeyPatch) -> str:
    """URL of a new, empty bucket; the environment leads there."""
    for name, value in s3_endpoint.environment.items():
        monkeypatch.setenv(name, value)
    return s3_endpoint.bucket(f"bucket-{next(_numbers)}")


@pytest.fixture
def s3_environment(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """Nothing of the developer's own account, and no driver that remembers another endpoint."""
    from s3fs import S3FileSystem

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    S3FileSystem.clear_instance_cache()
    yield
    S3FileSystem.clear_instance_cache()
