"""Local copies of videos that lie on a URL: <workspace>/cache/videos/, least recently used first out.

Everything is decided by files and locks, so that threads and processes that share a workspace share its cache:
who uses a copy holds a shared lock on it, who fetches one holds the lock of its stripe, and who removes copies
or adds one holds the lock of the folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
from collections.abc import Generator
from pathlib import Path

from ...errors import ConfigError, StorageError
from ...remote import RemoteFile, RemoteFolder
from ...storage import storage_errors, sweep_temporary, temporary_prefix
from ...workspace import Workspace

CAP_VARIABLE = "VGAN_CACHE_GB"
DEFAULT_GIGABYTES = 20.0
STRIPES = 64  # downloads of different videos that may run at once, about


def cache_bytes() -> int:
    """Bytes that copies may take, from VGAN_CACHE_GB (gigabytes, 10^9); raises ConfigError for what is no number."""
    text = os.environ.get(CAP_VARIABLE, "").strip() or str(DEFAULT_GIGABYTES)
    if not re.fullmatch(r"\d+(\.\d*)?|\.\d+", text) or float(text) <= 0:
        raise ConfigError(
            f"{CAP_VARIABLE} is {text[:40]!r}.", hint="Give gigabytes of local copies as a number, such as 20 or 0.5."
        )
    return int(float(text) * 1e9)


@contextlib.contextmanager
def locked(path: Path, kind: int = fcntl.LOCK_EX) -> Generator[None]:
    """Hold the lock of a file that is made when it is not there; ends with the process, however that ends."""
    with storage_errors(path, "locking"):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, kind)
        yield
    finally:
        os.close(descriptor)


class VideoCache:
    """The local copies of a workspace. Safe in several threads and processes."""

    def __init__(self, workspace: Workspace) -> None:
        self.folder = workspace.root / "cache" / "videos"
        self._locks = workspace.root / "cache" / "locks"
        self._roots: dict[str, RemoteFolder] = {}

    def get(self, root_url: str, file: RemoteFile) -> Path:
        """A local copy that may be evicted as soon as another video is fetched; `hold` keeps it.

        Raises:
            ConfigError: the file is larger than the whole cache.
            FileNotFoundError: the bucket no longer has the file as it was listed.
            StorageError: it cannot be fetched.
        """
        if file.size > (cap := cache_bytes()):
            raise ConfigError(
                f"{root_url}/{file.path} has {file.size:,} bytes, the cache holds {cap:,}.",
                hint=f"Raise {CAP_VARIABLE}.",
            )
        with self.hold(root_url, file) as path:
            return path

    @contextlib.contextmanager
    def hold(self, root_url: str, file: RemoteFile) -> Generator[Path]:
        """Have a local copy for the length of the block; nothing evicts it meanwhile.

        A file that is larger than the cache, or finds it full of files in use, is a temporary one, removed at the end.

        Raises:
            FileNotFoundError: the bucket no longer has the file as it was listed.
            StorageError: it cannot be fetched.
        """
        name = copy_name(root_url, file)
        held = self._shared(name)
        if held is None:
            with locked(self._locks / f"{int(name[:8], 16) % STRIPES:02}"):
                held = self._shared(name)  # another thread may have fetched it while this one waited
                if held is None:
                    temporary = self._fetch(root_url, file, name)
                    held = self._keep(temporary, name, file.size)
                    if held is None:
                        held = (temporary, -1)
        path, descriptor = held
        try:
            yield path
        finally:
            if descriptor < 0:
                path.unlink(missing_ok=True)
            else:
                os.close(descriptor)

    def _shared(self, name: str) -> tuple[Path, int] | None:
        """The copy with a shared lock on it, marked as just used; None without a whole one."""
        path = self.folder / name
        with storage_errors(path, "reading"):
            try:
                descriptor = os.open(path, os.O_RDONLY)
            except FileNotFoundError:
                return None
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        if os.fstat(descriptor).st_nlink == 0:  # evicted between opening and locking
            os.close(descriptor)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return path, descriptor

    def _fetch(self, root_url: str, file: RemoteFile, name: str) -> Path:
        with storage_errors(self.folder, "making"):
            self.folder.mkdir(parents=True, exist_ok=True)
        sweep_temporary(self.folder)
        self._make_room(file.size)
        remote = self._roots.get(root_url) or self._roots.setdefault(root_url, RemoteFolder(root_url))
        # Swept when this process is killed; the suffix helps a demuxer as it does for a local file.
        temporary = self.folder / f"{temporary_prefix()}{secrets.token_hex(4)}-{name}"
        remote.fetch(file.path, temporary, limit=file.size, expected=file)
        return temporary

    def _keep(self, temporary: Path, name: str, size: int) -> tuple[Path, int] | None:
        """Give the copy its name, with a shared lock on it; None when there is no room for it."""
        with locked(self._locks / "folder"):
            if not self._evict(size):
                return None
            descriptor = os.open(temporary, os.O_RDONLY)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            os.replace(temporary, self.folder / name)
            return self.folder / name, descriptor

    def _make_room(self, size: int) -> None:
        """Evict before the download, so that the disk need not hold both."""
        if size <= cache_bytes():
            with locked(self._locks / "folder"):
                self._evict(size)

    def _evict(self, size: int) -> bool:
        """Remove the copies used longest ago that nobody uses, until `size` more bytes fit; False when they do not."""
        cap = cache_bytes()
        if size > cap:
            return False
        copies = [(e.stat(), Path(e.path)) for e in os.scandir(self.folder) if not e.name.startswith(".")]
        total = sum(stat.st_size for stat, _ in copies)
        for stat, path in sorted(copies, key=lambda copy: (copy[0].st_mtime_ns, copy[1].name)):
            if total + size <= cap:
                break
            if unlink_unused(path):
                total -= stat.st_size
        return total + size <= cap


def copy_name(root_url: str, file: RemoteFile) -> str:
    """Name of the copy of one version of a file: a hash, since no bucket's names are to be trusted on a disk."""
    digest = hashlib.sha256("\0".join((root_url.rstrip("/"), file.path, file.version, str(file.size))).encode())
    suffix = re.search(r"\.[A-Za-z0-9]{1,8}$", file.path)
    return digest.hexdigest()[:32] + (suffix[0].lower() if suffix else "")


def unlink_unused(path: Path) -> bool:
    """Remove a file unless somebody holds a lock on it; whether it is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    except OSError as error:
        raise StorageError(f"removing {path} failed: {error.strerror}.") from error
    finally:
        os.close(descriptor)
    return True
