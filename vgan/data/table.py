"""The videos of a version in the making, one row each: what groups and sides are decided by, and no more."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..records import Split
from .duplicates import Groups, Members, find_groups
from .fingerprint import BYTES, values_of
from .plan import Source
from .split import choose_sides, named_groups


@dataclass
class Table:
    """Columns of equal length; some 1.5 kB a video, of which the fingerprint is a third."""

    digests: list[str] = field(default_factory=list[str])
    contents: list[str] = field(default_factory=list[str])
    named: list[tuple[str, ...]] = field(default_factory=list[tuple[str, ...]])
    groups: list[str] = field(default_factory=list[str])  # as its record says
    labels: list[str | None] = field(default_factory=list[str | None])
    splits: list[Split] = field(default_factory=list[Split])  # as its record says
    known: list[bool] = field(default_factory=list[bool])  # in the version before
    batches: list[int] = field(default_factory=list[int])
    clips: list[int] = field(default_factory=list[int])
    seconds: array[float] = field(default_factory=lambda: array("f"))
    values: bytearray = field(default_factory=bytearray)

    def add(
        self, video: Mapping[str, Any], batch: int, *, known: bool, said: Source | None, group_by: str | None
    ) -> None:
        """Append a video, as its record's JSON has it.

        Args:
            video: the record.
            batch: number of its batch.
            known: whether it was in the version before: then its side counts.
            said: other names and label that it has now.
            group_by: of the config.
        """
        self.digests.append(video["digest_sha256"])
        self.contents.append(video["content"])
        self.named.append(named_groups(said.paths if said else video["paths"], group_by))
        self.groups.append(video["group"])
        self.labels.append(said.label if said else video["label"])
        self.splits.append(video["split"])
        self.known.append(known)
        self.batches.append(batch)
        self.clips.append(video["clips"])
        self.seconds.append(video["seconds"])
        self.values += values_of(video["fingerprint"]).tobytes()

    def stored_once(self) -> tuple[list[int], dict[int, list[int]]]:
        """Rows that stay, one for each content, and for those that stay the rows of their copies.

        A known video stays before a new one, then that of the lowest sha256.
        """
        first: dict[str, int] = {}
        copies: dict[int, list[int]] = {}
        for row in sorted(range(len(self.digests)), key=lambda row: (not self.known[row], self.digests[row])):
            kept = first.setdefault(self.contents[row], row)
            if kept != row:
                copies.setdefault(kept, []).append(row)
                self.named[kept] = tuple(sorted({*self.named[kept], *self.named[row]}))
        return sorted(first.values()), copies

    def find_groups(self, rows: list[int]) -> Groups:
        """Groups of these rows, in their order."""
        values_NF = np.frombuffer(self.values, np.uint8).reshape(-1, BYTES)
        members = Members(
            digests=[self.digests[row] for row in rows],
            contents=[self.contents[row] for row in rows],
            named=[self.named[row] for row in rows],
            values_NF=values_NF if len(rows) == len(values_NF) else values_NF[rows],
            seconds_N=np.frombuffer(self.seconds, np.float32)[rows],
        )
        return find_groups(members)

    def choose_sides(
        self, rows: list[int], groups: list[str], share: float, former: Mapping[str, Split]
    ) -> dict[str, Split]:
        """The side of each group.

        Args:
            rows: that stay.
            groups: of each of these rows.
            share: to be held out.
            former: content -> side, of videos whose records are not kept but which were in the version before.
        """
        labels_of: dict[str, set[str]] = {}
        known: dict[str, set[Split]] = {}
        for row, group in zip(rows, groups, strict=True):
            labels = labels_of.setdefault(group, set())
            if (label := self.labels[row]) is not None:
                labels.add(label)
            before = self.splits[row] if self.known[row] else former.get(self.contents[row])
            if before:
                known.setdefault(group, set()).add(before)
        return choose_sides(labels_of, share, known=known)
