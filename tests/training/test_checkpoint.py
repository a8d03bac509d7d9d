"""Checkpoints: what is saved comes back bit for bit, and what is damaged or foreign never does."""

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
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as safetensors_bytes
from test_step import RECIPE, SHAPE, equal, everything, fresh_state, take_step
from torch import Tensor, nn

from vgan.config import TrainConfig
from vgan.errors import ConfigError, CorruptDataError, DivergedError, StorageError
from vgan.models.network import r3_network
from vgan.records import digest_of
from vgan.training import saving
from vgan.training.checkpoint import resume
from vgan.training.manifest import FIELDS_SHOWN, KEPT, newest
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


def small_state() -> TrainState:
    """A state like any other, of networks that take no time; one parameter is never used."""
    torch.manual_seed(0)
    generator = nn.Sequential(nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last), nn.BatchNorm2d(4))
    discriminator = nn.ModuleDict({"used": nn.Linear(4, 3), "unused": nn.Linear(2, 2)})
    return TrainState.start(generator, discriminator, RECIPE)  # type: ignore[arg-type]


def move(state: TrainState) -> None:
    """Change all of a small state that a step changes."""
    for module, adam in (
        (state.generator, state.adam_generator),
        (state.discriminator["used"], state.adam_discriminator),  # type: ignore[index]
    ):
        adam.zero_grad()
        sum(parameter.cos().sum() for parameter in module.parameters()).backward()
        adam.step()
    with torch.no_grad():
        for value in [*state.average.parameters(), state.augmentation.probability]:
            value.add_(0.01)
    state.steps += 1


def held(state: TrainState) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in named_tensors(state).items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def save(folder: RunFolder, state: TrainState) -> None:
    with CheckpointWriter(folder, CONFIG) as writer:
        writer.save(state, seconds=1.5)


def save_steps(folder: RunFolder, count: int) -> TrainState:
    """A checkpoint and a line of metrics after each of `count` steps."""
    state = small_state()
    folder.path.mkdir(parents=True)
    for _ in range(count):
        move(state)
        with open(folder.metrics, "ab") as file:
            file.write(json.dumps({"step": state.steps}).encode() + b"\n")
        save(folder, state)
    return state


def tensors_of(folder: RunFolder, step: int) -> Path:
    return folder.checkpoints / f"{step:08d}.safetensors"


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


def test_a_saved_state_comes_back_bit_for_bit_and_goes_on_alike(folder):
    state, resumed = fresh_state(), fresh_state()
    take_step(state)
    save(folder, state)
    record = resume(folder, resumed, CONFIG)
    assert record is not None and record.seconds == 1.5
    assert resumed.steps == 1
    assert equal(everything(state), everything(resumed))
    take_step(state), take_step(resumed)
    assert equal(everything(state), everything(resumed))


def test_parameters_that_were_never_used_and_any_memory_layout_come_back(folder):
    state, resumed = save_steps(folder, 2), small_state()
    resume(folder, resumed, CONFIG)
    assert same(held(state), held(resumed))
    weight = resumed.generator[0].weight  # type: ignore[index]
    moment = resumed.adam_generator.state[weight]["exp_avg"]
    assert weight.is_contiguous(memory_format=torch.channels_last) and moment.stride() == weight.stride()
    move(state), move(resumed)
    assert same(held(state), held(resumed))


def test_what_is_written_is_what_the_safetensors_library_reads(folder):
    state = save_steps(folder, 1)
    content = tensors_of(folder, 1).read_bytes()
    assert same(load_tensors(content), held(state))
    assert 0 < len(content) - state_bytes(state) < 10_000, "the header, and the steps of Adam"


def test_nothing_that_changes_can_be_left_out_of_a_checkpoint(folder):
    state = small_state()
    state.average = [1, 2, 3]  # type: ignore[assignment]
    with pytest.raises(TypeError, match="cannot hold average, a list"):
        save(folder, state)


def test_training_goes_on_while_a_checkpoint_is_written_and_does_not_change_it(folder, monkeypatch):
    state, write = small_state(), saving.write_tensors
    may_write, resumed = threading.Event(), small_state()
    monkeypatch.setattr(saving, "write_tensors", lambda *a: may_write.wait(60) and write(*a))
    folder.path.mkdir(parents=True)
    folder.metrics.write_bytes(b'{"step": 1}\n')
    move(state)
    saved = held(state)
    with CheckpointWriter(folder, CONFIG) as writer:
        writer.save(state, 0.0)
        move(state)
        with open(folder.metrics, "ab") as file:
            file.write(b'{"step": 2}\n')
        writer.check()
        assert newest(folder) is None
        may_write.set()
    assert resume(folder, resumed, CONFIG) is not None
    assert same(held(resumed), saved) and resumed.steps == 1
    assert folder.metrics.read_bytes() == b'{"step": 1}\n', "the lines of the moment of the copy"


