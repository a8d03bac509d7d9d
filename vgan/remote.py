"""Buckets: the one module that knows fsspec, and the only one that opens a URL.

Endpoint, region and credentials come from the driver's own environment (AWS_ENDPOINT_URL, AWS_PROFILE,
GOOGLE_APPLICATION_CREDENTIALS, ...); vgan neither takes nor stores them, and no message holds one.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

from .errors import ConfigError, MissingToolError, StorageError, VganError
from .storage import atomic_file

# Scheme -> what to install. fsspec knows more: shells, web pages, chains of them. A URL may come out of a file
# that somebody else wrote, so that what is not listed here is refused.
ALLOWED = {
    "s3": "pip install 'vgan[s3]'",
    "gs": "pip install gcsfs",
    "abfs": "pip install adlfs",
    "az": "pip install adlfs",
}
SMALL_BYTES = 64 << 20  # of a file that `read_bytes` holds in memory
PAGE = 1000  # files that `files` takes over from the driver at a time
SHOWN = 300  # characters of a driver's own words in a message
_SECRETS = re.compile(r"SECRET|TOKEN|PASSWORD|ACCESS_KEY|ACCOUNT_KEY|CONNECTION_STRING|CREDENTIAL")
_S3_OPTIONS = {"config_kwargs": {"connect_timeout": 10, "read_timeout": 60, "retries": {"max_attempts": 3}}}
_FULL = {27, 28, 122}  # EFBIG, ENOSPC, EDQUOT


def is_url(text: str) -> bool:
    """Whether this is a URL or a chain of them, of whatever scheme; a local path with a colon in it is none."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*(://|::)", text) is not None


def plain_path(text: str) -> str:
    """The path that a file:// URL of this machine means, with its escapes undone; everything else as it is."""
    if not text.lower().startswith("file://"):
        return text
    host, slash, path = text[len("file://") :].partition("/")
    if not slash or host not in ("", "localhost"):
        raise ConfigError(f"{text!r} names no folder of this machine.", hint="Write file:///FOLDER, or just /FOLDER.")
    return os.fsdecode(unquote_to_bytes(f"/{path}"))


def check_url(url: str) -> str:
    """The URL without slashes at its end; raises ConfigError for one that vgan does not open."""
    match = re.fullmatch(r"([a-z][a-z0-9]*)://([^/]*)(/.*)?", url, re.DOTALL)
    if match is None or match[1] not in ALLOWED:
        scheme = re.match(r"[A-Za-z0-9+.-]{0,20}", url)
        raise ConfigError(
            f"a URL that begins with {scheme[0] if scheme else ''!r} is not opened.",
            hint=f"Allowed are {', '.join(f'{name}://' for name in ALLOWED)} and folders of this machine.",
        )
    # abfs://container@account.dfs.core.windows.net/ is how Azure itself writes it.
    if ":" in match[2] or ("@" in match[2] and match[1] not in ("abfs", "az")):
        raise ConfigError(
            f"the {match[1]}:// URL holds a user name, password or port.",
            hint="Give credentials and the endpoint by the environment, such as AWS_PROFILE and AWS_ENDPOINT_URL.",
        )
    if not match[2]:
        raise ConfigError(f"{url!r} names no bucket.", hint=f"Write {match[1]}://BUCKET/FOLDER.")
    return url.rstrip("/")


@dataclass(frozen=True)
class RemoteFile:
    """A file below a URL, as a listing shows it."""

    path: str  # below the folder's URL, with "/"; as the bucket writes it, nothing is decoded or escaped
    size: int  # bytes
    version: str  # entity tag, or the time of the last change: another one when the content was replaced


