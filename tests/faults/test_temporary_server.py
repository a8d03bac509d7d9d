"""A uvicorn server, such as Prefect's temporary one, that ends with the process that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil

PARENT = """
import os, signal, subprocess, sys
from flows.cli.temporary_server import mortal_servers
before = dict(os.environ)
with mortal_servers():
    server = subprocess.Popen([sys.executable, "-m", "uvicorn", "--factory", "builtins:dict", "--port", "0"])
assert os.environ == before
print(server.pid, flush=True)
signal.pause()
"""


def test_a_server_ends_although_its_parent_was_killed() -> None:
    """FAULTS 10: SIGKILL leaves the parent no moment to stop it."""
    pipe = subprocess.PIPE
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=pipe, stderr=pipe, text=True, process_group=0)
    try:
        assert parent.stdout and parent.stderr
        server = psutil.Process(int(parent.stdout.readline()))
        for line in parent.stderr:
            if "Uvicorn running" in line:
                break
        else:
            raise AssertionError("the server never began")
        parent.kill()
        server.wait(60)
    finally:
        os.killpg(parent.pid, signal.SIGKILL)
        parent.communicate()
