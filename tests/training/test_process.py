import contextlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load, save
from shapes_dataset import write_dataset
from small_training import small_networks
from test_checkpoint import replace, tensors_of

from vgan.config import TrainConfig
from vgan.data.manifest import load_dataset, write_version
from vgan.errors import ConfigError, CorruptDataError, DivergedError, ResumableError, StoppedError
from vgan.storage import sha256_file
from vgan.training import process
from vgan.training.plan import prepare
from vgan.training.process import train
from vgan.workspace import RunFolder, Workspace

CONFIG = TrainConfig(budget="0.08kclips", batch=2, threads=1, device="cpu", checkpoints=8)  # 40 steps, saved every 5
STEPS = 40
ENDLESS = CONFIG.model_copy(update={"budget": "100kclips"})  # ends by a signal only


def start_child(workspace: Workspace, config: TrainConfig) -> tuple[RunFolder, subprocess.Popen[bytes]]:
    key = prepare(workspace, load_dataset(workspace, "shapes"), config)
    command = [sys.executable, "-m", "vgan.training", "--workspace", str(workspace.root), "--run", key]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    return workspace.run(key), child


def wait_for_step(folder: RunFolder, child: subprocess.Popen[bytes], step: int) -> None:
    """Return as soon as metrics.jsonl has reached `step`."""
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline and child.poll() is None:
        lines = folder.metrics.read_bytes().split(b"\n")[:-1] if folder.metrics.exists() else []
        if lines and json.loads(lines[-1])["step"] >= step:
            return
        time.sleep(0.002)
    raise AssertionError(f"step {step} was not reached: {child.communicate()[1].decode()}")


def results(folder: RunFolder) -> dict[str, str]:
    """Hashes of what a run leaves: the last checkpoint (weights, EMA, optimizers), the generator, the metrics."""
    files = [tensors_of(folder, STEPS), folder.generator / "weights.safetensors", folder.metrics]
    return {file.name: sha256_file(file) for file in files}


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    with small_networks():
        yield


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, RunFolder]:
    workspace = Workspace.open(tmp_path_factory.mktemp("undisturbed"))
    write_dataset(workspace)
    record, unchanged = train(workspace, "shapes", CONFIG)
    assert not unchanged
    return workspace, workspace.run(record.run)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, subprocess.Popen[bytes], str]:
    """A workspace with a run that SIGTERM stopped, its child, and what the child said."""
    workspace = Workspace.open(tmp_path_factory.mktemp("stopped"))
    write_dataset(workspace)
    folder, child = start_child(workspace, CONFIG)
    wait_for_step(folder, child, 7)
    child.terminate()
    return workspace, child, child.communicate()[1].decode()


@pytest.fixture
def stopped_copy(stopped, tmp_path) -> tuple[Workspace, RunFolder, int]:
    """A copy of it, its run, and the step of the last checkpoint."""
    shutil.copytree(stopped[0].root, tmp_path / "copy")
    workspace = Workspace.open(tmp_path / "copy")
    (folder,) = workspace.root.glob("runs/*")
    return workspace, RunFolder(folder), int(max((folder / "checkpoints").glob("*.json")).stem)


def test_sigterm_saves_a_checkpoint_of_this_very_step_and_exits_with_75(stopped, stopped_copy):
    """FAULTS 9: preempted, it loses nothing."""
    _, child, said = stopped
    _, folder, saved = stopped_copy
    assert child.returncode == 75, said
    assert f"error: stopped at step {saved} of {STEPS}" in said
    assert json.loads(folder.metrics.read_text().splitlines()[-1])["step"] == saved
    assert not folder.record.exists()


def test_a_run_stopped_by_a_signal_resumes_to_the_same_weights(stopped_copy, undisturbed):
    """FAULTS 9: the same command goes on."""
    workspace, folder, _ = stopped_copy
    train(workspace, "shapes", CONFIG)
    assert results(folder) == results(undisturbed[1])


@pytest.mark.e2e
def test_a_dataset_version_made_meanwhile_does_not_disturb_a_run(stopped_copy, undisturbed):
    workspace, folder, _ = stopped_copy
    planned = load_dataset(workspace, "shapes")
    newer = planned.model_copy(update={"config": planned.config.model_copy(update={"stride": 2.0})})
    write_version(workspace.dataset("shapes"), newer)
    record, _ = train(workspace, "shapes", CONFIG, version=planned.digest())
    assert record.dataset_digest == planned.digest() != newer.digest()
    assert results(folder) == results(undisturbed[1])


def test_a_finished_run_is_returned_unchanged_without_a_child(undisturbed, monkeypatch):
    workspace, folder = undisturbed
    monkeypatch.setattr(subprocess, "Popen", None)
    record, unchanged = train(workspace, "shapes", CONFIG.model_copy(update={"threads": 2, "checkpoints": 3}))
    assert unchanged
    assert record.run == folder.path.name


