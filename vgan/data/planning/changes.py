"""What has changed for known videos: other names, another label or licence, or no file any more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from ...config import IngestConfig
from ...errors import BadInputError
from ...records import Rejection
from ..files.hashing import Content
from ..files.listing import Listing
from ..files.sidecar import Said
from ..files.sources import KnownFiles
from .origin import KnownVideo, Origin
from .plan import Edit, Source
from .said import Speaker


@dataclass
class Changes:
    """Of the known videos that come, or came, from the root of a listing."""

    from_here: int = 0  # known videos of the root
    vanished: list[KnownVideo] = field(default_factory=list[KnownVideo])  # no file, and no other one under its names
    unlabelled: list[KnownVideo] = field(default_factory=list[KnownVideo])
    leaving: list[KnownVideo] = field(default_factory=list[KnownVideo])
    edited: list[tuple[KnownVideo, tuple[str, ...], Said]] = field(
        default_factory=list[tuple[KnownVideo, tuple[str, ...], Said]]
    )
    rejections: list[Rejection] = field(default_factory=list[Rejection])  # one for each file of the unlabelled

    def judge(self, config: IngestConfig, root: str) -> None:
        """Raise BadInputError when more videos would leave than may: a folder that is not mounted looks empty."""
        if config.missing == "drop" and (share := len(self.vanished) / max(1, self.from_here)) > config.max_missing:
            raise BadInputError(
                f"{len(self.vanished)} of the {self.from_here} known videos ({share:.0%}) are no longer in {root}, "
                f"more than the allowed {config.max_missing:.0%}; for example {self.vanished[0].paths[0]}.",
                hint="Check that the folder is mounted and whole. Keep their clips with --missing keep, or let them go "
                f"with --max-missing {_at_least(share)}.",
            )
        if (share := len(self.unlabelled) / max(1, self.from_here)) > config.max_missing:
            raise BadInputError(
                f"{len(self.unlabelled)} of the {self.from_here} known videos ({share:.0%}) have no label in "
                f"{config.sidecar} any more, more than the allowed {config.max_missing:.0%}; for example "
                f"{self.unlabelled[0].paths[0]}.",
                hint=f"Check that its paths are relative to {root}, or let them go with --max-missing "
                f"{_at_least(share)}.",
            )

    def edits(self) -> tuple[Edit, ...]:
        """The changes as records, sorted by digest."""
        edits = [Edit(digest_sha256=video.digest.hex(), source=None) for video in self.leaving]
        for video, paths, said in self.edited:
            source = Source(
                digest_sha256=video.digest.hex(),
                size_bytes=video.size,
                paths=paths,
                label=said.label,
                licence=said.licence,
                consent=said.consent,
            )
            edits.append(Edit(digest_sha256=video.digest.hex(), source=source))
        return tuple(sorted(edits, key=lambda edit: edit.digest_sha256))


def find_changes(
    config: IngestConfig,
    origin: Origin,
    listing: Listing,
    contents: Sequence[Content],
    speaker: Speaker,
    known: KnownFiles,
    *,
    forget: bool,
) -> Changes:
    """Compare the names of known contents with those that they have now.

    Args:
        config: of this ingest.
        origin: the known videos.
        listing: what was found below the root.
        contents: with hashes, sorted by path.
        speaker: knows the labels.
        known: knows which names were seen below which root.
        forget: let go what is no longer there and in no version either.
    """
    former = _former(listing, contents, known)
    here: dict[int, list[str]] = {}
    for content in contents:
        if (number := origin.by_digest.get(content.digest)) is not None:
            here.setdefault(number, []).append(content.path)
    lost: dict[int, set[str]] = {}  # names that are gone here, and in no other folder either
    past: list[tuple[str, bytes]] = []
    for path, digest in former:
        number = origin.by_digest.get(digest)
        if number is not None and path in origin.videos[number].paths:
            gone = lost.setdefault(number, set())
            if not known.other_roots(listing.root, path, digest):
                gone.add(path)
        elif digest not in origin.damaged:
            past.append((path, digest))
    if forget:
        known.forget(listing.root, past)
    names = set[str]().union(*lost.values())
    replaced = {content.path for content in contents if content.path in names}
    changes = Changes(from_here=len(here.keys() | lost.keys()))
    for number in sorted(here.keys() | lost.keys()):
        gone = lost.get(number, set())
        _judge(changes, origin.videos[number], here.get(number, []), gone, replaced, speaker, config)
    return changes


def _former(listing: Listing, contents: Sequence[Content], known: KnownFiles) -> list[tuple[str, bytes]]:
    """Names and contents that have gone from the root; what could not be read has not."""
    unreadable = listing.unreadable()
    now = ((content.path, content.digest) for content in contents)
    former = [name for name in known.former(listing.root, now) if not unreadable(name[0])]
    if not listing.whole:
        paths = {content.path for content in contents}
        former = [name for name in former if name[0] in paths]
    known.gone(listing.root, former)
    return former


def _judge(
    changes: Changes,
    video: KnownVideo,
    here: list[str],
    gone: set[str],
    replaced: set[str],
    speaker: Speaker,
    config: IngestConfig,
) -> None:
    elsewhere = [path for path in video.paths if path not in here and path not in gone]
    if not here:
        if not elsewhere and gone.isdisjoint(replaced):
            changes.vanished.append(video)
        if config.missing == "keep" or not gone:
            return
        if not elsewhere:
            changes.leaving.append(video)
            return
        said: Said | None = video.said
    else:
        said = speaker.of_known(video, here, elsewhere)
        if said is None:
            changes.unlabelled.append(video)
            changes.leaving.append(video)
            changes.rejections += [speaker.no_label(path) for path in here]
            return
    paths = tuple(sorted({*here, *elsewhere}))
    if (paths, said) != (video.paths, video.said):
        changes.edited.append((video, paths, said))


def _at_least(share: float) -> str:
    return f"{math.ceil(share * 100) / 100:g}"
