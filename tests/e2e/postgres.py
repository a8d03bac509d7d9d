"""A PostgreSQL of the tests' own, which refuses to run as root."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from processes import free_port, running

PASSWORD = "canary-s3cret"


def programs() -> Path | None:
    """Where initdb and postgres are; Debian keeps them off the PATH."""
    found = shutil.which("initdb")
    there = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return Path(found).resolve().parent if found else there[-1].parent if there else None


class Postgres:
    """A server and its fresh database, which outlives it.

    Args:
        folder: for its files.
        programs: where initdb and postgres are.
    """

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder, self.port, self.programs = folder, free_port(), programs
        self.url = f"postgresql://vgan:{PASSWORD}@127.0.0.1:{self.port}/postgres"
        self.user: dict[str, Any] = {}
        if os.getuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
            self.user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        secret = folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        made = [str(programs / "initdb"), "-D", str(folder / "data"), "-U", "vgan", "-A", "scram-sha-256"]
        made += [f"--pwfile={secret}", "-E", "UTF8"]
        done = subprocess.run(made, capture_output=True, text=True, cwd=folder, check=False, **self.user)
        assert done.returncode == 0, done.stderr

    @contextmanager
    def up(self) -> Iterator[None]:
        """Listening for the length of the block; at its end all connections are cut."""
        command = [str(self.programs / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port)]
        command += ["-h", "127.0.0.1", "-k", str(self.folder), "-F"]
        log = self.folder / "log"
        with running(command, log, cwd=self.folder, **self.user) as process:
            end = time.monotonic() + 120
            while not _listens(self.port):
                assert process.poll() is None and time.monotonic() < end, log.read_text()
                time.sleep(0.2)
            yield
            process.send_signal(signal.SIGQUIT)  # its fastest way to end: the next start recovers
            process.wait(60)


@contextmanager
def postgresql() -> Iterator[Postgres]:
    """One that is not listening yet; its files go with the block."""
    where = programs()
    assert where is not None
    folder = Path(tempfile.mkdtemp(prefix="vgan-pg-"))
    try:
        yield Postgres(folder, where)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _listens(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0