def test_damaged_final_weights_are_made_again_from_the_last_checkpoint(undisturbed):
    workspace, folder = undisturbed
    before = results(folder)
    weights = folder.generator / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    record, unchanged = train(workspace, "shapes", CONFIG)
    assert not unchanged
    assert results(folder) == before
    assert record.generator.weights_sha256 == before["weights.safetensors"]


def test_progress_and_metrics_are_delivered_once_and_in_order(workspace):
    lines: list[dict[str, float]] = []
    reports: list[tuple[float, float]] = []
    config = CONFIG.model_copy(update={"budget": "0.02kclips"})
    record, _ = train(
        workspace,
        "shapes",
        config,
        progress=lambda done, total, note: reports.append((done, total)),
        on_metrics=lines.append,
    )
    assert [line["step"] for line in lines] == list(range(1, 11))
    assert all(
        {"loss_g", "loss_d", "r1", "r2", "gap", "grad_g", "grad_d", "lr", "clips"} <= set(line) for line in lines
    )
    assert reports[-1] == (20, 20)
    folder = workspace.run(record.run)
    assert folder.contact_sheet.read_bytes().startswith(b"\x89PNG")
    assert list(folder.samples.glob("*.mp4"))


def test_weights_that_are_not_finite_end_with_diverged_and_the_checkpoint_stays(stopped_copy):
    """FAULTS 13: the supervisor's error says so, and that no retry can help."""
    workspace, folder, saved = stopped_copy
    tensors = load(tensors_of(folder, saved).read_bytes())
    weights = next(name for name in tensors if name.startswith("generator.") and ":" not in name)
    tensors[weights] = torch.full_like(tensors[weights], float("nan"))
    replace(folder, saved, save(tensors))
    with pytest.raises(DivergedError, match=rf"at step {saved + 1}.*last good checkpoint is .*{saved:08d}") as caught:
        train(workspace, "shapes", CONFIG)
    assert not caught.value.retryable
    assert int(max(folder.checkpoints.glob("*.json")).stem) == saved
    assert not folder.record.exists()


def test_damaged_checkpoints_end_with_corrupt_data_and_the_supervisor_tells_of_each(stopped_copy, caplog):
    """FAULTS 15: each is warned of where the user looks, not only in the child's log."""
    workspace, folder, _ = stopped_copy
    for path in folder.checkpoints.glob("*.safetensors"):
        path.write_bytes(b"\x80\x04.")
    with pytest.raises(CorruptDataError, match="is valid"), caplog.at_level(logging.WARNING):
        train(workspace, "shapes", CONFIG)
    count = len(list(folder.checkpoints.glob("*.safetensors")))
    assert sum("passing over checkpoint" in message for message in caplog.messages) == count >= 1


def wait_for_begin(folder: RunFolder) -> None:
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline and not folder.timing.exists():
        time.sleep(0.005)


def kill_when_training(folder: RunFolder, number: int, pid: int | None = None) -> threading.Thread:
    """Send a signal to this process, or to the training process, once the run has begun."""

    def work() -> None:
        wait_for_begin(folder)
        os.kill(pid or child_of_this_process(), number)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def training_processes() -> list[psutil.Process]:
    """Those below this process, which may have servers of other tests beside them."""
    found: list[psutil.Process] = []
    for one in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # one that has ended, and whom nobody has asked yet
            found += [one] if "vgan.training" in " ".join(one.cmdline()) else []
    return found


def child_of_this_process() -> int:
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return next(int(pid) for pid in children if b"vgan.training" in Path(f"/proc/{pid}/cmdline").read_bytes())


def test_a_killed_child_is_reported_as_resumable_with_its_signal(workspace):
    """FAULTS 11: such as by the kernel, out of memory; a retry may help, and the hint says what else."""
    folder = workspace.run(prepare(workspace, load_dataset(workspace, "shapes"), ENDLESS))
    thread = kill_when_training(folder, signal.SIGKILL)
    with pytest.raises(ResumableError, match="killed by signal 9") as caught:
        train(workspace, "shapes", ENDLESS)
    thread.join()
    assert "same command resumes" in caught.value.hint and "smaller batch or preset" in caught.value.hint
    assert caught.value.retryable
    assert not folder.lease.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_ctrl_c_or_a_closed_terminal_reaches_the_child_once_and_the_run_is_resumable(workspace, number, monkeypatch):
    """FAULTS 10: it is told what is done now, a checkpoint is written, no process is left, the handler is as it was."""
    told: list[str] = []
    monkeypatch.setattr(process.log, "warning", lambda text, *of: told.append(text % of))
    folder = workspace.run(prepare(workspace, load_dataset(workspace, "shapes"), ENDLESS))
    outside = signal.signal(number, signal.SIG_DFL)  # which nohup and background jobs ignore, and so would the child
    try:
        thread = kill_when_training(folder, number, os.getpid())
        with pytest.raises(StoppedError, match=f"interrupted by {number.name}"):
            train(workspace, "shapes", ENDLESS)
        thread.join()
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, outside)
    assert [line for line in told if line.startswith(f"{number.name}: finishing the step and writing a checkpoint")]
    assert list(folder.checkpoints.glob("*.json"))
    assert not training_processes()


