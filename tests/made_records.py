"""Records of videos that no test has to spell out, and versions made of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from vgan.config import IngestConfig
from vgan.data.manifest import new_version, write_batch, write_version
from vgan.data.shards.writer import Sample, write_shards
from vgan.records import Batch, BatchRef, Dataset, Rejection, Split, Video
from vgan.workspace import DatasetFolder


def digest_of_name(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def made_video(digest_sha256: str, **fields: Any) -> Video:
    """A plausible record of a video with one clip; `fields` change what a test is about."""
    plain: dict[str, Any] = {
        "digest_sha256": digest_sha256, "paths": (f"{digest_sha256[:16]}.mp4",), "copies": (), "size_bytes": 1,
        "content": digest_sha256, "fingerprint": "", "group": digest_sha256, "split": "train", "label": None,
        "licence": None, "consent": None, "marks": (), "codec": "h264", "width": 64, "height": 48, "fps": 8.0,
        "seconds": 1.0, "colour": "bt709 limited", "treatment": (), "frames_decoded": 8, "decode_errors": 0,
        "clips": 1, "motion": 3.0, "left_out": {},
    }  # fmt: skip
    return Video(**(plain | fields))


def keep_batch(
    folder: DatasetFolder,
    key: str,
    videos: Iterable[Video],
    samples: dict[Split, list[Sample]],
    rejections: Iterable[Rejection] = (),
) -> BatchRef:
    """Write the shards and the record of a batch; held-out clips come first."""
    splits: tuple[Split, ...] = ("heldout", "train")
    shards = tuple(shard for split in splits for shard in write_shards(folder.shards, split, samples.get(split, [])))
    return write_batch(folder, Batch(key=key, videos=tuple(videos), rejections=tuple(rejections), shards=shards))


def commit_batches(
    folder: DatasetFolder,
    config: IngestConfig,
    labels: Iterable[str | None],
    batches: Sequence[BatchRef],
    number: int = 1,
) -> Dataset:
    """Write the manifest of a version of these batches."""
    dataset = new_version(folder.path.name, number, config, {label for label in labels if label is not None}, batches)
    write_version(folder, dataset)
    return dataset
