"""A process that ends with the one that started it, however that one ended. Needs the standard library only."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

from ..errors import ResumableError

SUPERVISOR = "VGAN_SUPERVISOR"  # pid of the process that started this one
PR_SET_PDEATHSIG = 1


def die_with(supervisor: int) -> None:
    """End this process, without a word, as soon as process `supervisor` has ended."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_watch, args=(supervisor,), daemon=True).start()
    if os.getppid() != supervisor:  # it ended before the line above
        os._exit(ResumableError.exit_code)


def _watch(supervisor: int) -> None:
    while os.getppid() == supervisor:
        time.sleep(0.5)
    os._exit(ResumableError.exit_code)