def test_a_second_signal_ends_even_a_child_that_does_not_answer(workspace):
    """FAULTS 9, 10: at once."""
    folder = workspace.run(prepare(workspace, load_dataset(workspace, "shapes"), ENDLESS))

    def stop_then_ask_twice() -> None:
        wait_for_begin(folder)
        child = psutil.Process(child_of_this_process())
        child.suspend()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.5)
        assert child.is_running()
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop_then_ask_twice)
    thread.start()
    with pytest.raises(StoppedError, match="interrupted by SIGTERM"):
        train(workspace, "shapes", ENDLESS)
    thread.join()
    assert not training_processes()
    assert not folder.record.exists() and not folder.lease.exists()


FLAG = """
import os, signal
signal.signal(signal.SIGHUP, signal.{hangup})
from vgan.training.__main__ import StopFlag
flag = StopFlag()
for name in {signals!r}:
    os.kill(os.getpid(), getattr(signal, name))
    print(flag.raised, flush=True)
"""


@pytest.mark.parametrize(
    ("hangup", "signals", "code", "said"),
    [
        ("SIG_DFL", ["SIGHUP"], 0, ["True"]),
        ("SIG_IGN", ["SIGHUP", "SIGTERM"], 0, ["False", "True"]),
        ("SIG_DFL", ["SIGTERM", "SIGINT", "SIGHUP"], 75, ["True"]),
    ],
)
def test_the_training_process_heeds_signals_but_no_hangup_under_nohup(hangup, signals, code, said):
    """FAULTS 9, 10: the first asks for a checkpoint, the second ends the process where it is."""
    script = FLAG.format(hangup=hangup, signals=signals)
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout.split()) == (code, said)


def test_a_listener_that_fails_ends_the_child(workspace):
    def fail(line: dict[str, float]) -> None:
        raise RuntimeError("listener")

    with pytest.raises(RuntimeError, match="listener"):
        train(workspace, "shapes", CONFIG, on_metrics=fail)
    with pytest.raises(StopIteration):
        child_of_this_process()


SUPERVISOR = """
import sys
from vgan.config import TrainConfig
from vgan.training.process import train
from vgan.workspace import Workspace
train(Workspace.open(sys.argv[1]), "shapes", TrainConfig.model_validate_json(sys.argv[2]))
"""


def test_the_child_dies_with_its_supervisor(workspace):
    folder = workspace.run(prepare(workspace, load_dataset(workspace, "shapes"), ENDLESS))
    command = [sys.executable, "-c", SUPERVISOR, str(workspace.root), ENDLESS.model_dump_json()]
    supervisor = subprocess.Popen(command)
    deadline = time.monotonic() + 100
    while not folder.timing.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    children = Path(f"/proc/{supervisor.pid}/task/{supervisor.pid}/children").read_text().split()
    supervisor.kill()
    supervisor.wait()
    assert children
    while any(Path(f"/proc/{pid}").exists() for pid in children) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)


@pytest.mark.e2e
def test_a_time_budget_is_measured_once_and_a_resume_keeps_it(workspace):
    config = CONFIG.model_copy(update={"budget": "3s"})
    folder, child = start_child(workspace, config)
    wait_for_step(folder, child, 1)
    plan = folder.plan.read_bytes()
    child.kill()
    child.communicate()
    record, _ = train(workspace, "shapes", config)
    assert folder.plan.read_bytes() == plan
    assert record.clips == json.loads(plan)["clips"] == json.loads(plan)["steps"] * 2


def test_a_damaged_shard_is_found_before_training_starts(workspace):
    (shard,) = workspace.dataset("shapes").shards.glob("*.tar")
    shard.chmod(0o644)
    content = bytearray(shard.read_bytes())
    content[5000] ^= 1
    shard.write_bytes(content)
    with pytest.raises(CorruptDataError, match=shard.name):
        train(workspace, "shapes", CONFIG)
    assert not list(workspace.root.glob("runs/*/metrics.jsonl"))


@pytest.mark.skipif("__import__('torch').cuda.is_available()")
def test_a_device_that_is_not_there_is_a_configuration_error(workspace):
    with pytest.raises(ConfigError, match="cuda"):
        train(workspace, "shapes", CONFIG.model_copy(update={"device": "cuda"}))


def test_the_supervising_side_never_imports_torch():
    code = "import sys, vgan.training.process; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=100).returncode == 0
