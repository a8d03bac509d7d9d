"""What becomes of batches that were decoded and never committed."""

import os
import time

import pytest
from ingesting import CONFIG, count_decoding, state_of

from vgan.data.batches.batch import ingest_batch
from vgan.data.batches.pending import WAITING_SECONDS, finished_batch
from vgan.data.ingest import ingest
from vgan.data.manifest import load_dataset, verify_dataset
from vgan.data.planning.planner import plan_ingest

OTHER = CONFIG.model_copy(update={"frames": 4})


@pytest.fixture
def cut_short(workspace, shapes_videos):
    """The first batch of a plan with another config; nobody went on with it."""
    place = plan_ingest(workspace, str(shapes_videos), "shapes", OTHER).batches[0]
    ingest_batch(workspace, "shapes", OTHER, place)
    return workspace.dataset("shapes").pending(place.key)


def test_what_another_plan_decoded_serves_when_it_is_made_again(workspace, shapes_videos, cut_short, monkeypatch):
    ingest(workspace, str(shapes_videos), "shapes", CONFIG)
    decoded = count_decoding(monkeypatch)
    ingest(workspace, str(shapes_videos), "shapes", OTHER)
    assert len(decoded) == 12 - OTHER.videos_per_batch and not cut_short.exists()
    assert verify_dataset(workspace, load_dataset(workspace, "shapes")) == []


def test_what_nobody_comes_back_for_goes_after_a_week(workspace, shapes_videos, cut_short):
    ingest(workspace, str(shapes_videos), "shapes", CONFIG)
    long_ago = time.time() - WAITING_SECONDS - 60
    os.utime(cut_short, (long_ago, long_ago))
    ingest(workspace, str(shapes_videos), "shapes", CONFIG)
    assert not list(cut_short.parent.iterdir())
    named = {shard.file for shard in load_dataset(workspace, "shapes").shards}
    assert {path.name for path in workspace.dataset("shapes").shards.iterdir()} == named


def test_a_batch_that_goes_leaves_the_shards_that_another_one_waits_with(workspace, shapes_videos, cut_short):
    before = state_of(workspace)
    twin = cut_short.with_name("0" * 64 + ".json")
    twin.write_bytes(cut_short.read_bytes())
    os.utime(twin, (1, 1))
    ingest(workspace, str(shapes_videos), "shapes", CONFIG)
    assert not twin.exists()
    after = state_of(workspace)
    assert {name: after.get(name) for name in before if name != "plan.jsonl"} == {
        name: content for name, content in before.items() if name != "plan.jsonl"
    }


def test_a_record_that_is_damaged_while_it_waits_is_a_batch_to_be_made(workspace, shapes_videos, cut_short):
    cut_short.chmod(0o644)
    cut_short.write_bytes(cut_short.read_bytes()[:-9])
    assert finished_batch(workspace.dataset("shapes"), cut_short.stem) is None
    assert ingest(workspace, str(shapes_videos), "shapes", OTHER).videos_accepted == 12
