"""A version as a webdataset pipeline."""

import gc
import tarfile
import warnings
from itertools import islice

import numpy as np
import pytest
import webdataset
from ingesting import CONFIG

from vgan.data.ingest import ingest
from vgan.data.loading.loader import ClipSet
from vgan.data.loading.stream import open_stream
from vgan.data.manifest import load_dataset
from vgan.errors import ConfigError, CorruptDataError

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(autouse=True)
def closed():
    """webdataset leaves its files to the garbage collector, which must not find them in another test."""
    yield
    with warnings.catch_warnings(action="ignore"):
        gc.collect()


@pytest.fixture
def ingested(workspace, shapes_videos):
    ingest(workspace, str(shapes_videos), "shapes", CONFIG)
    return workspace


@pytest.mark.parametrize("kind", ["npy", "jpg", "mp4"])
def test_it_gives_the_clips_and_classes_that_training_sees(workspace, shapes_videos, kind):
    config = CONFIG.model_copy(update={"format": kind})
    ingest(workspace, str(shapes_videos), "shapes", config)
    clips = ClipSet(workspace.dataset("shapes"), load_dataset(workspace, "shapes"), "train")
    seen = list(open_stream(workspace, "shapes"))
    assert [sample["__key__"] for sample in seen] == clips.keys and len(seen) > 5
    assert np.array_equal(np.stack([sample["clip"] for sample in seen]), clips.read(range(len(clips))))
    assert [sample["label"] for sample in seen] == clips.labels.tolist() and len(set(clips.labels)) == 2
    assert all(sample["about"]["split"] == "train" for sample in seen)


def test_only_the_shards_of_the_version_are_read(ingested, shapes_videos):
    first = load_dataset(ingested, "shapes").digest()
    ingest(ingested, str(shapes_videos), "shapes", CONFIG.model_copy(update={"frames": 6}))
    assert {sample["clip"].shape[1] for sample in open_stream(ingested, "shapes", "heldout")} == {6}
    assert {sample["clip"].shape[1] for sample in open_stream(ingested, "shapes", version=first)} == {8}


def test_a_shuffled_stream_holds_the_same_clips_in_another_order(ingested):
    plain = [sample["__key__"] for sample in open_stream(ingested, "shapes")]
    shuffled = [sample["__key__"] for sample in open_stream(ingested, "shapes", shuffle=100)]
    assert shuffled != plain and sorted(shuffled) == sorted(plain)


def test_it_is_a_webdataset_that_others_extend(ingested):
    stream = open_stream(ingested, "shapes").to_tuple("clip", "label").batched(4)
    assert isinstance(stream, webdataset.WebDataset)
    clips_NCTHW, labels_N = next(iter(stream))
    assert clips_NCTHW.shape == (4, 3, 8, 16, 16) and len(labels_N) == 4


def test_a_pickle_in_a_shard_is_refused_before_it_is_read(ingested, tmp_path):
    """FAULTS 38: webdataset's own decoding would run it."""
    shard = load_dataset(ingested, "shapes").shards[-1]
    path = ingested.dataset("shapes").shards / shard.file
    hostile = tmp_path / "x.pyd"
    hostile.write_bytes(b"cos\nsystem\n(S'touch marker'\ntR.")
    path.chmod(0o644)
    with tarfile.open(path, "a", format=tarfile.USTAR_FORMAT) as tar:
        tar.add(hostile, f"{'0' * 16}-00000.pyd")
    with pytest.raises(CorruptDataError, match="pyd"):
        list(islice(open_stream(ingested, "shapes", shard.split), 1))


def test_a_name_or_a_shard_that_is_not_there_is_told(ingested):
    with pytest.raises(ConfigError, match="nobody"):
        open_stream(ingested, "nobody")
    dataset = load_dataset(ingested, "shapes")
    (ingested.dataset("shapes").shards / dataset.shards[0].file).unlink()
    with pytest.raises(CorruptDataError, match="missing"):
        open_stream(ingested, "shapes", dataset.shards[0].split)