def test_a_save_waits_for_the_one_before_and_an_end_for_the_last(folder):
    state = small_state()
    with CheckpointWriter(folder, CONFIG) as writer:
        for step in range(1, 4):
            move(state)
            writer.save(state, 0.0)
            written = {int(path.stem) for path in folder.checkpoints.glob("????????.json")}
            assert set(range(1, step)) <= written
    assert newest(folder) == manifest_of(folder, 3)
    assert writer.seconds > 0


def test_a_run_without_checkpoints_starts_from_the_beginning_and_says_so(folder, caplog):
    """FAULTS 15: silently only when nothing had been trained."""
    folder.path.mkdir()
    assert resume(folder, small_state(), CONFIG) is None
    assert not caplog.records
    folder.metrics.write_bytes(b'{"step": 1}\n')
    assert resume(folder, small_state(), CONFIG) is None
    assert folder.metrics.read_bytes() == b""
    assert "begins again" in caplog.text


def test_metrics_are_cut_back_to_the_checkpoint(folder):
    save_steps(folder, 2)
    kept = folder.metrics.read_bytes()
    folder.metrics.write_bytes(kept + b'{"step": 3}\n{"st')
    resume(folder, small_state(), CONFIG)
    assert folder.metrics.read_bytes() == kept


def test_only_the_newest_checkpoints_are_kept(folder):
    save_steps(folder, KEPT + 2)
    names = sorted(path.name for path in folder.checkpoints.iterdir())
    steps = range(3, KEPT + 3)
    assert names == sorted(f"{step:08d}{end}" for step in steps for end in (".json", ".safetensors"))


def test_a_flipped_bit_anywhere_falls_back_to_the_checkpoint_before(folder, caplog):
    """FAULTS 15: each of 200 flipped bits, in the tensors and in the manifest, or it changes nothing that is said."""
    state = save_steps(folder, 1)
    before = held(state)
    move(state)
    with open(folder.metrics, "ab") as file:
        file.write(b'{"step": 2}\n')
    save(folder, state)
    metrics, after, resumed = folder.metrics.read_bytes(), held(state), small_state()
    places, seen = random.Random(0), []
    for number in range(200):
        path = (tensors_of, manifest_of)[number % 2](folder, 2)
        sound = path.read_bytes()
        content = bytearray(sound)
        content[places.randrange(len(sound))] ^= 1 << places.randrange(8)
        path.write_bytes(content)
        with caplog.at_level(logging.WARNING):
            assert resume(folder, resumed, CONFIG) is not None
        seen.append(resumed.steps)
        assert same(held(resumed), before if resumed.steps == 1 else after), bytes(content)
        path.write_bytes(sound)
        folder.metrics.write_bytes(metrics)
    assert set(seen[::2]) == {1}, "every bit of the tensors counts"
    assert seen[1::2].count(1) >= 90, "the others are white space between the fields"
    assert caplog.text.count("passing over checkpoint 00000002") == seen.count(1)


def test_a_shortened_or_missing_file_falls_back_to_the_checkpoint_before(folder):
    """FAULTS 15: and so does one that was cut, or removed."""
    save_steps(folder, 3)
    os.truncate(tensors_of(folder, 3), 1000)
    tensors_of(folder, 2).unlink()
    resumed = small_state()
    resume(folder, resumed, CONFIG)
    assert resumed.steps == 1


@pytest.mark.parametrize("length", [0, 1, 100])
def test_a_shortened_manifest_falls_back_to_the_checkpoint_before(folder, length):
    save_steps(folder, 2)
    os.truncate(manifest_of(folder, 2), length)
    resumed = small_state()
    resume(folder, resumed, CONFIG)
    assert resumed.steps == 1


def test_lost_metrics_fall_back_to_a_checkpoint_whose_metrics_are_there(folder):
    save_steps(folder, 2)
    os.truncate(folder.metrics, len(b'{"step": 1}\n') + 3)
    resumed = small_state()
    resume(folder, resumed, CONFIG)
    assert resumed.steps == 1


