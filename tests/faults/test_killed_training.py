"""A training that is killed, meets a full disk, runs out of memory or diverges: FAULTS rows 5, 6, 8 and 11 to 13."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load as load_tensors
from small_training import small_networks
from training.shapes_dataset import write_dataset

from vgan.config import TrainConfig
from vgan.data.manifest import load_dataset
from vgan.errors import ConfigError, DivergedError, StorageError
from vgan.storage import sha256_file
from vgan.training import loop
from vgan.training.failures import memory_told
from vgan.training.loop import train_run
from vgan.training.plan import prepare, read_config
from vgan.workspace import RunFolder, Workspace

SAVED_EVERY = 4


def config_of(steps: int) -> TrainConfig:
    kclips = steps * 2 / 1000
    return TrainConfig(budget=f"{kclips}kclips", batch=2, threads=1, device="cpu", checkpoints=steps // SAVED_EVERY)


STEPS = 24
CONFIG = config_of(STEPS)


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    threads = torch.get_num_threads()
    with small_networks():
        yield
    torch.set_num_threads(threads)


# Torch is loaded once; each attempt is a process of its own, which really dies by SIGKILL.
ATTEMPTS = """
import json, os, signal, sys, time
import torch
import torch._dynamo  # as optimizers do
import vgan.training.loop
from vgan.training.__main__ import leave, main
torch.set_num_threads(1)
arguments, attempts = sys.argv[1:5], json.loads(sys.argv[5])
metrics = os.path.join(arguments[1], "runs", arguments[3], "metrics.jsonl")
lines = lambda: open(metrics, "rb").read().count(b"\\n") if os.path.exists(metrics) else 0
codes = []
for attempt in attempts:
    reached = lines()
    child = os.fork()
    if child == 0:
        os.environ["VGAN_FAULT"] = attempt.get("fault", "")
        leave(main(arguments))
    if "lines" in attempt:  # killed from outside: so many steps later, and then a moment
        while lines() == reached or lines() % attempt["lines"]:
            time.sleep(0.001)
        time.sleep(attempt["moment"])
        os.kill(child, signal.SIGKILL)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(json.dumps(codes))
