"""A small shapes dataset, straight into shards: training needs no video files."""

import numpy as np

from vgan.config import IngestConfig
from vgan.data.manifest import new_version, write_version
from vgan.data.shapes import render_video
from vgan.data.shards import Sample, write_shards
from vgan.records import Batch, Dataset, Video
from vgan.workspace import Workspace


def write_dataset(
    workspace: Workspace, name: str = "shapes", *, clips: int = 24, frames: int = 4, size: int = 16, labels: bool = True
) -> Dataset:
    """Render `clips` clips, one video each, and commit them as a dataset version."""
    folder = workspace.dataset(name)
    config = IngestConfig(frames=frames, height=size, width=size, labels="folder" if labels else "none")
    videos, samples = [], []
    for index in range(clips):
        frames_THWC, shape = render_video(0, index, size=size, frames=frames)
        digest = f"{index:016x}" + "0" * 48
        label = shape.direction if labels else None
        videos.append(_video(digest, label, frames))
        pixels_CTHW = np.ascontiguousarray(frames_THWC.transpose(3, 0, 1, 2))
        samples.append(Sample(f"{digest[:16]}-00000", pixels_CTHW, {"label": label}))
    shards = tuple(write_shards(folder.shards, "train", samples))
    dataset = new_version(name, config, [Batch(key="0" * 64, videos=tuple(videos), rejections=(), shards=shards)])
    write_version(folder, dataset)
    return dataset


def _video(digest: str, label: str | None, frames: int) -> Video:
    return Video(
        digest_sha256=digest,
        paths=(f"{digest[:16]}.mp4",),
        copies=(),
        size_bytes=1,
        content=digest,
        group=digest,
        split="train",
        label=label,
        codec="h264",
        width=16,
        height=16,
        fps=8.0,
        seconds=1.0,
        frames_decoded=frames,
        decode_errors=0,
        clips=1,
        windows_cut=0,
    )
