"""The videos of a version in the making, one row each: what groups and sides are decided by, and no more."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...records import Split
from ..batches.split import choose_sides, named_groups
from ..decoding.fingerprint import BYTES, values_of
from ..planning.plan import Source
from .duplicates import Groups, Members, find_groups

LEFT = -1  # batch of a video that is in the version before and not in this one


@dataclass(frozen=True)
class Arranged:
    """What belongs where."""

    rows: list[int]  # of the table, of the videos that stay
    groups: list[str]  # of each of these rows
    sides: dict[str, Split]  # of each group
    copies: dict[int, list[int]]  # row that stays -> rows that it stands for
    near: int  # videos that have a copy that looks the same


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
            batch: number of its batch, or LEFT.
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
        rows = (row for row in range(len(self.digests)) if self.batches[row] != LEFT)
        for row in sorted(rows, key=lambda row: (not self.known[row], self.digests[row])):
            kept = first.setdefault(self.contents[row], row)
            if kept != row:
                copies.setdefault(kept, []).append(row)
                self.named[kept] = tuple(sorted({*self.named[kept], *self.named[row]}))
        return sorted(first.values()), copies

    def arrange(self, share: float) -> Arranged:
        """Choose what stays, its groups and their sides.

        Args:
            share: of the groups, to be held out.
        """
        rows, copies = self.stored_once()
        # Those that left join in, so that what takes their place, re-encoded perhaps, takes their side too.
        left = [row for row, batch in enumerate(self.batches) if batch == LEFT]
        found = self._find_groups([*rows, *left])
        names = self._lowest_names(rows, found)
        labels_of: dict[str, set[str]] = {name: set() for name in names.values()}
        known: dict[str, set[Split]] = {}
        for row, set_name in zip([*rows, *left], found.names, strict=True):
            if (name := names.get(set_name)) is None:  # all of them left
                continue
            if self.known[row]:
                known.setdefault(name, set()).add(self.splits[row])
            if self.batches[row] != LEFT and (label := self.labels[row]) is not None:
                labels_of[name].add(label)
        groups = [names[set_name] for set_name in found.names[: len(rows)]]
        sizes = Counter(groups)
        near = sum(bool(near) and sizes[group] > 1 for near, group in zip(found.near_N, groups, strict=False))
        return Arranged(rows, groups, choose_sides(labels_of, share, known=known), copies, near)

    def _lowest_names(self, rows: list[int], found: Groups) -> dict[str, str]:
        """The name of each set by the lowest name of those of its members that stay."""
        names: dict[str, str] = {}
        for row, set_name in zip(rows, found.names, strict=False):
            own = min(self.named[row]) if self.named[row] else self.contents[row]
            names[set_name] = min(own, names.get(set_name, own))
        return names

    def _find_groups(self, rows: list[int]) -> Groups:
        if not rows:  # numpy takes no empty buffer
            return Groups([], np.zeros(0, np.bool_))
        values_NF = np.frombuffer(self.values, np.uint8).reshape(-1, BYTES)
        members = Members(
            digests=[self.digests[row] for row in rows],
            contents=[self.contents[row] for row in rows],
            named=[self.named[row] for row in rows],
            values_NF=values_NF[rows],
            seconds_N=np.frombuffer(self.seconds, np.float32)[rows],
        )
        return find_groups(members)