"""


def attempt(workspace: Workspace, key: str, attempts: list[dict[str, Any]]) -> tuple[list[int], str]:
    """Train a run in one process after another; returns their exit codes and what they said."""
    command = [sys.executable, "-c", ATTEMPTS, "--workspace", str(workspace.root), "--run", key, json.dumps(attempts)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=200)
    return json.loads(done.stdout), done.stderr


def prepared(root: Path, config: TrainConfig = CONFIG) -> tuple[Workspace, str]:
    workspace = Workspace.open(root)
    write_dataset(workspace)
    return workspace, prepare(workspace, load_dataset(workspace, "shapes"), config)


def results(folder: RunFolder) -> dict[str, str]:
    """Hashes of what a run leaves: the last checkpoint (weights, EMA, optimizers), the generator, the metrics."""
    last = max(folder.checkpoints.glob("*.safetensors"))
    return {file.name: sha256_file(file) for file in (last, folder.generator / "weights.safetensors", folder.metrics)}


def finish(workspace: Workspace, key: str) -> dict[str, str]:
    """Train a run to its end, here; returns its results."""
    train_run(workspace, key, lambda: False)
    return results(workspace.run(key))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return finish(*prepared(tmp_path_factory.mktemp("undisturbed")))


def random_kills(count: int) -> list[dict[str, Any]]:
    """Points at which a run is killed: after a step, anywhere in a save, or from outside at any moment."""
    draw = random.Random(count)
    in_a_save = ("after_open", "half_written", "before_fsync", "before_rename", "before_folder_fsync")
    kinds: list[Callable[[], dict[str, Any]]] = [
        lambda: {"fault": f"after_step:{draw.randint(1, 7)}"},
        lambda: {"fault": f"{draw.choice(in_a_save)}:{draw.randint(1, 4)}"},
        lambda: {"fault": f"{draw.choice(['before_manifest', 'before_removal'])}:{draw.randint(1, 2)}"},
        lambda: {"lines": draw.randint(2, 5), "moment": draw.uniform(0, 0.02)},
    ]
    return [kinds[number % len(kinds)]() for number in range(count)]


@pytest.mark.parametrize(("kills", "steps"), [(3, STEPS), pytest.param(20, 96, marks=pytest.mark.e2e)])
def test_a_run_killed_at_random_points_ends_bit_for_bit_like_an_undisturbed_one(tmp_path, undisturbed, kills, steps):
    """FAULTS 8: weights, average, optimizers and metrics, however often and wherever it was killed."""
    workspace, key = prepared(tmp_path / "killed", config_of(steps))
    folder = workspace.run(key)
    codes, said = attempt(workspace, key, random_kills(kills))
    assert codes == [-9] * kills, said
    assert not folder.record.exists()
    if steps != STEPS:
        undisturbed = finish(*prepared(tmp_path / "undisturbed", config_of(steps)))
    assert finish(workspace, key) == undisturbed
    lines = folder.metrics.read_bytes().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, steps + 1))
    compared = load_tensors(max(folder.checkpoints.glob("*.safetensors")).read_bytes())
    assert {name.partition(":")[2] for name in compared} >= {"adam.exp_avg", "adam.exp_avg_sq"}


def test_a_limit_on_file_sizes_is_told_and_the_checkpoint_before_goes_on(tmp_path, undisturbed):
    """FAULTS 5, 6: the message says how much is needed, and nothing half written is left."""
    workspace, key = prepared(tmp_path)
    folder = workspace.run(key)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit() -> bool:
        if (folder.checkpoints / f"{SAVED_EVERY:08d}.json").exists():
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
        return False

    try:
        with pytest.raises(
            StorageError, match=r"safetensors failed: File too large.* needs 0\.\d MB; .* are free"
        ) as caught:
            train_run(workspace, key, limit)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "raise the limit" in caught.value.hint
    assert {path.suffix for path in folder.checkpoints.iterdir()} == {".json", ".safetensors"}
    assert finish(workspace, key) == undisturbed


@pytest.mark.e2e
@pytest.mark.skipif(not shutil.which("unshare"), reason="needs util-linux")
def test_a_full_disk_ends_with_74_and_says_how_much_is_needed_and_free(tmp_path, undisturbed):
    """FAULTS 5: it was warned of before the first step; the checkpoints that were written are whole."""
    if subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode:
        pytest.skip("no user namespaces here")
    workspace, key = prepared(tmp_path)
    folder = workspace.run(key)
    copy = tmp_path / "left"
    script = (
        f"mount -t tmpfs -o size=300k tmpfs {folder.path} && cp {tmp_path}/config.json {folder.path}/ && "
        f"{{ {sys.executable} -m vgan.training --workspace {workspace.root} --run {key}; code=$?; "
        f"cp -r {folder.path} {copy}; exit $code; }}"
    )
    shutil.copy(folder.config, tmp_path / "config.json")
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], check=False, capture_output=True, text=True)
    assert done.returncode == 74, done.stderr
    assert "WARNING" in done.stderr and "checkpoints need" in done.stderr
    assert "No space left on device" in done.stderr and "MB are free" in done.stderr
    folder.path.rename(tmp_path / "empty")
    copy.rename(folder.path)
    assert finish(workspace, key) == undisturbed


def test_a_full_disk_under_the_log_does_not_change_the_exit_code():
    """FAULTS 5: what cannot be said is at least answered."""
    command = [sys.executable, "-m", "vgan.training", "--workspace", "s3://bucket", "--run", "x"]
    with open("/dev/full", "wb") as full:
        assert subprocess.run(command, check=False, stderr=full, stdout=full).returncode == 2


def test_metrics_that_cannot_be_written_are_told_with_their_place(tmp_path):
    """FAULTS 5: a full disk under metrics.jsonl."""
    workspace, key = prepared(tmp_path)
    metrics = workspace.run(key).metrics

    def fill() -> bool:
        metrics.unlink()
        metrics.symlink_to("/dev/full")
        return False

    with pytest.raises(StorageError, match=r"metrics\.jsonl failed: No space left") as caught:
        train_run(workspace, key, fill)
    assert "Free some space" in caught.value.hint


def before_step(monkeypatch: pytest.MonkeyPatch, number: int, work: Callable[[loop.Run], object]) -> None:
    """Do something before a step of the trainings that follow."""
    step_once = loop.step_once

    def step(run: loop.Run) -> Any:
        if run.state.steps == number - 1:
            work(run)
        return step_once(run)

    monkeypatch.setattr(loop, "step_once", step)


def poison(run: loop.Run) -> None:
    with torch.no_grad():
        next(run.state.generator.parameters()).view(-1)[0] = float("nan")


def test_a_run_that_diverged_names_the_last_good_checkpoint_and_leaves_what_was_seen(
    tmp_path, undisturbed, monkeypatch
):
    """FAULTS 13: stopped before the optimizer's step; no checkpoint is made of it, and a cure goes on from the last."""
    workspace, key = prepared(tmp_path)
    folder = workspace.run(key)
    with monkeypatch.context() as patch:
        before_step(patch, SAVED_EVERY + 3, poison)
        with pytest.raises(DivergedError) as caught:
            train_run(workspace, key, lambda: False)
    last = folder.checkpoints / f"{SAVED_EVERY:08d}.safetensors"
    assert f"last good checkpoint is {last} (step {SAVED_EVERY})" in caught.value.message
    assert str(folder.diverged) in caught.value.message and caught.value.hint
    assert [path.name for path in folder.checkpoints.glob("*.safetensors")] == [last.name]
    seen = json.loads(folder.diverged.read_bytes())
    assert (seen["step"], seen["last_checkpoint"]) == (SAVED_EVERY + 3, SAVED_EVERY)
    assert "nan" in seen["what"]
    assert [line["step"] for line in seen["metrics"]] == list(range(1, SAVED_EVERY + 3))
    layers = seen["layers"]["generator"]
    assert [name for name, figures in layers.items() if figures["weight"] == "nan"] == [next(iter(layers))]
    assert finish(workspace, key) == undisturbed
    assert not folder.diverged.exists(), "a finished run did not diverge"


