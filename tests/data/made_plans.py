"""Dataset versions made of records alone: what planning reads, without decoding a video."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Collection, Generator
from pathlib import Path

from made_records import commit_batches, keep_batch, made_video

from vgan.config import IngestConfig
from vgan.data.manifest import current_version, load_dataset, read_batch, write_batch
from vgan.data.planning.plan import IngestPlan, Source, read_batch_plans
from vgan.data.shards.writer import Sample
from vgan.records import BatchRef, Dataset, Rejection, Video
from vgan.workspace import DatasetFolder, Workspace

CONFIG = IngestConfig(frames=8, height=16, width=16, videos_per_batch=4)


_listeners: list[list[str]] = []


def _hear(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and _listeners and isinstance(arguments[0], str | bytes | os.PathLike):
        path = os.fsdecode(arguments[0])
        for opened in _listeners:
            opened.append(path)


sys.addaudithook(_hear)


@contextlib.contextmanager
def opened_below(folder: Path) -> Generator[list[str]]:
    """Names below a folder of all that this process opens in the block, in order, filled in at its end."""
    opened: list[str] = []
    names: list[str] = []
    _listeners.append(opened)
    try:
        yield names
    finally:
        _listeners[:] = [listener for listener in _listeners if listener is not opened]
        names += [path.removeprefix(f"{folder}/") for path in opened if path.startswith(f"{folder}/")]


def write_files(folder: Path, *names: str) -> Path:
    """Files that are named like videos; the content of each is its name without folders."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.name)
    return folder


def video_of(source: Source) -> Video:
    return made_video(**source.model_dump(exclude={"schema_version"}))


def batch_of(folder: DatasetFolder, key: str, sources: Collection[Source], reject: Collection[str] = ()) -> BatchRef:
    """Keep a batch of these sources, with a small real shard; those of a name in `reject` are rejected."""
    taken = [source for source in sources if not set(source.paths) & set(reject)]
    refused = [
        Rejection(path=source.paths[0], digest_sha256=source.digest_sha256, reason="no_header", detail="made")
        for source in sources
        if source not in taken
    ]
    samples = [
        Sample(f"{source.digest_sha256[:16]}-00000", "npy", b"pixels", {"label": source.label}) for source in taken
    ]
    return keep_batch(folder, key, map(video_of, taken), {"train": samples}, refused)


def carry_out(workspace: Workspace, plan: IngestPlan, *, reject: Collection[str] = ()) -> Dataset:
    """Make the version that a plan asks for, with one clip a video."""
    folder = workspace.dataset(plan.name)
    edits = {edit.digest_sha256: edit.source for edit in plan.edits}
    refs: list[BatchRef] = []
    origin = current_version(folder) if plan.origin == plan.base else load_dataset(workspace, plan.name, plan.origin)
    for ref in origin.batches if origin and plan.origin else ():
        if ref.record not in plan.kept:
            continue
        batch = read_batch(folder, ref)
        now = [(video, edits.get(video.digest_sha256, video)) for video in batch.videos]
        videos = tuple(
            video.model_copy(update=source.model_dump(include={"paths", "label", "licence", "consent"}))
            for video, source in now
            if source is not None
        )
        refs.append(write_batch(folder, batch.model_copy(update={"videos": videos})))
    refs += [batch_of(folder, batch.key, batch.sources, reject) for batch in read_batch_plans(folder, plan.batches)]
    current = current_version(folder)
    labels = [source.label for batch in read_batch_plans(folder, plan.batches) for source in batch.sources]
    return commit_batches(folder, plan.config, labels, refs, current.number + 1 if current else 1)
