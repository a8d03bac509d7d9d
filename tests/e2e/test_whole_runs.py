"""`vgan run` and `vgan demo` from end to end: killed, interrupted, repeated, and with nothing to work on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from processes import BIN, clean_env, vgan

SMALL = ["--frames", "8", "--height", "32", "--width", "32", "--labels", "folder", "--threads", "1"]
SHORT = [*SMALL, "--evaluate-clips", "16", "--evaluate-bootstrap", "20"]


def start(workspace: Path, videos: Path, *options: str, prefect: Path | None = None) -> subprocess.Popen[str]:
    command = [str(BIN / "vgan"), "run", "--videos", str(videos), "--name", "shapes", "--workspace", str(workspace)]
    env = clean_env(PREFECT_HOME=str(prefect or workspace / "prefect"))
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [*command, *SHORT, *options, "--json"], stdout=pipe, stderr=pipe, text=True, env=env, process_group=0
    )


def trainings(parent: int) -> list[psutil.Process]:
    """The training processes below a process."""
    try:
        children = psutil.Process(parent).children(recursive=True)
        return [child for child in children if "vgan.training" in " ".join(child.cmdline())]
    except psutil.NoSuchProcess:
        return []


def wait_for(what: Callable[[], object], run: subprocess.Popen[str], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert run.poll() is None, run.communicate()[1][-3000:]
        assert time.monotonic() < end
        time.sleep(0.05)


def checkpoints(workspace: Path) -> list[Path]:
    """Manifests: tensors that none names yet are no checkpoint."""
    return list(workspace.glob("runs/*/checkpoints/????????.json"))


def weights(workspace: Path) -> str:
    (record,) = workspace.glob("runs/*/run.json")
    return json.loads(record.read_text())["generator"]["weights_sha256"]


@pytest.fixture(scope="module")
def undisturbed(shapes_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = tmp_path_factory.mktemp("undisturbed")
    run = start(workspace, shapes_videos, "--budget", "2kclips")
    _, logs = run.communicate(timeout=240)
    assert run.returncode == 0, logs[-4000:]
    return workspace


def test_training_killed_by_sigkill_is_resumed_by_the_retry_and_ends_with_the_same_weights(
    undisturbed: Path, shapes_videos: Path, tmp_path: Path
) -> None:
    run = start(tmp_path, shapes_videos, "--budget", "2kclips")
    wait_for(lambda: checkpoints(tmp_path) and trainings(run.pid), run)
    for training in trainings(run.pid):
        training.kill()
    out, logs = run.communicate(timeout=240)
    assert run.returncode == 0, logs[-4000:]
    assert "killed by signal 9" in logs
    assert "resum" in (next(tmp_path.glob("runs/*/train.log"))).read_text()
    assert weights(tmp_path) == weights(undisturbed)
    assert json.loads(out)["champion"] is True
    (one,), (other,) = tmp_path.glob("runs/*/metrics.jsonl"), undisturbed.glob("runs/*/metrics.jsonl")
    assert one.read_bytes() == other.read_bytes()


def test_a_second_run_recomputes_nothing(undisturbed: Path, shapes_videos: Path, tmp_path: Path) -> None:
    """FAULTS 40: with a Prefect server that knows nothing any more, manifests alone say what is done."""
    before = {p: p.stat().st_mtime_ns for p in undisturbed.glob("datasets/**/*.tar")}
    run = start(undisturbed, shapes_videos, "--budget", "2kclips", prefect=tmp_path / "forgetful")
    out, logs = run.communicate(timeout=240)
    assert run.returncode == 0, logs[-4000:]
    result = json.loads(out)
    assert result["stages"] == dict.fromkeys(("ingest", "train", "evaluate", "register"), "unchanged")
    assert result["videos"] == {"accepted": 0, "rejected": 0, "unchanged": 24}
    assert {p: p.stat().st_mtime_ns for p in undisturbed.glob("datasets/**/*.tar")} == before


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_ends_with_75_and_leaves_no_process_and_nothing_half_written(
    presses: int, shapes_videos: Path, tmp_path: Path
) -> None:
    run = start(tmp_path, shapes_videos, "--budget", "100kclips")
    wait_for(lambda: any(tmp_path.glob("runs/*/metrics.jsonl")) and trainings(run.pid), run)
    family = psutil.Process(run.pid).children(recursive=True)
    for press in range(presses):
        time.sleep(0.5 * press)
        os.killpg(run.pid, signal.SIGINT)
    out, logs = run.communicate(timeout=60)
    assert run.returncode == 75, (run.returncode, logs[-3000:])
    assert json.loads(out)["error"]["code"] == 75
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not [p for p in alive if "vgan" in " ".join(p.cmdline())]
    assert not list(tmp_path.glob("runs/*/run.json"))
    assert vgan("verify", "--name", "shapes", "--workspace", tmp_path)["ok"] is True


def test_metrics_samples_and_a_report_are_there_for_people(undisturbed: Path) -> None:
    (report,) = undisturbed.glob("runs/*/report.html")
    assert "<table" in report.read_text()
    assert list(undisturbed.glob("runs/*/samples/contact-sheet.png"))
    assert list(undisturbed.glob("runs/*/samples/*.mp4"))


@pytest.mark.parametrize(
    ("files", "said"),
    [({}, "no video"), ({"a.mp4": b""}, "the only video"), ({"a.mp4": b"text", "b.mkv": b"\0" * 99}, "none of the")],
)
def test_nothing_to_work_on_ends_with_65(files: dict[str, bytes], said: str, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    for name, content in files.items():
        (tmp_path / "videos" / name).write_bytes(content)
    command = ("ingest", "--videos", tmp_path / "videos", "--name", "a", "--workspace", tmp_path / "w")
    assert said in vgan(*command, code=65)["error"]["message"]
    assert not (tmp_path / "w" / "datasets" / "a" / "manifest.json").exists()


def test_a_missing_ffmpeg_ends_with_2_and_the_remedy(shapes_videos: Path, tmp_path: Path) -> None:
    """FAULTS 30: before training, not after it; ingest decodes without the program."""
    env = clean_env(VGAN_FFMPEG=str(tmp_path / "none"), PREFECT_HOME=str(tmp_path / "prefect"))
    command = ("--videos", shapes_videos, "--name", "a", "--frames", "8", "--workspace", tmp_path / "w")
    assert vgan("ingest", *command, env=env)["videos"]["rejected"] == 0
    assert "ffmpeg" in vgan("run", *command, env=env, code=2)["error"]["message"]
    assert not list((tmp_path / "w").glob("runs/*"))
    found = {
        check["check"]: check for check in vgan("doctor", "--workspace", tmp_path / "w", env=env, code=2)["checks"]
    }
    assert found["ffmpeg"]["state"] == "missing"
    assert found["ffmpeg"]["remedy"]


def test_doctor_finds_everything_here_and_names_a_server_that_is_away(tmp_path: Path) -> None:
    assert vgan("doctor", "--workspace", tmp_path)["ok"] is True
    env = clean_env(PREFECT_API_URL="http://127.0.0.1:9/api", MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    checks = vgan("doctor", "--workspace", tmp_path, env=env, code=2)["checks"]
    assert {check["check"] for check in checks if check["state"] == "missing"} == {"prefect", "mlflow"}


def test_an_unwritable_workspace_ends_with_74(shapes_videos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    command = ("run", "--videos", shapes_videos, "--name", "a", "--workspace", tmp_path / "file")
    assert "cannot be written" in vgan(*command, code=74)["error"]["message"]


def test_the_demo_ends_with_a_registered_champion(tmp_path: Path) -> None:
    env = clean_env(PREFECT_HOME=str(tmp_path / "prefect"))
    result = vgan("demo", "--budget", "2kclips", "--workspace", tmp_path / "w", env=env)
    assert result["champion"] is True
    assert result["model_uri"] == "models:/shapes/1"
    assert result["clips"]["train"] > 300
    assert all(metric["floor"] is not None for metric in result["metrics"].values())
