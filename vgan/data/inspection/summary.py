"""A dataset version in figures: counted batch by batch, so that a hundred thousand videos fit in little memory."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any

from ...records import Dataset, Record
from ...workspace import DatasetFolder
from ..manifest import plain_batches

SPLITS = ("train", "heldout")
DOUBLING = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 64.0, 128.0, 256.0, 1024.0)

# Where the bins of each histogram begin: the same for every dataset, so that two can be laid side by side.
BINS: dict[str, tuple[float, ...]] = {
    "duration": (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0),
    "fps": (0.0, 5.0, 10.0, 15.0, 20.0, 24.0, 25.0, 26.0, 30.0, 31.0, 50.0, 60.0, 61.0),
    "size": (0.0, 144.0, 240.0, 360.0, 480.0, 720.0, 1080.0, 1440.0, 2160.0),
    "motion": (0.0, 0.2, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0),
    "clips": DOUBLING,
}
UNITS = {
    "duration": "seconds of a video",
    "fps": "frames per second of a video, rounded",
    "size": "shorter side of a video in pixels",
    "motion": "mean motion of a video's clips in levels (0 to 255)",
    "clips": "clips of a video",
}


class Histogram(Record):
    """How many videos lie where."""

    unit: str
    starts: tuple[float, ...]  # of the bins; each ends where the next begins, the last has no end
    counts: tuple[int, ...]

    def bins(self) -> Iterator[tuple[str, int]]:
        """The bins as a person reads them: "2 to 5" and its count."""
        names = [f"{low:g} to {high:g}" for low, high in pairwise(self.starts)]
        yield from zip([*names, f"{self.starts[-1]:g} and more"], self.counts, strict=True)


class LabelCount(Record):
    """What there is of one class."""

    videos: int
    train: int  # clips
    heldout: int


class DatasetSummary(Record):
    """What a dataset version consists of."""

    name: str
    number: int
    dataset_digest: str
    stored_format: str
    videos: int
    files: int  # names under which these videos were found
    copies: int  # further files with the same pixels, stored once
    groups: int  # sets of videos that stay on one side of the split
    groups_of_several: int
    videos_in_groups: int  # videos of those groups
    clips: dict[str, int]  # by split
    shards: dict[str, int]  # by split
    shard_bytes: dict[str, int]  # by split
    labels: dict[str, LabelCount]  # {} without labels
    seconds: float  # of all videos
    source_bytes: int
    frames_decoded: int
    videos_with_decode_errors: int
    histograms: dict[str, Histogram]  # "duration", "fps", "size", "motion", "clips"
    left_out: dict[str, int]  # windows that made no clip, by reason
    rejections: dict[str, int]  # videos, by reason
    formats: dict[str, int]  # videos by the ending of their name
    codecs: dict[str, int]
    colours: dict[str, int]
    treatments: dict[str, int]
    licences: dict[str, int]  # "" counts the videos of which nothing is said
    consents: dict[str, int]
    marks: dict[str, int]  # what files say of their making


def summarise(folder: DatasetFolder, dataset: Dataset) -> DatasetSummary:
    """Count what a version holds; raises CorruptDataError when a batch's record is missing or damaged."""
    tally = _Tally()
    for batch in plain_batches(folder, dataset):
        for video in batch["videos"]:
            tally.add(video)
        tally.count("rejections", (rejection["reason"] for rejection in batch["rejections"]))
    return tally.summary(dataset)


class _Tally:
    """Counters that all videos are put into, one after the other."""

    def __init__(self) -> None:
        self.sums: Counter[str] = Counter()
        self.counters: dict[str, Counter[str]] = {}
        self.groups: Counter[int] = Counter()
        self.histograms = {name: [0] * len(starts) for name, starts in BINS.items()}
        self.seconds = 0.0

    def count(self, what: str, values: Iterable[str] | dict[str, int]) -> None:
        self.counters.setdefault(what, Counter()).update(values)

    def add(self, video: dict[str, Any]) -> None:
        self.sums["files"] += len(video["paths"])
        self.sums["copies"] += len(video["copies"])
        self.sums["source_bytes"] += video["size_bytes"]
        self.sums["frames_decoded"] += video["frames_decoded"]
        self.sums["videos_with_decode_errors"] += video["decode_errors"] > 0
        self.seconds += video["seconds"]
        self.groups[hash(video["group"])] += 1  # eight bytes instead of a name that may be long
        self.count("formats", [PurePosixPath(video["paths"][0]).suffix.lower() or "none"])
        for what in ("codec", "colour", "licence", "consent"):
            self.count(f"{what}s", [video[what] or ""])
        self.count("treatments", video["treatment"])
        self.count("marks", video["marks"])
        self.count("left_out", video["left_out"])
        if video["label"] is not None:
            self.count("label_videos", [video["label"]])
        for name, value in _measures(video).items():
            place = bisect_right(BINS[name], value) - 1
            self.histograms[name][max(0, place)] += 1

    def largest_first(self, what: str) -> dict[str, int]:
        """Counts from the largest down, equal ones by name."""
        counts = self.counters.get(what, Counter[str]())
        return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))

    def summary(self, dataset: Dataset) -> DatasetSummary:
        several = [size for size in self.groups.values() if size > 1]
        videos_of = self.counters.get("label_videos", Counter[str]())
        clips: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
        for shard in dataset.shards:
            clips[shard.split].update(shard.labels)
        return DatasetSummary(
            name=dataset.name,
            number=dataset.number,
            dataset_digest=dataset.digest(),
            stored_format=dataset.config.stored_format,
            videos=dataset.videos,
            files=self.sums["files"],
            copies=self.sums["copies"],
            groups=len(self.groups),
            groups_of_several=len(several),
            videos_in_groups=sum(several),
            clips={split: dataset.clips(split) for split in SPLITS},
            shards={split: sum(s.split == split for s in dataset.shards) for split in SPLITS},
            shard_bytes={split: sum(s.size_bytes for s in dataset.shards if s.split == split) for split in SPLITS},
            labels={
                label: LabelCount(
                    videos=videos_of[label],
                    train=clips["train"][label],
                    heldout=clips["heldout"][label],
                )
                for label in dataset.labels
            },
            seconds=round(self.seconds, 3),
            source_bytes=self.sums["source_bytes"],
            frames_decoded=self.sums["frames_decoded"],
            videos_with_decode_errors=self.sums["videos_with_decode_errors"],
            histograms={
                name: Histogram(unit=UNITS[name], starts=starts, counts=tuple(self.histograms[name]))
                for name, starts in BINS.items()
            },
            left_out=self.largest_first("left_out"),
            rejections=self.largest_first("rejections"),
            formats=self.largest_first("formats"),
            codecs=self.largest_first("codecs"),
            colours=self.largest_first("colours"),
            treatments=self.largest_first("treatments"),
            licences=self.largest_first("licences"),
            consents=self.largest_first("consents"),
            marks=self.largest_first("marks"),
        )


def _measures(video: dict[str, Any]) -> dict[str, float]:
    return {
        "duration": video["seconds"],
        "fps": float(round(video["fps"])),
        "size": float(min(video["width"], video["height"])),
        "motion": video["motion"],
        "clips": float(video["clips"]),
    }
