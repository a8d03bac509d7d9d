"""A PostgreSQL of the tests' own, which refuses to run as root."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from processes import free_port, running

PASSWORD = "canary-s3cret"


def programs() -> Path | None:
    """Where initdb and postgres are; Debian keeps them off the PATH."""
    found = shutil.which("initdb")
    there = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return Path(found).resolve().parent if found else there[-1].parent if there else None


@contextmanager
def postgresql() -> Iterator[str]:
    """The URL of a fresh database that its user owns; the server ends with the block."""
    folder, port = Path(tempfile.mkdtemp(prefix="vgan-pg-")), free_port()
    where = programs()
    assert where is not None
    other = {}
    if os.getuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        other = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    secret = folder / "password"
    secret.write_text(PASSWORD)
    secret.chmod(0o644)
    data = str(folder / "data")
    made = [str(where / "initdb"), "-D", data, "-U", "vgan", "-A", "scram-sha-256", f"--pwfile={secret}", "-E", "UTF8"]
    done = subprocess.run(made, capture_output=True, text=True, cwd=folder, check=False, **other)
    assert done.returncode == 0, done.stderr
    command = [str(where / "postgres"), "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", str(folder), "-F"]
    log = folder / "log"
    try:
        with running(command, log, cwd=folder, **other) as process:
            end = time.monotonic() + 120
            while not _listens(port):
                assert process.poll() is None and time.monotonic() < end, log.read_text()
                time.sleep(0.2)
            yield f"postgresql://vgan:{PASSWORD}@127.0.0.1:{port}/postgres"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _listens(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0
