"""What is kept of the machine's work while it trains."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import psutil
import pytest

from vgan.training import machine
from vgan.training.machine import MachineLog
from vgan.workspace import RunFolder


class Clock:
    """Seconds that pass when a test says so."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def time_ns(self) -> int:
        return int(1e9 * self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(machine, "time", made)
    return made


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Two graphics cards, the second of which does not know its power."""

    def power(card: int) -> int:
        if card:
            raise RuntimeError("not supported")
        return 250_000

    nvml: Any = ModuleType("pynvml")
    nvml.nvmlInit = lambda: None
    nvml.nvmlDeviceGetCount = lambda: 2
    nvml.nvmlDeviceGetHandleByIndex = lambda place: place
    nvml.nvmlDeviceGetMemoryInfo = lambda card: SimpleNamespace(used=2e9, total=8e9)
    nvml.nvmlDeviceGetUtilizationRates = lambda card: SimpleNamespace(gpu=90 + card)
    nvml.nvmlDeviceGetPowerUsage = power
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    yield nvml


def lines(folder: RunFolder) -> list[dict[str, float]]:
    return [json.loads(line) for line in folder.system.read_text().splitlines()]


def test_processor_memory_disk_and_network_are_written_under_mlflows_names(
    folder: RunFolder, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    log = MachineLog(folder)
    clock.now = 3.0
    log.look()
    (line,) = lines(folder)
    assert line.pop("time") == 3000
    assert set(line) == {
        "cpu_utilization_percentage", "system_memory_usage_megabytes", "system_memory_usage_percentage",
        "disk_usage_percentage", "disk_usage_megabytes", "disk_available_megabytes", "network_receive_megabytes",
        "network_transmit_megabytes",
    }  # fmt: skip
    assert 0 < line["system_memory_usage_megabytes"] < psutil.virtual_memory().total / 1e6
    assert 0 <= line["cpu_utilization_percentage"] <= 100


def test_cards_are_there_with_what_they_know_of_themselves(folder: RunFolder, clock: Clock, cards: ModuleType) -> None:
    log = MachineLog(folder)
    clock.now = 3.0
    log.look()
    (line,) = lines(folder)
    assert {k: v for k, v in line.items() if k.startswith("gpu_")} == {
        "gpu_0_memory_usage_megabytes": 2000.0, "gpu_0_memory_usage_percentage": 25.0,
        "gpu_0_utilization_percentage": 90.0, "gpu_0_power_usage_watts": 250.0,
        "gpu_1_memory_usage_megabytes": 2000.0, "gpu_1_memory_usage_percentage": 25.0,
        "gpu_1_utilization_percentage": 91.0,
    }  # fmt: skip


def test_lines_become_rarer_so_that_two_days_are_some_hundred(
    folder: RunFolder, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = MachineLog(folder)
    log.readers = [lambda: {"cpu_utilization_percentage": 1.0}]
    for second in range(0, 2 * 86_400, 2):
        clock.now = float(second)
        log.look()
    told = [int(line["time"]) // 1000 for line in lines(folder)]
    assert told[:3] == [2, 12, 22]
    assert 300 < len(told) < 1000
    assert max(b - a for a, b in pairwise(told)) <= machine.MOST_SECONDS + 2


def test_nothing_that_goes_wrong_stops_the_work(folder: RunFolder, clock: Clock, cards: Any) -> None:
    def broken(*arguments: object) -> None:
        raise RuntimeError("the driver is gone")

    cards.nvmlInit = broken
    log = MachineLog(folder)
    clock.now = 3.0
    log.look()
    assert "cpu_utilization_percentage" in lines(folder)[0]
    log.readers.append(broken)
    lost = MachineLog(RunFolder(folder.path / "gone"))
    clock.now = 60.0
    log.look()
    lost.look()
    assert len(lines(folder)) == 2 and not lost.folder.path.exists()
