"""Which videos belong together: equal pixels, copies that look the same, and what `group_by` names alike.

Copies that look the same are searched for with random hyperplanes: two fingerprints that point nearly the same way
lie on the same side of nearly all of them. Of a table's videos only those with equal sides are compared, and
16 tables of 24 planes together miss fewer than one copy of a hundred at the limit of similarity, and none of
those that re-encoding makes of most videos. The work grows with the videos, not with their pairs.

Shape suffixes: N videos, E = 2 N entries (each video as it is and mirrored), F values of a fingerprint, B planes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .fingerprint import BYTES, GREYS, look_the_same, mirrored

Uint8 = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int64]

TABLES = 16
PLANES = 24
NEIGHBOURS = 64  # entries of one bucket that each entry is compared with
CHUNK = 8192  # videos or pairs at a time
SECONDS_APART, SHARE_APART = 0.5, 0.03  # lengths of copies may differ by so much
BRIGHTNESS_APART = 12.0  # levels


@dataclass(frozen=True)
class Members:
    """What is to be grouped: one place in each for a video, in any order."""

    digests: Sequence[str]  # of their bytes, all different
    contents: Sequence[str]  # of their pixels
    named: Sequence[tuple[str, ...]]  # groups that `group_by` names
    values_NF: Uint8  # fingerprints
    seconds_N: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Groups:
    """The groups of the videos, in the order that they were given in."""

    names: list[str]  # the lowest name of a member: of its named groups, else its content
    near_N: npt.NDArray[np.bool_]  # has a copy that looks the same


class _Sets:
    """Disjoint sets of places."""

    def __init__(self, num: int) -> None:
        self._parents = list(range(num))

    def root(self, place: int) -> int:
        while (parent := self._parents[place]) != place:
            self._parents[place] = place = self._parents[parent]
        return place

    def join(self, first: int, second: int) -> None:
        low, high = sorted((self.root(first), self.root(second)))
        self._parents[high] = low


def find_groups(members: Members) -> Groups:
    """Put videos together that must not be torn apart; the same groups whatever the order of the members."""
    num = len(members.digests)
    sets = _Sets(num)
    _join_equal(sets, members)
    order = np.asarray(sorted(range(num), key=members.digests.__getitem__), np.int64)
    near_N = np.zeros(num, np.bool_)
    for first, second in _copies(members.values_NF[order], members.seconds_N[order]):
        for low, high in zip(order[first].tolist(), order[second].tolist(), strict=True):
            sets.join(low, high)
            near_N[low] = near_N[high] = True
    own = [min(named) if named else content for named, content in zip(members.named, members.contents, strict=True)]
    lowest: dict[int, str] = {}
    for place, name in enumerate(own):
        root = sets.root(place)
        lowest[root] = min(name, lowest.get(root, name))
    return Groups([lowest[sets.root(place)] for place in range(num)], near_N)


def _join_equal(sets: _Sets, members: Members) -> None:
    seen: dict[str, int] = {}
    for place, (content, named) in enumerate(zip(members.contents, members.named, strict=True)):
        for name in (content, *named):
            sets.join(place, seen.setdefault(name, place))


def _copies(values_NF: Uint8, seconds_N: npt.NDArray[np.float32]) -> Iterator[tuple[Indices, Indices]]:
    """Places of pairs that look the same; a pair may come several times."""
    if len(values_NF) < 2:
        return
    brightness_N = values_NF[:, :GREYS].mean(axis=1, dtype=np.float32)
    rng = np.random.default_rng(0)
    for _ in range(TABLES):
        planes_FB = rng.standard_normal((BYTES, PLANES + 1)).astype(np.float32)
        planes_FB[GREYS:] = 0
        planes_FB[:GREYS] -= planes_FB[:GREYS].mean(axis=0)  # brightness counts for nothing
        buckets_E, along_E = _entries(values_NF, planes_FB)
        for first, second in _neighbours(buckets_E, along_E, len(values_NF)):
            apart = np.abs(seconds_N[first] - seconds_N[second])
            fits = apart <= np.maximum(SECONDS_APART, SHARE_APART * np.maximum(seconds_N[first], seconds_N[second]))
            fits &= np.abs(brightness_N[first] - brightness_N[second]) <= BRIGHTNESS_APART
            yield from _verified(values_NF, first[fits], second[fits])


def _entries(values_NF: Uint8, planes_FB: npt.NDArray[np.float32]) -> tuple[Indices, npt.NDArray[np.float32]]:
    """Bucket of each entry, and its place along one more line, by which a large bucket is sorted."""
    both_FB = np.concatenate([planes_FB, mirrored(planes_FB.T).T], axis=1).astype(np.float32)
    bits = 1 << np.arange(PLANES, dtype=np.int64)
    buckets: list[Indices] = []
    along: list[npt.NDArray[np.float32]] = []
    for start in range(0, len(values_NF), CHUNK):
        sides = values_NF[start : start + CHUNK].astype(np.float32) @ both_FB
        for one in (sides[:, : PLANES + 1], sides[:, PLANES + 1 :]):
            buckets.append((one[:, :PLANES] > 0) @ bits)
            along.append(one[:, PLANES])
    return (
        np.concatenate([*buckets[::2], *buckets[1::2]]),
        np.concatenate([*along[::2], *along[1::2]]),
    )


def _neighbours(buckets_E: Indices, along_E: npt.NDArray[np.float32], num: int) -> Iterator[tuple[Indices, Indices]]:
    """Places of videos of which two entries are in one bucket, at most NEIGHBOURS apart."""
    order = np.lexsort((along_E, buckets_E))
    ordered, videos = buckets_E[order], order % num
    for apart in range(1, min(NEIGHBOURS, len(ordered) - 1) + 1):
        together = np.flatnonzero(ordered[apart:] == ordered[:-apart])
        if not len(together):
            return
        low, high = videos[together], videos[together + apart]
        pairs = np.unique(np.stack([np.minimum(low, high), np.maximum(low, high)])[:, low != high], axis=1)
        yield pairs[0], pairs[1]


def _verified(values_NF: Uint8, first: Indices, second: Indices) -> Iterator[tuple[Indices, Indices]]:
    for start in range(0, len(first), CHUNK):
        low, high = first[start : start + CHUNK], second[start : start + CHUNK]
        same = look_the_same(values_NF[low], values_NF[high])
        if same.any():
            yield low[same], high[same]
