import json

import pytest
import torch
from shapes_dataset import write_dataset

from vgan.config import TrainConfig
from vgan.data.loading.loader import ClipSet
from vgan.data.manifest import load_dataset
from vgan.data.shards.formats import KINDS
from vgan.errors import BadInputError
from vgan.training import source
from vgan.training.loop import train_run
from vgan.training.plan import prepare
from vgan.training.source import ClipSource
from vgan.workspace import Workspace

CPU = torch.device("cpu")


def open_source(workspace, split="train", classes=True):
    clips = ClipSet(workspace.dataset("shapes"), load_dataset(workspace, "shapes"), split)
    return ClipSource(clips, CPU, batch=7, seed=3, classes=classes)


@pytest.mark.parametrize("kind", KINDS)
def test_clips_that_do_not_fit_come_in_the_same_batches_as_those_that_do(tmp_path, monkeypatch, kind):
    workspace = Workspace.open(tmp_path)
    write_dataset(workspace, clips=12, kind=kind)
    resident = open_source(workspace)
    assert resident.resident_NCTHW is not None
    monkeypatch.setattr(source, "spare_bytes", lambda device: 12 * 3 * 4 * 16 * 16 - 1)
    streamed = open_source(workspace)
    assert streamed.resident_NCTHW is None
    for step in (5, 6, 7, 0, 1, 30):
        for ours, theirs in zip(resident.at(step), streamed.at(step), strict=True):
            assert torch.equal(ours, theirs), step
    assert resident.waited_seconds > 0 < streamed.waited_seconds
    streamed.close()
    resident.close()


def test_half_of_the_memory_is_never_asked_for():
    import psutil

    assert 0 < source.spare_bytes(CPU) < psutil.virtual_memory().available / 2


def test_a_set_without_classes_gives_none(workspace):
    assert open_source(workspace, classes=False).at(0)[1] is None


def test_an_empty_set_is_refused(workspace):
    with pytest.raises(BadInputError, match="no training clips"):
        open_source(workspace, "heldout")


def test_a_run_whose_clips_do_not_fit_learns_the_same_and_says_how_long_it_waited(tmp_path, monkeypatch):
    weights, config = [], TrainConfig(budget="0.032kclips", batch=8, threads=1, device="cpu", checkpoints=1)
    for name, spare in (("fits", 1 << 40), ("streams", 0)):
        workspace = Workspace.open(tmp_path / name)
        dataset = write_dataset(workspace)
        monkeypatch.setattr(source, "spare_bytes", lambda device, spare=spare: spare)
        key = prepare(workspace, dataset, config)
        train_run(workspace, key, lambda: False)
        folder = workspace.run(key)
        weights.append((folder.generator / "weights.safetensors").read_bytes())
        last = [json.loads(line) for line in folder.timing.read_text().splitlines()][-1]
        assert last["step"] == 4 and last["clips_per_second"] > 0
        assert 0 < last["waited_seconds"] < last["seconds"]
    assert weights[0] == weights[1]