def test_a_gpu_out_of_memory_says_what_was_asked_for_and_what_to_change(tmp_path, monkeypatch):
    """FAULTS 12: a configuration that cannot work, which no retry can help; nothing is made smaller unasked."""
    workspace, key = prepared(tmp_path)

    def run_out(run: loop.Run) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nlong advice")

    before_step(monkeypatch, 2, run_out)
    with pytest.raises(ConfigError) as caught:
        train_run(workspace, key, lambda: False)
    for said in ("batch 2", "4 frames of 16 x 16", "preset tiny", "Tried to allocate 2.00 GiB"):
        assert said in caught.value.message
    assert "long advice" not in caught.value.message
    assert "--batch" in caught.value.hint and not caught.value.retryable
    assert read_config(workspace.run(key)).recipe.batch == 2


def test_the_peak_of_a_gpus_memory_is_told(tmp_path, monkeypatch):
    """FAULTS 12: of how much there is."""
    workspace, key = prepared(tmp_path)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: 3 << 29)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (0, 2 << 30))
    with (
        pytest.raises(ConfigError, match=r"at a peak of 1\.50 of 2\.00 GiB"),
        memory_told(read_config(workspace.run(key)), torch.device("cuda")),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory.")


def test_memory_of_the_host_that_ran_out_is_told_and_other_errors_pass_as_they_are(tmp_path):
    """FAULTS 11: by torch's own allocator, which knows no MemoryError."""
    workspace, key = prepared(tmp_path)
    config = read_config(workspace.run(key))
    with pytest.raises(ConfigError, match="memory of cpu ran out"), memory_told(config, torch.device("cpu")):
        torch.empty(1 << 60, dtype=torch.uint8)
    for said in ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"):
        with pytest.raises(ConfigError, match="ran out"), memory_told(config, torch.device("cpu")):
            raise RuntimeError(said)
    with pytest.raises(RuntimeError, match="another"), memory_told(config, torch.device("cpu")):
        raise RuntimeError("another")


@pytest.fixture
def _flags_restored() -> Iterator[None]:
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark, os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    yield
    torch.use_deterministic_algorithms(False)
    cudnn.deterministic, cudnn.benchmark = before[:2]
    if before[2] is None:
        os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


@pytest.mark.usefixtures("_flags_restored")
def test_deterministic_asks_torch_and_its_libraries_for_the_same_bits(tmp_path):
    """FAULTS 8: what a resumed run on a GPU needs to be equal bit for bit."""
    workspace, key = prepared(tmp_path, CONFIG.model_copy(update={"deterministic": True, "budget": "0.002kclips"}))
    torch.backends.cudnn.benchmark = True
    train_run(workspace, key, lambda: False)
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
