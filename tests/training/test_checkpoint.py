import hashlib
import json
import logging
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_step import equal, everything, fresh_state, take_step

from vgan.errors import CorruptDataError
from vgan.training.checkpoint import KEPT, resume, save_checkpoint
from vgan.training.step import TrainState
from vgan.workspace import RunFolder


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


def save(folder: RunFolder, state: TrainState) -> None:
    save_checkpoint(folder, state, "run", 1, seconds=1.5)


def save_steps(folder: RunFolder, count: int) -> TrainState:
    """A checkpoint and a line of metrics after each of `count` steps."""
    state = fresh_state()
    folder.path.mkdir(parents=True)
    for _ in range(count):
        take_step(state)
        with open(folder.metrics, "ab") as file:
            file.write(json.dumps({"step": state.steps}).encode() + b"\n")
        save(folder, state)
    return state


def tensors_of(folder: RunFolder, step: int) -> Path:
    return folder.checkpoints / f"{step:08d}.safetensors"


def test_a_saved_state_comes_back_bit_for_bit_and_goes_on_alike(folder):
    state = save_steps(folder, 2)
    resumed = fresh_state()
    record = resume(folder, resumed, "run", 1)
    assert record is not None and record.seconds == 1.5
    assert resumed.steps == 2
    assert equal(everything(state), everything(resumed))
    take_step(state), take_step(resumed)
    assert equal(everything(state), everything(resumed))


def test_a_run_without_checkpoints_starts_from_the_beginning_with_empty_metrics(folder):
    folder.path.mkdir()
    folder.metrics.write_bytes(b'{"step": 1}\n')
    assert resume(folder, fresh_state(), "run", 1) is None
    assert folder.metrics.read_bytes() == b""


def test_metrics_are_cut_back_to_the_checkpoint(folder):
    save_steps(folder, 2)
    kept = folder.metrics.read_bytes()
    folder.metrics.write_bytes(kept + b'{"step": 3}\n{"st')
    resume(folder, fresh_state(), "run", 1)
    assert folder.metrics.read_bytes() == kept


def test_only_the_newest_checkpoints_are_kept(folder):
    save_steps(folder, KEPT + 2)
    names = sorted(path.name for path in folder.checkpoints.iterdir())
    steps = range(3, KEPT + 3)
    assert names == sorted(f"{step:08d}{end}" for step in steps for end in (".json", ".safetensors"))


@pytest.mark.parametrize("place", [0, 8, 0.3, 0.6, -1])
def test_a_flipped_bit_falls_back_to_the_checkpoint_before(folder, place, caplog):
    save_steps(folder, 2)
    path = tensors_of(folder, 2)
    content = bytearray(path.read_bytes())
    content[int(place * len(content)) if isinstance(place, float) else place] ^= 1
    path.write_bytes(content)
    resumed = fresh_state()
    with caplog.at_level(logging.WARNING):
        assert resume(folder, resumed, "run", 1) is not None
    assert resumed.steps == 1
    assert "passing over checkpoint 00000002" in caplog.text
    assert folder.metrics.read_bytes() == b'{"step": 1}\n'


def test_a_shortened_or_missing_file_falls_back_to_the_checkpoint_before(folder):
    save_steps(folder, 3)
    os.truncate(tensors_of(folder, 3), 1000)
    tensors_of(folder, 2).unlink()
    resumed = fresh_state()
    resume(folder, resumed, "run", 1)
    assert resumed.steps == 1


def test_lost_metrics_fall_back_to_a_checkpoint_whose_metrics_are_there(folder):
    save_steps(folder, 2)
    os.truncate(folder.metrics, len(b'{"step": 1}\n') + 3)
    resumed = fresh_state()
    resume(folder, resumed, "run", 1)
    assert resumed.steps == 1


def test_no_valid_checkpoint_is_an_error_and_never_a_fresh_start(folder):
    save_steps(folder, 2)
    for step in (1, 2):
        tensors_of(folder, step).write_bytes(b"")
    state = fresh_state()
    before = everything(state)
    with pytest.raises(CorruptDataError, match="none of the 2 checkpoints"):
        resume(folder, state, "run", 1)
    assert equal(before, everything(state))


@pytest.mark.parametrize("run, code", [("another", 1), ("run", 2)])
def test_checkpoints_of_another_run_or_code_are_refused(folder, run, code):
    save_steps(folder, 1)
    with pytest.raises(CorruptDataError):
        resume(folder, fresh_state(), run, code)


class Trap:
    """Unpickling this leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


def test_a_pickle_with_a_matching_hash_is_refused_and_nothing_in_it_runs(folder, tmp_path):
    save_steps(folder, 1)
    mark = tmp_path / "executed"
    content = pickle.dumps(Trap(mark))
    replace(folder, 1, content)
    with pytest.raises(CorruptDataError):
        resume(folder, fresh_state(), "run", 1)
    assert not mark.exists()


def replace(folder: RunFolder, step: int, content: bytes) -> None:
    """Put other tensors in a checkpoint, with their right hash."""
    tensors_of(folder, step).write_bytes(content)
    manifest = folder.checkpoints / f"{step:08d}.json"
    record = json.loads(manifest.read_bytes())
    record["weights_sha256"] = hashlib.sha256(content).hexdigest()
    manifest.write_text(json.dumps(record))


def test_tensors_of_another_network_are_refused(folder):
    from safetensors.torch import save as safetensors_bytes

    save_steps(folder, 1)
    replace(folder, 1, safetensors_bytes({"generator.rgb.weight": torch.zeros(1)}))
    with pytest.raises(CorruptDataError):
        resume(folder, fresh_state(), "run", 1)


KILLED_WRITER = """
import sys
from pathlib import Path
sys.path[:0] = {tests!r}
from test_step import fresh_state, take_step
from vgan.training.checkpoint import resume, save_checkpoint
from vgan.workspace import RunFolder
state = fresh_state()
take_step(state)
save_checkpoint(RunFolder(Path({folder!r})), state, "run", 1, 0.0)
"""


@pytest.mark.parametrize("point", ["before_fsync", "before_rename", "before_manifest"])
def test_a_writer_killed_while_saving_leaves_the_checkpoint_before(folder, point):
    """FAULTS 3: what was saved before is what a resumed training takes; of the new one nothing is taken."""
    save(folder, fresh_state())
    script = KILLED_WRITER.format(
        tests=[str(Path(__file__).parent), str(Path(__file__).parents[1])], folder=str(folder.path)
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "VGAN_FAULT": point}, check=False, timeout=100
    )
    assert done.returncode == -9
    assert [path.name for path in folder.checkpoints.glob("*.json")] == ["00000000.json"]
    resumed = fresh_state()
    assert resume(folder, resumed, "run", 1) is not None and resumed.steps == 0
    save(folder, resumed)
    assert sorted(path.name for path in folder.checkpoints.iterdir()) == ["00000000.json", "00000000.safetensors"]