def test_no_valid_checkpoint_is_an_error_and_never_a_fresh_start(folder):
    """FAULTS 15: the state is as it was, and so are the metrics."""
    save_steps(folder, 2)
    for step in (1, 2):
        tensors_of(folder, step).write_bytes(b"")
    state, metrics = small_state(), folder.metrics.read_bytes()
    before = held(state)
    with pytest.raises(CorruptDataError, match="none of the 2 checkpoints"):
        resume(folder, state, CONFIG)
    assert same(before, held(state)) and state.steps == 0
    assert folder.metrics.read_bytes() == metrics


def test_a_checkpoint_of_another_run_is_refused_with_every_field_that_differs(folder):
    """FAULTS 17: refused before its tensors are looked at, and never passed over for a fresh start."""
    save_steps(folder, 2)
    metrics = folder.metrics.read_bytes()
    shape = SHAPE.model_copy(update={"height": 32})
    recipe = RECIPE.model_copy(update={"batch": 6})
    other = CONFIG.model_copy(update={"run": "other", "shape": shape, "recipe": recipe, "training_code": 99})
    state = small_state()
    before = held(state)
    with pytest.raises(ConfigError) as caught:
        resume(folder, state, other)
    for said in ("4 fields", "shape.height: 16 -> 32", "recipe.batch: 4 -> 6", "run: run -> other", "training_code: "):
        assert said in caught.value.message
    assert "--init" in caught.value.hint
    assert same(before, held(state)) and folder.metrics.read_bytes() == metrics


def test_a_checkpoint_of_an_older_or_another_vgan_is_told_by_its_fields(folder):
    """FAULTS 17: fields that only one of the two knows count as different ones."""
    save_steps(folder, 1)
    rewrite(folder, 1, {"made_with": {f"an_old_{number}": number for number in range(FIELDS_SHOWN)}})
    with pytest.raises(ConfigError, match=r"an_old_0: 0 -> \(not there\).* and \d+ more"):
        resume(folder, small_state(), CONFIG)


@pytest.mark.parametrize(
    "change",
    [
        *({"device": "cpu"}, {"threads": 3}, {"checkpoints": 7}, {"deterministic": True}, {"compile": "off"}),
        *({"processes": 2}, {"init": "another-name-of-the-same-weights"}),
    ],
)
def test_what_does_not_change_what_is_learned_may_differ(folder, change, caplog):
    """FAULTS 17: without a word."""
    state = save_steps(folder, 1)
    asked = CONFIG.model_copy(update={"config": CONFIG.config.model_copy(update=change)})
    resumed = small_state()
    assert resume(folder, resumed, asked) is not None
    assert same(held(state), held(resumed))
    assert not caplog.records


def test_a_checkpoint_of_a_newer_vgan_asks_for_an_upgrade(folder):
    """FAULTS 17: it is neither passed over as damaged nor half understood."""
    save_steps(folder, 2)
    rewrite(folder, 2, {"schema_version": 2, "surprise": [1]})
    with pytest.raises(ConfigError, match="Upgrade vgan"):
        resume(folder, small_state(), CONFIG)


