"""A few clips of a dataset version to look at: of both sides and of each label, spread over the videos.

Which ones is decided by hashes alone, so equal data show equal clips. Only as many shards are opened as there are
clips to show, however many there are.

Shape suffixes: T frames, H height, W width, C = 3 colours (RGB, uint8).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from ...records import BatchRef, Dataset, Shard, Split
from ...storage import storage_errors
from ...workspace import DatasetFolder, Workspace
from ..buckets.published import Published
from ..manifest import plain_batch
from ..shards.formats import Kind, decode_clip
from ..shards.tar_index import Member, corrupt, index_shard

Uint8 = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ShownClip:
    """A clip with what its shard says of it."""

    key: str
    split: Split
    label: str | None
    source: str  # a name of its video
    start_seconds: float
    frames_THWC: Uint8


@dataclass(frozen=True)
class _Part:
    """So many clips of one label from one shard."""

    shard: Shard
    label: str | None
    count: int


def chosen_clips(workspace: Workspace, dataset: Dataset, num: int, seed: int = 0) -> Iterator[ShownClip]:
    """At most `num` clips, read one at a time: training clips first, each side in the order of the labels.

    Shards that lie only where the dataset is published are fetched first, if they are among the chosen.

    Raises:
        CorruptDataError: a shard that was chosen, or the record of its batch, is missing or damaged.
        StorageError: it cannot be read.
    """
    parts = _parts(dataset, num, seed)
    if workspace.published:
        Published(workspace, dataset.name).ensure(dataset, [part.shard for part in parts])
    folder = workspace.dataset(dataset.name)
    batches = {shard.file: batch for batch in dataset.batches for shard in batch.shards}
    for part in parts:
        path = folder.shards / part.shard.file
        chosen = _choose(path, part.label, part.count, seed)
        names = _names(folder, batches[part.shard.file], {_video(pixels) for _, pixels in chosen})
        for about, pixels in chosen:
            yield _shown(path, dataset, about | {"source": names.get(_video(pixels), pixels.key)}, pixels, part)


def _video(member: Member) -> str:
    """The beginning of the sha256 of a clip's video."""
    return member.key[:16]


def _names(folder: DatasetFolder, batch: BatchRef, videos: set[str]) -> dict[str, str]:
    """What these videos are called now: the shard of one that was renamed still holds its first name."""
    known = ((video["digest_sha256"][:16], video["paths"][0]) for video in plain_batch(folder, batch)["videos"])
    return {video: name for video, name in known if video in videos}


def _parts(dataset: Dataset, num: int, seed: int) -> list[_Part]:
    """As equal numbers of each side and label as there are, from as many shards as possible."""
    there: dict[tuple[Split, str | None], list[_Part]] = {}
    for shard in sorted(dataset.shards, key=lambda shard: _rank(seed, shard.sha256)):
        labels: dict[str | None, int] = {**shard.labels} if shard.labels else {None: shard.samples}
        for label, count in labels.items():
            there.setdefault((shard.split, label), []).append(_Part(shard, label, count))
    kinds = sorted(there, key=lambda kind: (kind[0] != "train", kind[1] or ""))
    if len(kinds) > num:
        kinds = [kinds[place * len(kinds) // num] for place in range(num)]
    wanted = spread([sum(part.count for part in there[kind]) for kind in kinds], num)
    parts: list[_Part] = []
    for kind, count in zip(kinds, wanted, strict=True):
        shares = spread([part.count for part in there[kind]], count)
        parts += [replace(part, count=share) for part, share in zip(there[kind], shares, strict=True) if share]
    return parts


def spread(available: Sequence[int], num: int) -> list[int]:
    """Take `num` from stocks as equally as they allow, the first ones first: spread([1, 5, 5], 6) is [1, 3, 2]."""
    taken = [0] * len(available)
    while num > 0 and (places := [place for place, stock in enumerate(available) if taken[place] < stock][:num]):
        for place in places:
            taken[place] += 1
        num -= len(places)
    return taken


def _choose(path: Path, label: str | None, num: int, seed: int) -> list[tuple[dict[str, Any], Member]]:
    """Descriptions and places of at most `num` clips of a shard, of as many videos as possible."""
    if not path.is_file():
        raise corrupt(path, "it is missing")
    members = index_shard(path)
    pairs = list(zip(members[::2], members[1::2], strict=True))
    order = sorted(pairs, key=lambda pair: _rank(seed, pair[0].key))
    nth: dict[str, int] = {}  # of its video, so that every video's first clip comes before any second
    ranked: list[tuple[int, tuple[Member, Member]]] = []
    for pair in order:
        video = _video(pair[0])
        nth[video] = nth.get(video, -1) + 1
        ranked.append((nth[video], pair))
    chosen: list[tuple[dict[str, Any], Member]] = []
    for _, (words, pixels) in sorted(ranked, key=lambda item: item[0]):
        if len(chosen) == num:
            break
        about = _about(path, words)
        if about.get("label") == label:
            chosen.append((about | {"key": words.key}, pixels))
    return chosen


def _about(path: Path, member: Member) -> dict[str, Any]:
    try:
        about: Any = json.loads(_content(path, member))
    except ValueError as error:
        raise corrupt(path, f"{member.key}.json is not JSON") from error
    if not isinstance(about, dict):
        raise corrupt(path, f"{member.key}.json is no object")
    return cast(dict[str, Any], about)


def _shown(path: Path, dataset: Dataset, about: dict[str, Any], member: Member, part: _Part) -> ShownClip:
    config = dataset.config
    clip_CTHW = np.empty((3, config.frames, config.height, config.width), np.uint8)
    decode_clip(_content(path, member), cast(Kind, member.kind), clip_CTHW)
    return ShownClip(
        key=member.key,
        split=part.shard.split,
        label=part.label,
        source=about["source"],
        start_seconds=float(about.get("start_seconds", 0.0)),
        frames_THWC=np.ascontiguousarray(clip_CTHW.transpose(1, 2, 3, 0)),
    )


def _content(path: Path, member: Member) -> bytes:
    with storage_errors(path, "reading"), open(path, "rb") as file:
        file.seek(member.offset)
        return file.read(member.size)


def _rank(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed} {name}".encode()).hexdigest()
