"""Which videos train and which are held out: a choice for content, never for a file or a clip.

A group is what must not be torn apart: videos with equal pixels or, with `group_by`, of one person or scene.
Its side follows from a hash of its name alone, so it stays when the dataset grows and is the same anywhere.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from ..records import Split


def group_of(content: str, path: str, group_by: str | None) -> str:
    """The group of a video: the match of `group_by` in its path, its content without one or without a match.

    Of a pattern with parentheses the first pair counts, else the whole match.
    """
    match = re.search(group_by, path) if group_by else None
    if match is None:
        return content
    return "by:" + next((part for part in match.groups() if part is not None), match[0])


def side_value(group: str) -> float:
    """A number from 0 to 1 that belongs to a group: below the held-out share it is held out."""
    return int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big") / 2**64


def split_groups(
    labels_of: Mapping[str, set[str]], share: float, *, known: Mapping[str, Split], ensure: bool
) -> dict[str, Split]:
    """Choose a side for each group.

    Args:
        labels_of: group -> the labels of its videos.
        share: of the groups, to be held out.
        known: groups that have a side already; they keep it.
        ensure: the first batch of a dataset, which must not be left without held-out clips by chance. Each
            label with two groups or more then holds out its share, at least one group: those of the lowest
            value, which the hash alone would choose first too.
    """
    chosen = {group for group in labels_of if side_value(group) < share}
    if ensure:
        chosen |= _lowest_of_each_label(labels_of, share)
        chosen -= _needed_for_training(labels_of, chosen)
        if not chosen and len(labels_of) > 1:  # a single video of each label: one label goes without training
            chosen = {min(labels_of, key=side_value)}
    sides: dict[str, Split] = {}
    for group in labels_of:
        sides[group] = known.get(group) or ("heldout" if group in chosen else "train")
    return sides


def _members(labels_of: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of each label and of all together, lowest value first."""
    labels = sorted({label for labels in labels_of.values() for label in labels})
    ordered = sorted(labels_of, key=lambda group: (side_value(group), group))
    return [ordered, *([group for group in ordered if label in labels_of[group]] for label in labels)]


def _lowest_of_each_label(labels_of: Mapping[str, set[str]], share: float) -> set[str]:
    return {
        group
        for members in _members(labels_of)
        if len(members) >= 2
        for group in members[: max(1, int(share * len(members)))]
    }


def _needed_for_training(labels_of: Mapping[str, set[str]], chosen: set[str]) -> set[str]:
    """The highest group of all and of each label that would otherwise be held out whole."""
    return {members[-1] for members in _members(labels_of) if members and chosen.issuperset(members)}
