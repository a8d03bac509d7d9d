"""Promises of the event by which an ingest asks for a retrain."""

from __future__ import annotations

from typing import Any

import pytest
from made_records import commit_batches, digest_of_name, keep_batch, made_video

from tasks import ingest
from vgan.config import IngestConfig
from vgan.errors import StorageError
from vgan.workspace import Workspace

CONFIG = IngestConfig(frames=8, labels="folder", workers=2, videos_per_batch=5)


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(ingest, "emit_event", lambda **event: sent.append(event))
    return sent


@pytest.fixture
def three_clips(workspace: Workspace) -> str:
    """Digest of a version with three clips."""
    folder = workspace.dataset("toys")
    videos = [made_video(digest_of_name(str(number))) for number in range(3)]
    return commit_batches(folder, CONFIG, [], [keep_batch(folder, "k", videos, {})]).digest()


def announce(workspace: Workspace, least: int) -> None:
    ingest.announce_growth.fn(str(workspace.root), "./videos", "toys", CONFIG, least, None)


def test_enough_new_clips_are_told_once_with_what_the_ingest_was_asked_for(
    workspace: Workspace, three_clips: str, events: list[dict[str, Any]]
) -> None:
    announce(workspace, 3)
    announce(workspace, 3)
    (event,) = events
    assert event["event"] == "vgan.dataset.grown"
    assert event["resource"]["prefect.resource.id"] == "vgan.dataset.toys"
    assert event["payload"] == {
        "name": "toys", "digest": three_clips, "number": 1, "new_clips": 3, "videos": "./videos", "workspace": None,
        "config": {"frames": 8, "labels": "folder", "videos_per_batch": 5},
    }  # fmt: skip


def test_too_few_new_clips_are_not_told(workspace: Workspace, three_clips: str, events: list[dict[str, Any]]) -> None:
    announce(workspace, 4)
    assert events == []


def test_nobody_is_told_what_could_not_be_noted(
    workspace: Workspace, three_clips: str, events: list[dict[str, Any]]
) -> None:
    place = workspace.dataset("toys").announced(three_clips).parent
    place.write_bytes(b"in the way")
    with pytest.raises(StorageError):
        announce(workspace, 3)
    place.unlink()
    assert events == []
    announce(workspace, 3)
    assert len(events) == 1
