"""The most memory that this process has had."""

import resource
import sys
from pathlib import Path


def peak_mb() -> float:
    """Since its program was started: what `getrusage` says includes the peak of whoever started it."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)
