"""What is said of a video: its label, by folder or sidecar, its licence and consent."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import PurePosixPath

from ...config import IngestConfig
from ...records import Rejection
from ..files.sidecar import Said, Sidecar
from ..files.sources import KnownFiles
from .origin import KnownVideo

log = logging.getLogger(__name__)


class Speaker:
    """Says of each content what the names and the sidecar say now."""

    def __init__(self, config: IngestConfig, root: str, sidecar: Sidecar | None, known: KnownFiles) -> None:
        self.labels = config.labels
        self.root = root
        self.sidecar = sidecar
        self.known = known
        self._torn = 0  # contents that lie in folders of several labels
        self._example: tuple[str, Sequence[str]] = ("", ())

    def of_new(self, paths: Sequence[str]) -> Said | None:
        """Of a content of these names (sorted, below the root); None when it needs a label and has none."""
        row = self.sidecar.of(paths) if self.sidecar else None
        said = row or Said()
        if self.labels == "sidecar":
            return said if said.label else None
        if self.labels == "folder":
            self._note(paths, label := _folder_of(paths[0]) or _last_part(self.root))
            return said._replace(label=label)
        return said._replace(label=None)

    def of_known(self, video: KnownVideo, here: Sequence[str], elsewhere: Sequence[str]) -> Said | None:
        """Of a video of the origin; None when it needs a label and has lost it.

        Args:
            video: the video as its record has it.
            here: its names below the root, sorted, at least one.
            elsewhere: its names below other roots, of which this sidecar says nothing.
        """
        before = video.said
        row = self.sidecar.of(here) if self.sidecar else None
        # A run without a sidecar takes nothing back, nor does a sidecar that belongs to another of its folders.
        silent = self.sidecar is None or (row is None and elsewhere)
        said = before if silent else row or Said()
        if self.labels == "none":
            return said._replace(label=None)
        if self.labels == "folder":
            return said._replace(label=self._folder_label(video, here, elsewhere))
        label = said.label or (before.label if elsewhere else None)
        return said._replace(label=label) if label else None

    def _folder_label(self, video: KnownVideo, here: Sequence[str], elsewhere: Sequence[str]) -> str | None:
        lowest = min((*here, *elsewhere))
        self._note((*here, *elsewhere), _folder_of(lowest))
        if folder := _folder_of(lowest):
            return folder
        if lowest in here:
            return _last_part(self.root)
        roots = self.known.other_roots(self.root, lowest, video.digest)
        return _last_part(roots[0]) if roots else video.said.label

    def _note(self, paths: Sequence[str], label: str) -> None:
        if len(paths) > 1 and len({_folder_of(path) for path in paths}) > 1:
            self._torn += 1
            self._example = self._example if self._torn > 1 else (label, paths)

    def log_torn(self) -> None:
        """Warn of equal videos in folders of several labels: one label is taken, that of the first name."""
        if self._torn:
            label, paths = self._example
            names = ", ".join(paths[:3])
            log.warning("%d videos lie in folders of several labels; %s are taken as %r", self._torn, names, label)

    def no_label(self, path: str) -> Rejection:
        """Of a video that has no label where each needs one."""
        place = self.sidecar.place if self.sidecar else "the sidecar"
        detail = f"{place} has no row with a label for it"
        return Rejection(path=path, digest_sha256=None, reason="no_label", detail=detail[-300:])


def _folder_of(path: str) -> str:
    return PurePosixPath(path).parent.name


def _last_part(root: str) -> str:
    """The label of videos that lie in no folder below the root."""
    return PurePosixPath(root).name or root
