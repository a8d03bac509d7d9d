"""Clips are announced to those who retrain once there are enough of them, and never again."""

from pathlib import Path

import pytest
from made_version import CONFIG, rejection, video, write_dataset

from vgan.config import IngestConfig, TrainConfig
from vgan.data.manifest import load_dataset
from vgan.data.versions import growth
from vgan.data.versions.growth import announce, count_new_clips, take
from vgan.data.versions.kept import plan_pruning
from vgan.records import Dataset, GeneratorRecord, TrainedRun
from vgan.storage import write_atomic
from vgan.workspace import Workspace

OTHER = IngestConfig(frames=4, height=32, width=32, format="npy", labels="folder")


def version(workspace: Workspace, *batches: str, number: int = 1, config: IngestConfig = CONFIG) -> Dataset:
    """A version whose batches hold the videos with these letters, of two clips each."""
    made = [([video(f"{letter}.mp4") for letter in letters], [rejection("no.mp4")]) for letters in batches]
    return write_dataset(workspace, made, number=number, config=config)


def train_on(workspace: Workspace, digest: str, name: str = "made") -> None:
    """A finished run that was trained on this version."""
    run = f"{name}-{digest[:8]}"
    generator = GeneratorRecord(
        family="r3", network={}, labels=(), frames=8, height=16, width=16, fps=8.0, weights_sha256="0" * 64, run=run,
        dataset=name, dataset_digest=digest, vgan_version="0",
    )  # fmt: skip
    trained = TrainedRun(
        run=run, dataset=name, dataset_digest=digest, config=TrainConfig(), device="cpu", steps=1, clips=1,
        seconds=1.0, generator=generator, git_commit=None,
    )  # fmt: skip
    write_atomic(workspace.run(run).record, trained.to_json())


def test_all_clips_of_a_dataset_that_nobody_trained_on_are_new(workspace: Workspace) -> None:
    version(workspace, "abc")
    assert announce(workspace, "made", 7) is None
    found = announce(workspace, "made", 6)
    assert found is not None
    assert (found.number, found.new_clips) == (1, 6)


def test_a_dataset_that_is_not_there_has_not_grown(workspace: Workspace) -> None:
    assert announce(workspace, "made", 1) is None


def test_the_same_version_is_announced_once_whoever_asks_again(workspace: Workspace) -> None:
    version(workspace, "abc")
    assert announce(workspace, "made", 1)
    assert announce(workspace, "made", 1) is None
    assert announce(Workspace.open(workspace.root), "made", 1) is None


def test_clips_add_up_over_versions_until_they_are_enough(workspace: Workspace) -> None:
    train_on(workspace, version(workspace, "ab").digest())
    version(workspace, "ab", "c", number=2)
    assert announce(workspace, "made", 4) is None
    version(workspace, "ab", "c", "d", number=3)
    found = announce(workspace, "made", 4)
    assert found is not None
    assert found.new_clips == 4
    version(workspace, "ab", "c", "d", "e", number=4)
    assert announce(workspace, "made", 4) is None, "two since the announcement"


def test_a_version_that_a_training_has_taken_is_not_announced(workspace: Workspace) -> None:
    take(workspace, "made", version(workspace, "abc").digest())
    assert announce(workspace, "made", 1) is None
    version(workspace, "abc", "d", number=2)
    found = announce(workspace, "made", 1)
    assert found is not None
    assert found.new_clips == 2


def test_videos_that_only_changed_batches_are_not_new(workspace: Workspace) -> None:
    train_on(workspace, version(workspace, "abc", "def").digest())
    assert count_new_clips(workspace, version(workspace, "ad", "bcef", number=2)) == 0
    assert count_new_clips(workspace, version(workspace, "ab", "def", "g", number=3)) == 2


def test_videos_that_come_back_are_not_announced_again(workspace: Workspace) -> None:
    version(workspace, "abc")
    assert announce(workspace, "made", 1)
    version(workspace, "a", number=2)
    assert announce(workspace, "made", 1) is None
    version(workspace, "a", "c", number=3)
    assert announce(workspace, "made", 1) is None


def test_clips_of_another_shape_are_new_ones(workspace: Workspace) -> None:
    train_on(workspace, version(workspace, "abc").digest())
    found = count_new_clips(workspace, version(workspace, "abc", number=2, config=OTHER))
    assert found == 6


def test_a_training_on_another_dataset_says_nothing_of_this_one(workspace: Workspace) -> None:
    made = version(workspace, "abc")
    train_on(workspace, made.digest(), "other")
    assert count_new_clips(workspace, made) == 6


def test_damaged_records_of_old_versions_and_runs_stop_no_ingest(workspace: Workspace) -> None:
    old = version(workspace, "ab")
    train_on(workspace, old.digest())
    new = version(workspace, "a", "cd", number=2)
    workspace.dataset("made").batch(old.batches[0].record).unlink()
    assert count_new_clips(workspace, new) == 6, "what nobody can read any more counts as new"
    workspace.dataset("made").version(old.digest()).write_bytes(b"{")
    workspace.run("made-broken").path.mkdir(parents=True)
    workspace.run("made-broken").record.write_bytes(b"{")
    assert count_new_clips(workspace, new) == 6


def test_batches_that_both_versions_name_are_not_read(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    train_on(workspace, version(workspace, "abcdefgh").digest())
    new = version(workspace, "abcdefgh", "i", number=2)
    read: list[str] = []
    real = growth.plain_batch
    monkeypatch.setattr(growth, "plain_batch", lambda folder, ref: read.append(ref.record) or real(folder, ref))
    assert count_new_clips(workspace, new) == 2
    assert len(read) == 1


def test_the_note_is_written_before_anybody_is_told(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    made = version(workspace, "abc")

    def full(path: Path, content: bytes) -> None:
        raise OSError

    with monkeypatch.context() as patched:
        patched.setattr(growth, "write_atomic", full)
        with pytest.raises(OSError):
            announce(workspace, "made", 1)
    assert announce(workspace, "made", 1)
    assert workspace.dataset("made").announced(made.digest()).exists()


def test_pruning_keeps_the_version_that_was_announced_last(workspace: Workspace) -> None:
    version(workspace, "abc")
    assert announce(workspace, "made", 1)
    for number in (2, 3):
        version(workspace, "abc", "defg"[: number - 1], number=number)
    planned = plan_pruning(workspace, "made", 1)
    assert [line.number for line in planned.versions] == [2]
    assert "announced" in planned.spared[1]
    assert load_dataset(workspace, "made").number == 3
