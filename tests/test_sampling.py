import hashlib
import json
import pickle
import subprocess
import sys
from pathlib import Path

import made_generator
import numpy as np
import pytest
import torch
from made_generator import generator_record

from vgan.errors import ConfigError, CorruptDataError
from vgan.models.generate import between
from vgan.models.network import ClipShape
from vgan.sampling import Sampler, load_generator

SHAPE = ClipShape(frames=4, height=16, width=24, labels=2)


def write_generator(folder: Path, labels: tuple[str, ...] = ("left", "up")) -> Path:
    record = generator_record(SHAPE, labels=labels, run="run-1", dataset="shapes")
    made_generator.write_generator(folder, record)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_generator(tmp_path / "generator")


def test_samples_are_clips_of_the_trained_size(folder):
    clips_NTHWC = Sampler(folder).sample(3, seed=0)
    assert clips_NTHWC.shape == (3, 4, 16, 24, 3) and clips_NTHWC.dtype == np.uint8
    assert not np.array_equal(clips_NTHWC[0], clips_NTHWC[2])


def test_the_same_seed_gives_the_same_clip_whatever_the_number_and_the_process(folder):
    clips_NTHWC = Sampler(folder).sample(6, seed=10, label="up")
    for i in range(6):
        assert np.array_equal(Sampler(folder).sample(1, seed=10 + i, label="up")[0], clips_NTHWC[i])
    code = "import sys, hashlib; from vgan.sampling import Sampler; "
    code += "print(hashlib.sha256(Sampler(sys.argv[1]).sample(6, 10, 'up').tobytes()).hexdigest())"
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False, timeout=100
    )
    assert done.stdout.strip() == hashlib.sha256(clips_NTHWC.tobytes()).hexdigest()


def test_global_random_state_is_neither_used_nor_changed(folder):
    sampler = Sampler(folder)
    torch.manual_seed(1)
    first = sampler.sample(1, 0)
    drawn = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(3), drawn)
    assert np.array_equal(sampler.sample(1, 0), first)


def test_labels_take_turns_and_can_be_named_or_numbered(folder):
    sampler = Sampler(folder)
    turns = sampler.sample(4, 0)
    assert np.array_equal(turns[1], sampler.sample(1, 1, "up")[0])
    assert np.array_equal(turns[2], sampler.sample(1, 2, 0)[0])


@pytest.mark.parametrize("label", ["down", 2, -1])
def test_an_unknown_label_is_refused_with_the_known_ones(folder, label):
    with pytest.raises(ConfigError, match="left, up"):
        Sampler(folder).sample(1, 0, label)


def test_a_generator_without_labels_refuses_any(tmp_path):
    sampler = Sampler(write_generator(tmp_path, labels=()))
    assert sampler.sample(1, 0).shape[0] == 1
    with pytest.raises(ConfigError, match="without labels"):
        sampler.sample(1, 0, "left")


@pytest.mark.parametrize("num, seed, frames", [(0, 0, None), (1, -1, None), (1, 0, 0)])
def test_impossible_requests_are_refused(folder, num, seed, frames):
    with pytest.raises(ConfigError):
        Sampler(folder).sample(num, seed, frames=frames)


def test_a_clip_may_be_longer_than_trained(folder):
    clips_NTHWC = Sampler(folder).sample(1, 0, frames=9)
    assert clips_NTHWC.shape[1] == 9
    assert np.abs(clips_NTHWC[0, :4].astype(int) - Sampler(folder).sample(1, 0)[0]).max() <= 1


def test_changed_weights_are_refused(folder):
    weights = folder / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(CorruptDataError, match="weights"):
        load_generator(folder)


class Trap:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


def test_pickled_weights_with_a_matching_hash_are_refused_and_nothing_in_them_runs(folder, tmp_path):
    content = pickle.dumps(Trap(tmp_path / "executed"))
    (folder / "weights.safetensors").write_bytes(content)
    record = json.loads((folder / "generator.json").read_bytes())
    record["weights_sha256"] = hashlib.sha256(content).hexdigest()
    (folder / "generator.json").write_text(json.dumps(record))
    with pytest.raises(CorruptDataError):
        load_generator(folder)
    assert not (tmp_path / "executed").exists()


def test_a_smaller_truncation_brings_clips_nearer_to_each_other_and_one_is_off(folder):
    sampler = Sampler(folder)
    usual = sampler.sample(6, 0, "up")
    assert np.array_equal(sampler.sample(6, 0, "up", truncation=1.0), usual)
    spread = [sampler.sample(6, 0, "up", truncation=psi).astype(float).std(0).mean() for psi in (0.001, 0.02, 1.0)]
    assert spread[0] < spread[1] / 2 < spread[2] / 4, "networks that were never trained need much of it"


@pytest.mark.parametrize("truncation", [0.0, -0.5, 1.01, float("nan")])
def test_a_truncation_out_of_bounds_is_refused(folder, truncation):
    with pytest.raises(ConfigError, match="truncation"):
        Sampler(folder).sample(1, 0, truncation=truncation)


def test_a_walk_begins_and_ends_with_exactly_the_clips_of_its_seeds(folder):
    sampler = Sampler(folder)
    walk = sampler.sample(5, 3, "up", to_seed=8)
    assert np.array_equal(walk[0], sampler.sample(1, 3, "up")[0])
    assert np.array_equal(walk[4], sampler.sample(1, 8, "up")[0])
    pixels = walk.reshape(5, -1).astype(float)
    steps, whole = np.abs(np.diff(pixels, axis=0)).mean(1), np.abs(pixels[4] - pixels[0]).mean()
    assert steps.min() > 0 and steps.max() < whole, "it goes there step by step"


def test_a_walk_without_a_label_keeps_to_one_class(folder):
    sampler = Sampler(folder)
    assert np.array_equal(sampler.sample(4, 3, to_seed=8), sampler.sample(4, 3, "left", to_seed=8))


def test_a_walk_keeps_the_length_that_latents_have():
    first, second = (torch.randn(1, 512, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    middle = between(first, second, 0.5)
    assert middle.norm() == pytest.approx(float((first.norm() + second.norm()) / 2), rel=0.01)
    assert torch.equal(between(first, second, 0.0), first) and torch.equal(between(first, second, 1.0), second)
    assert torch.equal(between(first, first, 0.3), first)


@pytest.mark.parametrize("num, to_seed", [(1, 5), (4, 3), (4, -1)])
def test_a_walk_to_nowhere_is_refused(folder, num, to_seed):
    with pytest.raises(ConfigError, match="seed"):
        Sampler(folder).sample(num, 3, to_seed=to_seed)


def test_a_device_that_is_not_there_is_refused(folder, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="cuda"):
        Sampler(folder, "cuda")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert next(Sampler(folder, "auto").network.parameters()).device.type == "cpu"


def test_sampling_needs_neither_training_nor_data_nor_prefect_nor_mlflow():
    code = "import sys, vgan.sampling; rooms = ('vgan.training', 'vgan.data', 'vgan.evaluation', 'prefect', 'mlflow', "
    code += "'webdataset'); sys.exit(any(name.startswith(rooms) for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=100).returncode == 0
