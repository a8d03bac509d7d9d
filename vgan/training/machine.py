"""What the machine does while it trains: a line now and then in system.jsonl, by the process that supervises.

The figures are those of the whole machine under the names that MLflow gives them, so that its page of system metrics
shows them; the disk is that of the run's folder. Graphics cards are asked where nvidia-ml-py is installed.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

from ..workspace import RunFolder

log = logging.getLogger(__name__)

FIRST_SECONDS = 2.0  # until the first line: short runs have one too
SECONDS = 10.0  # between lines at least
SHARE = 0.01  # of the time so far, between lines of a long run: two days make some 700 lines
MOST_SECONDS = 300.0
MB = 1e6

Figures = dict[str, float]


class MachineLog:
    """Appends to system.jsonl for one attempt. Nothing that goes wrong here is a reason to stop."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.started = time.monotonic()
        self.due = self.started + FIRST_SECONDS
        self.readers: list[Callable[[], Figures]] = []
        self._received, self._sent = 0.0, 0.0
        with contextlib.suppress(Exception):
            self._begin()

    def look(self) -> None:
        """Write a line if it is time to."""
        now = time.monotonic()
        if now < self.due:
            return
        self.due = now + min(MOST_SECONDS, max(SECONDS, SHARE * (now - self.started)))
        figures: Figures = {}
        for reader in self.readers:
            with contextlib.suppress(Exception):
                figures |= reader()
        if not figures:
            return
        line = {"time": time.time_ns() // 1_000_000, **{name: round(value, 2) for name, value in figures.items()}}
        with contextlib.suppress(OSError), open(self.folder.system, "a") as file:
            file.write(json.dumps(line) + "\n")

    def _begin(self) -> None:
        import psutil

        psutil.cpu_percent(None)  # measured from here on
        counted = psutil.net_io_counters()
        self._received, self._sent = counted.bytes_recv, counted.bytes_sent
        self.readers = [self._computer, *_cards()]

    def _computer(self) -> Figures:
        import psutil

        memory, network = psutil.virtual_memory(), psutil.net_io_counters()
        disk = psutil.disk_usage(str(self.folder.path))
        return {
            "cpu_utilization_percentage": psutil.cpu_percent(None),
            "system_memory_usage_megabytes": memory.used / MB,
            "system_memory_usage_percentage": memory.percent,
            "disk_usage_percentage": disk.percent,
            "disk_usage_megabytes": disk.used / MB,
            "disk_available_megabytes": disk.free / MB,
            "network_receive_megabytes": (network.bytes_recv - self._received) / MB,
            "network_transmit_megabytes": (network.bytes_sent - self._sent) / MB,
        }


def _cards() -> list[Callable[[], Figures]]:
    """A reader of each graphics card; [] without nvidia-ml-py, a driver or a card."""
    try:
        nvml: Any = import_module("pynvml")
        nvml.nvmlInit()
        return [
            _card(nvml, place, nvml.nvmlDeviceGetHandleByIndex(place)) for place in range(nvml.nvmlDeviceGetCount())
        ]
    except Exception as error:  # of the import, and of whatever the driver thinks of
        log.debug("no figures of graphics cards: %s", error)
        return []


def _card(nvml: Any, place: int, handle: Any) -> Callable[[], Figures]:
    def memory() -> Figures:
        held = nvml.nvmlDeviceGetMemoryInfo(handle)
        return {"memory_usage_megabytes": held.used / MB, "memory_usage_percentage": 100.0 * held.used / held.total}

    def use() -> Figures:
        return {"utilization_percentage": float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)}

    def power() -> Figures:
        return {"power_usage_watts": nvml.nvmlDeviceGetPowerUsage(handle) / 1000}

    def read() -> Figures:
        figures: Figures = {}
        for part in (memory, use, power):  # cards know more or less of themselves
            with contextlib.suppress(Exception):
                figures |= {f"gpu_{place}_{name}": value for name, value in part().items()}
        return figures

    return read
