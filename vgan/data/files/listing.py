"""Which files are named like videos below a folder or a URL, without opening one.

Names, sizes and times come from the folders' own entries: a million files cost some seconds and a few hundred bytes
each. What is no regular file is rejected here, since opening a pipe would wait for ever.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ...errors import ConfigError
from ...records import Rejection
from ...remote import RemoteFolder, is_url, plain_path
from ...storage import storage_errors
from .names import has_controls, text_of

EXTENSIONS = {
    *(".mp4", ".m4v", ".m4a", ".mov", ".mj2", ".3gp", ".3g2", ".mkv", ".webm", ".avi", ".flv", ".ogv"),
    *(".mpg", ".mpeg", ".vob", ".ts", ".mts", ".m2ts", ".wmv", ".asf"),
}
NAME_LIMIT = 4096  # characters of a remote name: what a path of a file system may have


class Found(NamedTuple):
    """A file, and what tells it from another state of itself without opening it."""

    path: str  # relative to the root, as `text_of` writes it
    size: int  # bytes
    version: str  # changes whenever the content may have changed; "" when nothing is known


@dataclass
class Listing:
    """What lies below a root."""

    root: str  # folder or URL, as `text_of` writes it
    remote: bool
    whole: bool  # False: a single file was asked for, so nothing is known of what else lies there
    files: list[Found] = field(default_factory=list[Found])  # sorted by path
    rejections: list[Rejection] = field(default_factory=list[Rejection])
    unread: list[str] = field(default_factory=list[str])  # folders that could not be read, "" for the root

    def reject(self, path: str, reason: str, detail: str) -> None:
        """Leave a file out, and say why; `path` is relative, as `text_of` writes it."""
        short = text_of(detail)[:300]
        self.rejections.append(Rejection(path=path, digest_sha256=None, reason=reason, detail=short))

    def unreadable(self) -> Callable[[str], bool]:
        """Whether a path may be there although it was not listed, since it or its folder could not be read."""
        names = {rejection.path for rejection in self.rejections if rejection.reason == "unreadable"}
        folders = tuple(f"{folder}/" if folder else "" for folder in self.unread)
        return lambda path: path in names or path.startswith(folders)


def is_video_name(name: str) -> bool:
    """Whether a file of this name is taken for a video; what macOS puts beside one (`._x.mp4`) is not."""
    return os.path.splitext(name)[1].lower() in EXTENSIONS and not name.startswith("._")  # noqa: PTH122  a million times


def version_of(status: os.stat_result) -> str:
    """What changes when a local file is written, replaced or renamed over.

    The device is no part of it: its number is another one after many a remount.
    """
    return f"{status.st_mtime_ns:x}-{status.st_ctime_ns:x}-{status.st_ino:x}"


def list_videos(videos: str, *, follow_outside: bool) -> Listing:
    """Files below a folder or URL that are named like videos, or the one file that is named.

    Args:
        videos: folder, file or URL.
        follow_outside: also follow links that lead out of the folder.

    Raises:
        ConfigError: there is no such folder or bucket.
        StorageError: it cannot be read.
    """
    videos = plain_path(videos)
    if is_url(videos):
        return _list_remote(videos)
    path = Path(videos).expanduser().absolute()
    if ".." in path.parts:
        path = path.resolve()
    if not path.exists():
        raise ConfigError(f"there is no {path}.", hint="Name the folder that holds your videos with --videos.")
    single = not path.is_dir()
    root = str(path.parent if single else path)
    listing = Listing(root=text_of(root), remote=False, whole=not single)
    walk = _Walk(root, listing, follow_outside)
    if single:
        walk.file(path.name, is_link=path.is_symlink())
    else:
        with storage_errors(path, "reading"):
            os.scandir(path).close()  # only to find out at once whether it may be read
        walk.all()
    listing.files.sort()
    listing.rejections.sort(key=lambda rejection: rejection.path)
    return listing


class _Walk:
    """One pass over the folders of a root, each folder once: real ones first, then those behind links."""

    def __init__(self, root: str, listing: Listing, follow_outside: bool) -> None:
        self.root = root
        self.real_root = os.path.realpath(root)
        self.listing = listing
        self.follow_outside = follow_outside
        self.seen: set[tuple[int, int]] = set()

    def all(self) -> None:
        # A link never takes the place of the real folder's name, wherever it stands in the alphabet.
        links = [""]
        while links:
            found = [link for start in links for link in self._tree(start)]
            links = sorted(found, key=os.fsencode)

    def _tree(self, start: str) -> Iterator[str]:
        """Take the files below a folder; yields the links to folders that it meets."""
        folders = [start]
        while folders:
            folder = folders.pop()
            place = os.path.join(self.root, folder)  # noqa: PTH118
            below: list[str] = []
            try:
                status = os.stat(place)  # noqa: PTH116
                if (status.st_dev, status.st_ino) in self.seen:
                    continue
                self.seen.add((status.st_dev, status.st_ino))
                # Never a list of the entries: a folder may hold a million.
                with os.scandir(place) as entries:
                    for entry in entries:
                        relative = f"{folder}/{entry.name}" if folder else entry.name
                        if is_video_name(entry.name):
                            self.file(relative, is_link=entry.is_symlink(), entry=entry)
                        elif entry.is_dir(follow_symlinks=False):
                            below.append(relative)
                        elif entry.is_symlink() and _is_folder(entry) and self._may_follow(relative):
                            yield relative
            except OSError as error:
                self.listing.unread.append(text_of(folder))
                self.listing.reject(text_of(folder) or ".", "unreadable", f"folder cannot be read: {error.strerror}")
            folders += sorted(below, key=os.fsencode, reverse=True)

    def file(self, relative: str, *, is_link: bool, entry: os.DirEntry[str] | None = None) -> None:
        """Take a regular file; all else is rejected without being opened."""
        path = os.path.join(self.root, relative)  # noqa: PTH118
        try:
            status = entry.stat() if entry else os.stat(path)  # noqa: PTH116
        except OSError as error:
            self.listing.reject(text_of(relative), "unreadable", error.strerror or str(error))
            return
        if not stat.S_ISREG(status.st_mode):
            self.listing.reject(text_of(relative), "not_regular", "it is not a regular file")
        elif is_link and not self._may_follow(relative):
            detail = "the link leads out of the videos' folder; --follow-outside follows it"
            self.listing.reject(text_of(relative), "outside_root", detail)
        else:
            self.listing.files.append(Found(text_of(relative), status.st_size, version_of(status)))

    def _may_follow(self, relative: str) -> bool:
        if self.follow_outside:
            return True
        real = os.path.realpath(os.path.join(self.root, relative))  # noqa: PTH118
        return os.path.commonpath([real, self.real_root]) == self.real_root


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop of links
        return False


def _list_remote(url: str) -> Listing:
    """The same rows of a remote folder; its names are strangers' and must lead nowhere else."""
    remote = RemoteFolder(url)
    listing = Listing(root=remote.url, remote=True, whole=True)
    for file in remote.files():
        name = file.path.rpartition("/")[2]
        if not is_video_name(name):
            continue
        if problem := _name_problem(file.path):
            listing.reject(ascii(file.path)[1:301], "bad_name", problem)
        else:
            listing.files.append(Found(file.path, file.size, file.version))
    listing.files.sort()
    listing.rejections.sort(key=lambda rejection: rejection.path)
    return listing


def _name_problem(path: str) -> str | None:
    """Why a remote name is not taken; None for a good one."""
    if len(path) > NAME_LIMIT:
        return "the name is too long"
    if path.startswith("/") or not {"", ".", ".."}.isdisjoint(path.split("/")):
        return "the name leads out of the folder"
    if text_of(path) != path or has_controls(path):
        return "the name holds characters that no name should"
    return None