class Trap:
    """Unpickling this leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


def test_a_pickle_disguised_as_a_checkpoint_is_refused_and_nothing_in_it_runs(folder, tmp_path):
    """FAULTS 16: with a matching hash, as tensors and as a manifest, and beside the checkpoints as a .pt file."""
    save_steps(folder, 2)
    mark = tmp_path / "executed"
    content = pickle.dumps(Trap(mark))
    replace(folder, 2, content)
    (folder.checkpoints / "00000003.pt").write_bytes(content)
    resumed = small_state()
    assert resume(folder, resumed, CONFIG) is not None and resumed.steps == 1
    manifest_of(folder, 1).write_bytes(content)
    with pytest.raises(CorruptDataError):
        resume(folder, small_state(), CONFIG)
    assert not mark.exists()
    pickle.loads(content)
    assert mark.exists(), "the trap works"


@pytest.mark.parametrize("tensors", [{"generator.0.weight": torch.zeros(1)}, {}])
def test_tensors_of_another_network_are_refused(folder, tensors):
    save_steps(folder, 1)
    replace(folder, 1, safetensors_bytes(tensors))
    with pytest.raises(CorruptDataError):
        resume(folder, small_state(), CONFIG)


def test_a_state_with_nan_is_not_saved_over_good_ones(folder):
    """FAULTS 13: whatever let it through, the last good checkpoint stays the last."""
    state = save_steps(folder, 1)
    with torch.no_grad():
        state.average[0].weight[0, 0] = float("nan")  # type: ignore[index]
    state.steps += 1
    with pytest.raises(DivergedError, match=r"average\.0\.weight .* step 2"):
        save(folder, state)
    assert newest(folder) == manifest_of(folder, 1)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EFBIG, errno.EDQUOT])
def test_a_full_disk_says_how_much_is_needed_and_keeps_the_checkpoint_before(folder, monkeypatch, code):
    """FAULTS 5, 6: the error ends the run at its next step at the latest, and no half file is left."""
    state = save_steps(folder, 1)
    files = sorted(folder.checkpoints.iterdir())

    def full(file: Any, tensors: dict[str, Tensor]) -> str:
        file.write(b"the first bytes")
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(saving, "write_tensors", full)
    move(state)
    writer = CheckpointWriter(folder, CONFIG)
    others = set(threading.enumerate())
    writer.save(state, 0.0)
    while set(threading.enumerate()) - others:
        threading.Event().wait(0.01)
    with pytest.raises(
        StorageError, match=r"00000002\.safetensors failed: .* step 2 needs 0\.0 MB; [\d,.]+ MB are free"
    ):
        writer.check()
    writer.save(state, 0.0)
    with pytest.raises(StorageError):
        writer.save(state, 0.0)
    assert sorted(folder.checkpoints.iterdir()) == files
    assert resume(folder, small_state(), CONFIG) is not None


def test_the_error_of_a_checkpoint_does_not_hide_what_ended_the_training(folder, monkeypatch, caplog):
    monkeypatch.setattr(saving, "write_tensors", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    with pytest.raises(DivergedError, match="the reason"), CheckpointWriter(folder, CONFIG) as writer:
        writer.save(small_state(), 0.0)
        raise DivergedError("the reason")
    assert "full" in caplog.text


@pytest.mark.parametrize(("free", "warns"), [(3, True), (5, False)])
def test_a_disk_without_room_for_the_checkpoints_that_are_kept_is_told_before_training(
    folder, monkeypatch, caplog, free, warns
):
    """FAULTS 5: room is needed for those that are kept and one more."""
    folder.path.mkdir(parents=True)
    state = small_state()
    monkeypatch.setattr(saving, "free_bytes", lambda _: free * state_bytes(state))
    warn_of_little_room(folder, state)
    assert ("checkpoints need" in caplog.text) is warns


KILLED_WRITERS = """
import os, shutil, sys
from pathlib import Path
sys.path[:0] = {tests!r}
from test_checkpoint import CONFIG, RunFolder, move, save, small_state
state = small_state()
move(state)
for point in {points!r}:
    child = os.fork()
    if child == 0:
        os.environ["VGAN_FAULT"] = point
        save(RunFolder(Path({root!r}) / point), state)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
# Each comes twice in a save: for the tensors and for the manifest.
POINTS = ["after_open", "before_fsync", "before_rename", "before_folder_fsync"]
POINTS += ["half_written", "before_manifest", *(f"{point}:2" for point in POINTS), "before_removal"]
COMMITTED = {"before_folder_fsync:2", "before_removal"}  # the manifest has its name


def test_a_writer_killed_at_any_point_of_saving_leaves_a_whole_checkpoint(tmp_path):
    """FAULTS 3: the one before or, after the manifest got its name, the new one; never a half, and no rubbish stays."""
    for point in POINTS:
        save(RunFolder(tmp_path / point), small_state())
    tests = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    script = KILLED_WRITERS.format(tests=tests, points=POINTS, root=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", script], check=True, timeout=100, capture_output=True, text=True)
    assert done.stdout.split() == ["-9"] * len(POINTS)
    before, after = small_state(), small_state()
    move(after)
    for point in POINTS:
        folder, resumed = RunFolder(tmp_path / point), small_state()
        assert resume(folder, resumed, CONFIG) is not None
        assert resumed.steps == (point in COMMITTED), point
        assert same(held(resumed), held(after if point in COMMITTED else before)), point
        if point == "half_written":
            (half,) = (path for path in folder.checkpoints.glob(".tmp-*"))
            assert 0 < half.stat().st_size < tensors_of(RunFolder(tmp_path / "before_removal"), 1).stat().st_size
        save(folder, resumed)
        names = {path.name for path in folder.checkpoints.iterdir()}
        steps = {0, 1} if point in COMMITTED else {0}
        assert names == {f"{step:08d}{end}" for step in steps for end in (".json", ".safetensors")}, point
