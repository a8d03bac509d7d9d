"""Which videos belong together: equal pixels, copies that look the same, and what `group_by` names alike.

Copies that look the same are searched for with random hyperplanes: two fingerprints that point nearly the same way
lie on the same side of nearly all of them. Of a table's videos only those with equal sides are compared, and
16 tables of 24 planes together miss fewer than one copy of a hundred at the limit of similarity, and none of
those that re-encoding makes of most videos. Of each pair a sketch of 256 more planes is looked at before the
fingerprints are. The work grows with the videos, not with their pairs.

Shape suffixes: N videos, E = 2 N entries (each video as it is, then each mirrored), F values of a fingerprint,
B planes, W words of a sketch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..decoding.fingerprint import BYTES, GREYS, look_the_same, mirrored

Uint8 = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

TABLES = 16
PLANES = 24
NEIGHBOURS = 64  # entries of one bucket that each entry is compared with
SKETCH = 256  # planes of a sketch
SKETCH_APART = 28  # of which copies may lie on other sides: 14 are expected at the limit of similarity
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
    seconds_N: Floats


@dataclass(frozen=True)
class Groups:
    """The groups of the videos, in the order that they were given in."""

    names: list[str]  # the lowest name of a member: of its named groups, else its content
    near_N: npt.NDArray[np.bool_]  # has a copy that looks the same


class _Sets:
    """Disjoint sets of places; each is named by its lowest."""

    def __init__(self, num: int) -> None:
        self.parents_N = np.arange(num)

    def join(self, first: Iterable[int], second: Iterable[int]) -> None:
        """Unite the sets of each pair."""
        for pair in zip(first, second, strict=True):
            low, high = sorted(map(self._root, pair))
            self.parents_N[high] = low

    def _root(self, place: int) -> int:
        while (parent := int(self.parents_N[place])) != place:
            place = parent
        return place

    def roots(self) -> Indices:
        """The root of each place."""
        while (above_N := self.parents_N[self.parents_N]).tobytes() != self.parents_N.tobytes():
            self.parents_N = above_N
        return self.parents_N


def find_groups(members: Members) -> Groups:
    """Put videos together that must not be torn apart; the same groups whatever the order of the members."""
    num = len(members.digests)
    order = np.asarray(sorted(range(num), key=members.digests.__getitem__), np.int64)
    copies = _copies(members.values_NF[order], members.seconds_N[order])
    near_N = np.zeros(num, np.bool_)
    near_N[order] = np.bincount(copies.roots(), minlength=num)[copies.roots()] > 1
    sets = _Sets(num)
    sets.join(order.tolist(), order[copies.roots()].tolist())
    _join_equal(sets, members)
    roots = sets.roots().tolist()
    lowest: dict[int, str] = {}
    for root, named, content in zip(roots, members.named, members.contents, strict=True):
        own = min(named) if named else content
        lowest[root] = min(own, lowest.get(root, own))
    return Groups([lowest[root] for root in roots], near_N)


def _join_equal(sets: _Sets, members: Members) -> None:
    seen: dict[str, int] = {}
    for place, (content, named) in enumerate(zip(members.contents, members.named, strict=True)):
        for name in (content, *named):
            if (other := seen.setdefault(name, place)) != place:
                sets.join([place], [other])


def _copies(values_NF: Uint8, seconds_N: Floats) -> _Sets:
    """Sets of videos that look the same, through each other if need be."""
    sets = _Sets(num := len(values_NF))
    if num < 2:
        return sets
    brightness_N = values_NF[:, :GREYS].mean(axis=1, dtype=np.float32)
    rng = np.random.default_rng(0)
    sketches_EW = np.packbits(_sides(values_NF, _planes(rng, SKETCH)) > 0, axis=1).view(np.uint64)
    for _ in range(TABLES):
        sides_EB = _sides(values_NF, _planes(rng, PLANES + 1))
        buckets_E = (sides_EB[:, :PLANES] > 0) @ (1 << np.arange(PLANES, dtype=np.int64))
        # A large bucket is sorted along one more line, so that those that are most alike meet.
        order = np.lexsort((sides_EB[:, PLANES], buckets_E))
        for first, second in _neighbours(order, buckets_E, sketches_EW, num):
            roots = sets.roots()
            apart = np.abs(seconds_N[first] - seconds_N[second])
            fits = apart <= np.maximum(SECONDS_APART, SHARE_APART * np.maximum(seconds_N[first], seconds_N[second]))
            fits &= np.abs(brightness_N[first] - brightness_N[second]) <= BRIGHTNESS_APART
            fits &= roots[first] != roots[second]
            for low, high in _verified(values_NF, first[fits], second[fits]):
                sets.join(low.tolist(), high.tolist())
    return sets


def _planes(rng: np.random.Generator, num: int) -> Floats:
    """Normals of random planes, float32 [F, num]; brightness and colours lie in all of them, and count for nothing."""
    planes_FB = rng.standard_normal((BYTES, num)).astype(np.float32)
    planes_FB[GREYS:] = 0
    planes_FB[:GREYS] -= planes_FB[:GREYS].mean(axis=0)
    return planes_FB


def _sides(values_NF: Uint8, planes_FB: Floats) -> Floats:
    """Distance of each entry from each plane, float32 [E, B]: of the videos, then of them mirrored."""
    sides_EB = np.empty((2 * len(values_NF), planes_FB.shape[1]), np.float32)
    mirror_FB = mirrored(planes_FB.T).T.astype(np.float32)
    for start in range(0, len(values_NF), CHUNK):
        values = values_NF[start : start + CHUNK].astype(np.float32)
        for first, planes in ((start, planes_FB), (start + len(values_NF), mirror_FB)):
            sides_EB[first : first + len(values)] = values @ planes
    return sides_EB


def _neighbours(
    order: Indices, buckets_E: Indices, sketches_EW: npt.NDArray[np.uint64], num: int
) -> Iterator[tuple[Indices, Indices]]:
    """Places of videos of which two entries are in one bucket, at most NEIGHBOURS apart, and have like sketches."""
    ordered = buckets_E[order]
    for apart in range(1, min(NEIGHBOURS, len(ordered) - 1) + 1):
        together = np.flatnonzero(ordered[apart:] == ordered[:-apart])
        if not len(together):
            return
        low, high = order[together], order[together + apart]
        differing = np.bitwise_count(sketches_EW[low] ^ sketches_EW[high]).sum(axis=1)
        low, high = low[differing <= SKETCH_APART] % num, high[differing <= SKETCH_APART] % num
        pairs = np.unique(np.minimum(low, high) * num + np.maximum(low, high))
        first, second = pairs // num, pairs % num
        yield first[first != second], second[first != second]


def _verified(values_NF: Uint8, first: Indices, second: Indices) -> Iterator[tuple[Indices, Indices]]:
    for start in range(0, len(first), CHUNK):
        low, high = first[start : start + CHUNK], second[start : start + CHUNK]
        same = look_the_same(values_NF[low], values_NF[high])
        yield low[same], high[same]
