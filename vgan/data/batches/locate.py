"""Where a planned video can be opened: in its folder, or as a local copy of what lies in a bucket."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

from ...remote import RemoteFile, RemoteFolder, is_url
from ...workspace import Workspace
from ..decoding.taken import Refused
from ..files.cache import VideoCache
from ..files.names import path_of
from ..planning.plan import Source

Locate = Callable[[Source], AbstractContextManager[Path | Refused]]


def locator(workspace: Workspace, root: str) -> Locate:
    """What opens the sources of one root: each call lends a path for the length of the block.

    The path may be that of a file which has gone meanwhile: who opens it finds out.

    Args:
        workspace: whose cache takes the local copies.
        root: folder or URL of the videos, as a BatchPlan has it.
    """
    if not is_url(root):
        return _local(Path(path_of(root)))
    return _remote(VideoCache(workspace), RemoteFolder(root))


def _local(root: Path) -> Locate:
    @contextmanager
    def locate(source: Source) -> Generator[Path | Refused]:
        paths = [root / path_of(name) for name in source.paths]
        yield next((path for path in paths if path.exists()), paths[0])

    return locate


def _remote(cache: VideoCache, folder: RemoteFolder) -> Locate:
    @contextmanager
    def locate(source: Source) -> Generator[Path | Refused]:
        with ExitStack() as held:
            path = None
            # Replaced between the question and the download, it is asked for once more.
            for _ in range(2):
                if path is None and (file := _first_there(folder, source)):
                    with suppress(FileNotFoundError):
                        path = held.enter_context(cache.hold(folder.url, file))
            yield path or Refused(reason="vanished", detail="it is no longer in the bucket", again=True)

    return locate


def _first_there(folder: RemoteFolder, source: Source) -> RemoteFile | None:
    return next((file for name in source.paths if (file := folder.stat(path_of(name)))), None)
