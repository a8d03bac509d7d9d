"""Rendered shapes, in memory and in real shards, and finished runs of generators that were never trained."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
from made_generator import generator_record, write_generator
from made_records import commit_batches, keep_batch, made_video

from vgan.config import EvaluateConfig, IngestConfig, TrainConfig
from vgan.data.shapes import DIRECTIONS, render_video
from vgan.data.shards.formats import encode_clip
from vgan.data.shards.writer import Sample
from vgan.models.interface import Generator
from vgan.models.network import ClipShape, R3Generator
from vgan.records import Dataset, Split, TrainedRun, Video
from vgan.storage import write_atomic
from vgan.workspace import Workspace

FRAMES, SIZE, FPS = 8, 32, 8.0
QUICK = EvaluateConfig(clips=16, bootstrap=20)


def render(num: int, seed: int = 0, frames: int = FRAMES, size: int = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """Clips uint8 [N, T, H, W, 3] and labels [N] of the shapes law."""
    videos = [render_video(seed, i, size=size, frames=frames) for i in range(num)]
    labels = np.array([DIRECTIONS.index(shape.direction) for _, shape in videos], np.int64)
    return np.stack([frames_THWC for frames_THWC, _ in videos]), labels


def write_dataset(
    workspace: Workspace,
    name: str,
    clips_NTHWC: np.ndarray,
    label_names: list[str | None],
    train: int = 4,
) -> Dataset:
    """Put clips into shards, the first `train` for training and the others held out, each as its own video."""
    folder = workspace.dataset(name)
    n, frames, height, width, _ = clips_NTHWC.shape
    videos: list[Video] = []
    samples: dict[Split, list[Sample]] = {"train": [], "heldout": []}
    for i in range(n):
        digest = hashlib.sha256(f"{name}{i}".encode()).hexdigest()
        split: Split = "train" if i < train else "heldout"
        payload = encode_clip(np.ascontiguousarray(clips_NTHWC[i].transpose(3, 0, 1, 2)), "npy", FPS)
        samples[split].append(Sample(f"{digest[:16]}-00000", "npy", payload, {"label": label_names[i]}))
        videos.append(made_video(digest, split=split, label=label_names[i], width=width, height=height))
    config = IngestConfig(
        frames=frames, height=height, width=width, fps=FPS, labels="folder" if label_names[0] else "none"
    )
    return commit_batches(folder, config, label_names, [keep_batch(folder, "k" * 16, videos, samples)])


def write_run(
    workspace: Workspace, dataset: Dataset, run: str, change: Callable[[Generator], None] = lambda network: None
) -> TrainedRun:
    """A finished run with an untrained generator, its weights changed by `change`."""
    folder, config = workspace.run(run), dataset.config
    shape = ClipShape(frames=config.frames, height=config.height, width=config.width, labels=len(dataset.labels))
    record = generator_record(
        shape, network=R3Generator(still=(16, 16), widths=(16, 16)), labels=dataset.labels, run=run,
        dataset=dataset.name, dataset_digest=dataset.digest(), fps=config.fps,
    )  # fmt: skip
    record = write_generator(folder.generator, record, hash_of(run), change)
    trained = TrainedRun(
        run=run, dataset=dataset.name, dataset_digest=dataset.digest(), config=TrainConfig(), device="cpu",
        steps=10, clips=160, seconds=1.0, generator=record, git_commit=None,
    )  # fmt: skip
    write_atomic(folder.record, trained.to_json())
    return trained


def hash_of(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)
