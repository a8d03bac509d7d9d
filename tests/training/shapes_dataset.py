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
    heldout: int = 0,
    frames: int = 4,
    size: int = 16,
    labels: bool = True,
    kind: Kind = "npy",
) -> Dataset:
    """Render `clips` training clips and then `heldout` others, one video each, and commit them as a version."""
    folder = workspace.dataset(name)
    config = IngestConfig(frames=frames, height=size, width=size, labels="folder" if labels else "none", format=kind)
    videos, samples = [], {"train": [], "heldout": []}
    for index in range(clips + heldout):
        frames_THWC, shape = render_video(0, index, size=size, frames=frames)
        digest = f"{index:016x}" + "0" * 48
        label = shape.direction if labels else None
        split = "train" if index < clips else "heldout"
        videos.append(made_video(digest, label=label, split=split))
        payload = encode_clip(np.ascontiguousarray(frames_THWC.transpose(3, 0, 1, 2)), kind, config.fps)
        samples[split].append(Sample(f"{digest[:16]}-00000", kind, payload, {"label": label}))
    batch = keep_batch(folder, "0" * 64, videos, samples)
    return commit_batches(folder, config, [video.label for video in videos], [batch])
