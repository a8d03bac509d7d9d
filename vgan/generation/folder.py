"""A folder of samples that is all of one call, or says that it is not.

`samples.json` names every file and is written last: where it is there, so is all that it lists, of one call. While
a call writes, `samples.unfinished` names what it will write and what earlier calls left, so that the next call
removes it; nothing that vgan did not write is ever removed.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import IO, Any

from ..errors import ConfigError
from ..storage import atomic_file, lease, storage_errors, sweep_temporary

LISTING_FILE = "samples.json"
UNFINISHED_FILE = "samples.unfinished"
LEASE_FILE = "samples.lease"


@contextlib.contextmanager
def sample_folder(root: Path, names: Iterable[str]) -> Generator[IO[bytes]]:
    """Be the only one who writes samples into a folder, and yield its listing, which gets its name at the end.

    Args:
        root: created if needed; the samples of an earlier call are removed from it.
        names: of all files that will be written, without the listing.

    Raises:
        ConfigError: it is a file, or would lie in one.
        ResumableError: another process writes samples there.
        StorageError: the folder cannot be written.
    """
    refuse_file(root)
    with lease(root / LEASE_FILE):
        sweep_temporary(root)
        earlier = sorted(_earlier(root))
        with atomic_file(root / UNFINISHED_FILE) as file:
            for some in (earlier, names):
                file.writelines(f"{name}\n".encode("utf-8", "surrogateescape") for name in some)
        with storage_errors(root, "emptying"):
            (root / LISTING_FILE).unlink(missing_ok=True)
            for name in earlier:
                (root / name).unlink(missing_ok=True)
        with atomic_file(root / LISTING_FILE) as listing:
            yield listing
        with storage_errors(root, "finishing"):
            (root / UNFINISHED_FILE).unlink()


def refuse_file(folder: Path) -> None:
    """Raise ConfigError when `folder`, or one that it would lie in, is a file."""
    with storage_errors(folder, "looking for"):
        file = next((path for path in (folder, *folder.parents) if path.exists() and not path.is_dir()), None)
    if file is not None:
        raise ConfigError(f"{file} is a file, not a folder to write into.", hint="Name another folder.")


def _earlier(root: Path) -> set[str]:
    """Names of what earlier calls have written, finished or not."""
    names: set[str] = set()
    with contextlib.suppress(FileNotFoundError):
        names |= set((root / UNFINISHED_FILE).read_text("utf-8", "surrogateescape").splitlines())
    # A listing that is damaged, or not ours, names nothing that may be removed.
    with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):
        listing: Any = json.loads((root / LISTING_FILE).read_bytes())
        names |= {str(row[key]) for row in listing["clips"] for key in ("file", "about") if key in row}
        names |= {str(name) for name in listing.get("others", ())}
    return {name for name in names if Path(name).name == name and not name.startswith(".")}
