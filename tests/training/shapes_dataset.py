"""A small shapes dataset, straight into shards: training needs no video files."""

import numpy as np
from made_records import commit_batches, keep_batch, made_video

from vgan.config import IngestConfig
from vgan.data.shapes import render_video
from vgan.data.shards.formats import Kind, encode_clip
from vgan.data.shards.writer import Sample
from vgan.records import Dataset
from vgan.workspace import Workspace


def write_dataset(
    workspace: Workspace,
    name: str = "shapes",
    *,
    clips: int = 24,
    frames: int = 4,
    size: int = 16,
    labels: bool = True,
    kind: Kind = "npy",
) -> Dataset:
    """Render `clips` clips, one video each, and commit them as a dataset version."""
    folder = workspace.dataset(name)
    config = IngestConfig(frames=frames, height=size, width=size, labels="folder" if labels else "none", format=kind)
    videos, samples = [], []
    for index in range(clips):
        frames_THWC, shape = render_video(0, index, size=size, frames=frames)
        digest = f"{index:016x}" + "0" * 48
        label = shape.direction if labels else None
        videos.append(made_video(digest, label=label))
        payload = encode_clip(np.ascontiguousarray(frames_THWC.transpose(3, 0, 1, 2)), kind, config.fps)
        samples.append(Sample(f"{digest[:16]}-00000", kind, payload, {"label": label}))
    batch = keep_batch(folder, "0" * 64, videos, {"train": samples})
    return commit_batches(folder, config, [video.label for video in videos], [batch])
