"""Examples from the records of a dataset version: some rejected videos of each reason, some groups of several."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from heapq import nsmallest
from typing import Any

from ...records import Dataset
from ...workspace import DatasetFolder
from ..manifest import plain_batches

REJECTED_SHOWN = 10  # of each reason
REASONS_SHOWN = 50
GROUPS_SHOWN = 30
NAMES_SHOWN = 6  # of each group


@dataclass(frozen=True)
class Examples:
    """What a page lists; the same whatever the order of the batches."""

    rejections: dict[str, list[tuple[str, str]]]  # reason -> (path, detail), by path
    groups: list[tuple[str, int, list[str]]]  # side, videos, some of their names; the largest first


def examples(folder: DatasetFolder, dataset: Dataset) -> Examples:
    """Go through the records twice: what counts is known before names are kept."""
    rejections: dict[str, list[tuple[str, str]]] = {}
    sizes: Counter[int] = Counter()
    for batch in plain_batches(folder, dataset):
        sizes.update(hash(video["group"]) for video in batch["videos"])
        _keep(rejections, batch["rejections"])
    # The names of groups decide between equal sizes, not their hashes, which differ from process to process.
    several = {group: count for group, count in sizes.items() if count > 1}
    least = min((count for count in sorted(several.values())[-GROUPS_SHOWN:]), default=0)
    wanted = {group for group, count in several.items() if count >= least}
    return Examples(rejections, _groups(folder, dataset, wanted) if wanted else [])


def _keep(rejections: dict[str, list[tuple[str, str]]], batch: list[dict[str, Any]]) -> None:
    for rejection in batch:
        if rejection["reason"] in rejections or len(rejections) < REASONS_SHOWN:
            rejections.setdefault(rejection["reason"], []).append((rejection["path"], rejection["detail"]))
    for reason, rows in rejections.items():
        rejections[reason] = nsmallest(REJECTED_SHOWN, rows)


def _groups(folder: DatasetFolder, dataset: Dataset, wanted: set[int]) -> list[tuple[str, int, list[str]]]:
    names: dict[tuple[str, str], list[str]] = {}
    counts: Counter[tuple[str, str]] = Counter()
    for batch in plain_batches(folder, dataset):
        for video in batch["videos"]:
            if hash(video["group"]) in wanted:
                key = (video["group"], video["split"])
                counts[key] += 1
                names[key] = nsmallest(NAMES_SHOWN, [*names.get(key, []), video["paths"][0]])
    ordered = sorted(counts.items(), key=lambda item: (-item[1], names[item[0]]))
    return [(split, count, names[group, split]) for (group, split), count in ordered[:GROUPS_SHOWN]]
