"""A command that is killed leaves nothing running."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
from processes import BIN, clean_env, running
from served import INGEST, SECONDS, checkpoints, wait_for


@pytest.mark.timeout(900)  # on a machine that is busy
def test_a_killed_command_leaves_no_server_and_no_training(shapes_videos: Path, tmp_path: Path) -> None:
    """FAULTS 10: Prefect's temporary server ends with `vgan run`, which could not tell it to."""
    workspace, log = tmp_path / "workspace", tmp_path / "log"
    command = [str(BIN / "vgan"), "run", "--videos", str(shapes_videos), "--name", "shapes"]
    for name, value in INGEST.items():
        command += [f"--{name}", str(value)]
    command += ["--workspace", str(workspace), "--budget", "100kclips", "--batch", "4", "--threads", "1"]
    with running(command, log, env=clean_env(PREFECT_HOME=str(tmp_path / "prefect"))) as process:
        wait_for(lambda: checkpoints(workspace) or list(workspace.glob("runs/*/metrics.jsonl")), log.read_text)
        family = psutil.Process(process.pid).children(recursive=True)
        said = [" ".join(child.cmdline()) for child in family]
        assert any("uvicorn" in line for line in said) and any("vgan.training" in line for line in said), said
        process.kill()
        _, alive = psutil.wait_procs(family, timeout=SECONDS)
        assert not alive
