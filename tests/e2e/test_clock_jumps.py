"""A clock that jumps while the whole chain runs: every Python process is told another time of day.

By a module that Python imports at each start. libfaketime cannot do it: with its 0.9.10 Python's `time.sleep` fails.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from processes import BIN, clean_env, options, running, vgan
from served import INGEST, SECONDS, TRAIN, checkpoints, outcome, wait_for

HOUR, DAY = 3600, 86_400
WRONG = """
import os, time
real_time, real_time_ns = time.time, time.time_ns
def offset():
    with open(os.environ["CLOCK"]) as file:
        return int(file.read())
time.time = lambda: real_time() + offset()
time.time_ns = lambda: real_time_ns() + offset() * 10**9
"""


class Clock:
    """What the processes of an environment take for the time of day; spans of time pass as they do."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "clock"
        self.jump(0)
        (folder / "sitecustomize.py").write_text(WRONG)
        home = str(folder / "prefect")
        self.env = clean_env(CLOCK=str(self.file), PYTHONPATH=str(folder), PREFECT_HOME=home, OMP_NUM_THREADS="1")

    def jump(self, seconds: int) -> None:
        """So far from what it really is."""
        new = self.file.with_suffix(".new")
        new.write_text(str(seconds))
        new.replace(self.file)  # nobody reads half a number


@pytest.mark.timeout(900)  # on a machine that is busy
def test_the_chain_ends_as_ever_although_the_clock_jumps_back_and_forward(
    shapes_videos: Path, undisturbed: tuple[str, bytes], tmp_path: Path
) -> None:
    """FAULTS 43: back by a day and a half while it trains, then on by a year; the same call later finds all done."""
    clock, workspace, log = Clock(tmp_path), tmp_path / "workspace", tmp_path / "log"
    words = ["run", "--videos", shapes_videos, "--name", "shapes", "--workspace", workspace]
    words += [word for one in (INGEST, TRAIN) for word in options(one)]
    command = [str(word) for word in [BIN / "vgan", *words, "--json"]]
    with running(command, log, env=clock.env) as process:
        wait_for(lambda: checkpoints(workspace) or process.poll() is not None, log.read_text)
        clock.jump(-36 * HOUR)
        (run,) = workspace.glob("runs/*")
        wait_for(lambda: (run / "run.json").exists() or process.poll() is not None, log.read_text)
        clock.jump(400 * DAY)
        assert process.wait(SECONDS) == 0, log.read_text()
    assert outcome(workspace) == undisturbed
    assert json.loads((run / "run.json").read_text())["seconds"] < SECONDS

    clock.jump(-DAY)
    again = vgan(*words, env=clock.env)
    assert set(again["stages"].values()) == {"unchanged"}
    assert len(list(workspace.glob("runs/*"))) == 1