class RemoteFolder:
    """What lies below one URL. Safe in several threads.

    Raises:
        ConfigError: the URL is not allowed, the bucket does not exist, or it lets nobody in with these credentials.
            MissingToolError when the driver of its scheme is not installed.
        StorageError: everything else that a driver says, from each method: another try may help.
    """

    def __init__(self, url: str) -> None:
        self.url = check_url(url)
        scheme = self.url.split(":", 1)[0]
        try:
            kind: Any = importlib.import_module("fsspec").get_filesystem_class(scheme)
        except ImportError as error:
            raise MissingToolError(
                f"the driver for {scheme}:// is not installed.", hint=f"Install it: {ALLOWED[scheme]}"
            ) from error
        options: dict[str, Any] = _S3_OPTIONS if scheme == "s3" else {}
        with self._driver("opening", ""):
            # Listings are never kept: a bucket changes while a worker lives.
            self._fs: Any = kind(use_listings_cache=False, **options)
        self._root: str = self._fs._strip_protocol(self.url)

    def files(self) -> Iterator[RemoteFile]:
        """Every file below, one after the other as the bucket's pages come; placeholders of folders are left out."""
        prefix = self._root + "/"
        for info in self._infos():
            name: str = info["name"]
            if info["type"] == "file" and name.startswith(prefix) and not name.endswith("/"):
                yield RemoteFile(name[len(prefix) :], int(info["size"]), _version(info))

    def _infos(self) -> Iterator[dict[str, Any]]:
        with self._driver("listing", ""):
            if not hasattr(self._fs, "_iterdir"):
                yield from self._fs.find(self._root, detail=True).values()
                return
            # The public `find` of s3fs holds the whole listing in memory twice: gigabytes for a million videos.
            bucket, key, _ = self._fs.split_path(self._root)
            found = self._fs._iterdir(bucket, delimiter="", prefix=f"{key}/" if key else "")
            while page := self._sync(_next_page, found):
                yield from page

    def _sync(self, function: Any, *arguments: Any) -> Any:
        asyn: Any = importlib.import_module("fsspec.asyn")
        return asyn.sync(self._fs.loop, function, *arguments)

    def stat(self, path: str) -> RemoteFile | None:
        """What the bucket says of one file now; None without it."""
        try:
            with self._driver("looking at", path):
                info = self._fs.info(self._name(path))
        except FileNotFoundError:
            return None
        return RemoteFile(path, int(info["size"]), _version(info)) if info["type"] == "file" else None

    def exists(self, path: str) -> bool:
        """Whether there is such a file."""
        return self.stat(path) is not None

    def fetch(self, path: str, target: Path, *, limit: int | None = None, expected: RemoteFile | None = None) -> None:
        """Copy a file to this machine, all or nothing.

        Args:
            path: below the URL.
            target: gets the content by a rename at the end.
            limit: bytes that it may have.
            expected: what a listing said; FileNotFoundError when the file has been replaced since.

        Raises:
            FileNotFoundError: there is no such file, or no longer the expected one.
            StorageError: more than `limit` bytes, fewer than announced, a full disk, or the driver's trouble.
        """
        found = self.stat(path)
        if found is None or (expected is not None and (found.size, found.version) != (expected.size, expected.version)):
            raise FileNotFoundError(f"{self._shown(path)} is no longer there as it was listed")
        if limit is not None and found.size > limit:
            raise StorageError(f"{self._shown(path)} has {found.size:,} bytes, more than the {limit:,} allowed.")
        with atomic_file(target) as file, self._driver("reading", path):
            self._fs.get_file(self._name(path), file.name)
            if (size := Path(file.name).stat().st_size) != found.size:
                raise StorageError(f"{self._shown(path)} came with {size:,} bytes instead of {found.size:,}.")

    def read_bytes(self, path: str, limit: int = SMALL_BYTES) -> bytes | None:
        """Whole content of a small file; None without it; StorageError for more than `limit` bytes."""
        found = self.stat(path)
        if found is None:
            return None
        if found.size > limit:
            raise StorageError(f"{self._shown(path)} has {found.size:,} bytes, more than the {limit:,} allowed.")
        try:
            with self._driver("reading", path):
                content: bytes = self._fs.cat_file(self._name(path))
        except FileNotFoundError:
            return None
        return content

    def put(self, local: Path, path: str) -> None:
        """Copy a file of this machine there; it appears whole or not at all."""
        with self._driver("writing", path):
            self._fs.put_file(os.fspath(local), self._name(path))

    def put_bytes(self, content: bytes, path: str) -> None:
        """Give a file this content; it appears whole or not at all."""
        with self._driver("writing", path):
            self._fs.pipe_file(self._name(path), content)

    def delete(self, path: str) -> None:
        """Remove a file, if it is there."""
        with contextlib.suppress(FileNotFoundError), self._driver("removing", path):
            self._fs.rm_file(self._name(path))

    def _name(self, path: str) -> str:
        return f"{self._root}/{path}"

    def _shown(self, path: str) -> str:
        return f"{self.url}/{path}" if path else self.url

    @contextlib.contextmanager
    def _driver(self, doing: str, path: str) -> Generator[None]:
        """Turn what a driver raises into vgan's errors; FileNotFoundError of a file, not of the bucket, passes."""
        try:
            yield
        except (VganError, GeneratorExit):
            raise
        except Exception as error:
            if isinstance(error, FileNotFoundError) and path and not _no_bucket(error):
                raise
            raise self._error(doing, path, error) from _without_secrets(error)

    def _error(self, doing: str, path: str, error: Exception) -> VganError:
        what = f"{doing} {self._shown(path)} failed"
        said = _words(error)
        name = type(error).__name__
        if isinstance(error, FileNotFoundError):
            return ConfigError(f"{what}: there is no such bucket.", hint="Make it, or mend the URL.")
        if isinstance(error, PermissionError) or "Credential" in name or "Token" in name:
            return ConfigError(
                f"{what}: {said}.",
                hint="Give credentials that may do this by the driver's environment, such as AWS_PROFILE, or "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
            )
        if isinstance(error, OSError) and error.errno in _FULL:
            return StorageError(f"{what}: {said}.", hint="Free some space or name another workspace.")
        return StorageError(
            f"{what}: {said}.", hint="If it lasts, check the network and the endpoint (AWS_ENDPOINT_URL)."
        )


def _no_bucket(error: BaseException) -> bool:
    answer: Any = getattr(error.__cause__, "response", None) or {}
    return answer.get("Error", {}).get("Code") == "NoSuchBucket" or "bucket does not exist" in str(error)


async def _next_page(found: Any) -> list[dict[str, Any]]:
    page: list[dict[str, Any]] = []
    async for info in found:
        page.append(info)
        if len(page) == PAGE:
            break
    return page


def _version(info: dict[str, Any]) -> str:
    tag = info.get("ETag") or info.get("etag") or info.get("md5Hash")
    return str(tag or info.get("LastModified") or info.get("last_modified") or info.get("updated") or "").strip('"')


def _words(error: BaseException) -> str:
    """What a driver says, in one line of bounded length, without any secret of the environment in it."""
    text = " ".join(str(error).split()) or type(error).__name__
    for name, value in os.environ.items():
        if len(value) >= 8 and _SECRETS.search(name.upper()):
            text = text.replace(value, "***")
    return text[:SHOWN].rstrip(".")


def _without_secrets(error: Exception) -> Exception | None:
    """The error as the cause to show in a traceback; None when its text or arguments hold a secret."""
    chain: list[BaseException] = [error]
    while (deeper := chain[-1].__cause__ or chain[-1].__context__) is not None and deeper not in chain:
        chain.append(deeper)
    secrets = [v for n, v in os.environ.items() if len(v) >= 8 and _SECRETS.search(n.upper())]
    return None if any(secret in repr(link) or secret in str(link) for link in chain for secret in secrets) else error
