"""Datasets written by hand: real shards and records, with whatever a test wants them to say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from made_records import commit_batches, digest_of_name, keep_batch, made_video

from vgan.config import IngestConfig
from vgan.data.shards.formats import encode_clip
from vgan.data.shards.writer import Sample
from vgan.records import Dataset, Rejection, Split, Video
from vgan.workspace import Workspace

CONFIG = IngestConfig(frames=8, height=32, width=32, format="npy", labels="folder")


def video(name: str, **fields: Any) -> Video:
    """A plausible record of a video with two clips; `fields` change what a test is about."""
    plain: dict[str, Any] = {"paths": (name,), "clips": 2, "seconds": 4.0, "fps": 25.0}
    return made_video(digest_of_name(name), **(plain | fields))


def rejection(path: str, reason: str = "no_video_stream", detail: str = "nothing to see") -> Rejection:
    return Rejection(path=path, digest_sha256=None, reason=reason, detail=detail)


def clip(of: Video, number: int, config: IngestConfig) -> np.ndarray:
    """Pixels uint8 [3, T, H, W]: a square that moves over a colour of the video's own."""
    rng = np.random.default_rng(int(of.digest_sha256[:8], 16))
    pixels = np.empty((3, config.frames, config.height, config.width), np.uint8)
    pixels[:] = rng.integers(40, 160, (3, 1, 1, 1))
    for frame in range(config.frames):
        start = (frame * 2 + number * 5) % (config.width - 8)
        pixels[:, frame, 8:16, start : start + 8] = 250
    return pixels


def write_dataset(
    workspace: Workspace,
    batches: Sequence[tuple[Sequence[Video], Sequence[Rejection]]],
    *,
    name: str = "made",
    config: IngestConfig = CONFIG,
    number: int = 1,
) -> Dataset:
    """Write shards, batches and a manifest; each video has `clips` clips."""
    folder = workspace.dataset(name)
    references = []
    for place, (videos, rejections) in enumerate(batches):
        ordered = sorted(videos, key=lambda one: one.digest_sha256)
        samples: dict[Split, list[Sample]] = {split: _samples(ordered, split, config) for split in ("heldout", "train")}
        references.append(keep_batch(folder, digest_of_name(f"batch {place}"), ordered, samples, rejections))
    labels = [one.label for videos, _ in batches for one in videos]
    return commit_batches(folder, config, labels, references, number)


def _samples(videos: Sequence[Video], split: Split, config: IngestConfig) -> list[Sample]:
    kind = config.stored_format
    return [
        Sample(
            f"{one.digest_sha256[:16]}-{number:05d}",
            kind,
            encode_clip(clip(one, number, config), kind, config.fps),
            {"label": one.label, "source": one.paths[0], "start_seconds": float(number), "split": split},
        )
        for one in videos
        if one.split == split
        for number in range(one.clips)
    ]
