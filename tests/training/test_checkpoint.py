import errno
import hashlib
import json
import logging
import os
import pickle
import random
import subprocess
import sys
import threading
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as safetensors_bytes
from test_step import RECIPE, SHAPE, equal, everything, fresh_state, take_step

from vgan.config import TrainConfig
from vgan.errors import ConfigError, CorruptDataError, DivergedError, StorageError
from vgan.models.network import r3_network
from vgan.records import digest_of
from vgan.training import saving
from vgan.training.checkpoint import KEPT, resume
from vgan.training.plan import RunConfig
from vgan.training.saving import CheckpointWriter, warn_of_little_room
from vgan.training.snapshot import named_tensors, state_bytes
from vgan.training.step import TrainState
from vgan.workspace import RunFolder

CONFIG = RunConfig(
    run="run",
    dataset="shapes",
    dataset_digest="0" * 64,
    labels=("left", "up"),
    shape=SHAPE,
    fps=8.0,
    config=TrainConfig(),
    network=r3_network("tiny", SHAPE),
    recipe=RECIPE,
)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


def save(folder: RunFolder, state: TrainState) -> None:
    with CheckpointWriter(folder, CONFIG) as writer:
        writer.save(state, seconds=1.5)


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
    record = resume(folder, resumed, CONFIG)
    assert record is not None and record.seconds == 1.5
    assert resumed.steps == 2
    assert equal(everything(state), everything(resumed))
    take_step(state), take_step(resumed)
    assert equal(everything(state), everything(resumed))


def test_a_run_without_checkpoints_starts_from_the_beginning_with_empty_metrics(folder):
    folder.path.mkdir()
    folder.metrics.write_bytes(b'{"step": 1}\n')
    assert resume(folder, fresh_state(), CONFIG) is None
    assert folder.metrics.read_bytes() == b""


def test_metrics_are_cut_back_to_the_checkpoint(folder):
    save_steps(folder, 2)
    kept = folder.metrics.read_bytes()
    folder.metrics.write_bytes(kept + b'{"step": 3}\n{"st')
    resume(folder, fresh_state(), CONFIG)
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
        assert resume(folder, resumed, CONFIG) is not None
    assert resumed.steps == 1
    assert "passing over checkpoint 00000002" in caplog.text
    assert folder.metrics.read_bytes() == b'{"step": 1}\n'


def test_a_shortened_or_missing_file_falls_back_to_the_checkpoint_before(folder):
    save_steps(folder, 3)
    os.truncate(tensors_of(folder, 3), 1000)
    tensors_of(folder, 2).unlink()
    resumed = fresh_state()
    resume(folder, resumed, CONFIG)
    assert resumed.steps == 1


def test_lost_metrics_fall_back_to_a_checkpoint_whose_metrics_are_there(folder):
    save_steps(folder, 2)
    os.truncate(folder.metrics, len(b'{"step": 1}\n') + 3)
    resumed = fresh_state()
    resume(folder, resumed, CONFIG)
    assert resumed.steps == 1


def test_no_valid_checkpoint_is_an_error_and_never_a_fresh_start(folder):
    save_steps(folder, 2)
    for step in (1, 2):
        tensors_of(folder, step).write_bytes(b"")
    state = fresh_state()
    before = everything(state)
    with pytest.raises(CorruptDataError, match="none of the 2 checkpoints"):
        resume(folder, state, CONFIG)
    assert equal(before, everything(state))


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
        resume(folder, fresh_state(), CONFIG)
    assert not mark.exists()


def manifest_of(folder: RunFolder, step: int) -> Path:
    return folder.checkpoints / f"{step:08d}.json"


def rewrite(folder: RunFolder, step: int, changes: dict[str, Any]) -> None:
    """Change fields of a manifest as one who knows how it is made."""
    fields = json.loads(manifest_of(folder, step).read_bytes()) | changes
    del fields["digest"]
    manifest_of(folder, step).write_text(json.dumps(fields | {"digest": digest_of(fields)}))


def replace(folder: RunFolder, step: int, content: bytes) -> None:
    """Put other tensors in a checkpoint, with their right hash."""
    tensors_of(folder, step).write_bytes(content)
    rewrite(folder, step, {"weights_sha256": hashlib.sha256(content).hexdigest()})


def test_tensors_of_another_network_are_refused(folder):
    save_steps(folder, 1)
    replace(folder, 1, safetensors_bytes({"generator.rgb.weight": torch.zeros(1)}))
    with pytest.raises(CorruptDataError):
        resume(folder, fresh_state(), CONFIG)
