"""Which videos train and which are held out: a choice for content, never for a file or a clip.

A group is what must not be torn apart: videos that look the same or, with `group_by`, show one person or scene.
Its side follows from a hash of its name alone, so it is the same anywhere; a side that was once chosen stays.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping

from ...records import Split


def named_groups(paths: Iterable[str], group_by: str | None) -> tuple[str, ...]:
    """Names of the groups that `group_by` finds in a video's paths, sorted; () without one or without a match.

    Of a pattern with parentheses the first pair that matched counts, else the whole match.
    """
    if not group_by:
        return ()
    matches = [match for path in paths if (match := re.search(group_by, path))]
    return tuple(sorted({"by:" + next((p for p in match.groups() if p is not None), match[0]) for match in matches}))


def side_value(group: str) -> float:
    """A number from 0 to 1 that belongs to a group: below the held-out share it is held out."""
    return int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big") / 2**64


def side_of(group: str, share: float) -> Split:
    """The side that a group's name alone asks for."""
    return "heldout" if side_value(group) < share else "train"


def choose_sides(
    labels_of: Mapping[str, Collection[str]], share: float, *, known: Mapping[str, Collection[Split]]
) -> dict[str, Split]:
    """Choose a side for each group.

    Known groups keep their side. One with members on both sides trains: what a model may have seen must never
    judge it, while a clip that stops judging does no harm. Where nothing is held out yet, no label is left without
    by chance: each label with two groups or more then holds out its share, at least one group: those of
    the lowest value, which the hash alone would choose first too.

    Args:
        labels_of: group -> the labels of its videos.
        share: of the groups, to be held out.
        known: group -> the sides of those of its videos that have one.
    """
    sides: dict[str, Split] = {}
    for group in labels_of:
        if before := known.get(group):
            sides[group] = "train" if "train" in before else "heldout"
        else:
            sides[group] = side_of(group, share)
    if not any("heldout" in before for before in known.values()):
        sides |= dict.fromkeys(_ensured(labels_of, share, sides, known), "heldout")
        sides |= dict.fromkeys(_needed_for_training(labels_of, sides), "train")
    if len(sides) > 1 and "heldout" not in sides.values():  # a single video of each label: one label goes without
        sides[min(_movable(labels_of, known), key=_order)] = "heldout"
    if len(sides) > 1 and "train" not in sides.values():
        sides[max(labels_of, key=_order)] = "train"
    return sides


def _order(group: str) -> tuple[float, str]:
    return side_value(group), group


def _movable(labels_of: Mapping[str, Collection[str]], known: Mapping[str, Collection[Split]]) -> Collection[str]:
    """Groups that no training has seen, or all when there is none."""
    return [group for group in labels_of if not known.get(group)] or labels_of


def _members(groups: Iterable[str], labels_of: Mapping[str, Collection[str]]) -> list[list[str]]:
    """Groups of all labels together and of each, lowest value first."""
    ordered = sorted(groups, key=_order)
    by_label: dict[str, list[str]] = {}
    for group in ordered:
        for label in labels_of[group]:
            by_label.setdefault(label, []).append(group)
    return [ordered, *by_label.values()]


def _ensured(
    labels_of: Mapping[str, Collection[str]],
    share: float,
    sides: Mapping[str, Split],
    known: Mapping[str, Collection[Split]],
) -> set[str]:
    """The lowest groups of each label, as many as its share says."""
    free = _members((group for group in sides if not known.get(group)), labels_of)
    return {group for members in free if len(members) >= 2 for group in members[: max(1, int(share * len(members)))]}


def _needed_for_training(labels_of: Mapping[str, Collection[str]], sides: Mapping[str, Split]) -> set[str]:
    """The highest group of all and of each label that would otherwise be held out whole."""
    members = _members(labels_of, labels_of)
    return {some[-1] for some in members if some and all(sides[group] == "heldout" for group in some)}
