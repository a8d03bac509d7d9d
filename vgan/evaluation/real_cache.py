"""What was computed of a dataset version's real clips, kept for the next evaluation on them.

A kept file is a hint: it is used only if it says that it is of the same version, protocol and
configuration and its content has the hash that it names; else it is computed again.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ..errors import StorageError
from ..storage import storage_errors, sweep_temporary, write_atomic
from .calibration import Reference
from .probes import Traits
from .real_side import RealSide
from .space import Space
from .views import Views

log = logging.getLogger(__name__)

KEPT = 4  # files of one dataset, the last used ones

Arrays = dict[str, NDArray[Any]]


def load_real_side(path: Path, key: str, num_labels: int) -> RealSide | None:
    """What is kept under this key, or None when nothing is or it is not what it should be."""
    arrays = load_arrays(path, key)
    try:
        return None if arrays is None else _restore(arrays, num_labels)
    except (KeyError, ValueError, TypeError) as error:
        _warn_of(path, error)
        return None


def load_arrays(path: Path, key: str) -> Arrays | None:
    """The arrays that are kept under this key, or None when there are none or they are not what they should be."""
    if not path.exists():
        return None
    try:
        with storage_errors(path, "reading"):
            arrays, said = _read(path)
        if said != {"key": key, "sha256": _content_hash(arrays)}:
            raise ValueError("it is of other clips, or was changed")
    except (StorageError, SafetensorError, ValueError) as error:
        _warn_of(path, error)
        return None
    with contextlib.suppress(OSError):  # a folder that is only read keeps no time of use
        os.utime(path)
    return arrays


def _warn_of(path: Path, error: Exception) -> None:
    log.warning("computing the real clips' features again: %s cannot be used (%s)", path, error)


def keep_real_side(path: Path, key: str, real: RealSide) -> None:
    """Keep it under this key, as `keep_arrays`."""
    keep_arrays(path, key, _arrays(real))


def keep_arrays(path: Path, key: str, arrays: Arrays) -> None:
    """Keep them under this key, and of the other files there the last KEPT; where nothing can be written, nothing."""
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    try:
        write_atomic(path, save(arrays, {"key": key, "sha256": _content_hash(arrays)}))
        with storage_errors(path.parent, "tidying"):
            sweep_temporary(path.parent)
            files = sorted(path.parent.glob("*.safetensors"), key=lambda file: file.stat().st_mtime_ns)
            for old in files[:-KEPT]:
                old.unlink(missing_ok=True)
    except StorageError as error:
        log.warning("the real clips' features are not kept for the next evaluation: %s", error.message)


def _read(path: Path) -> tuple[Arrays, dict[str, str]]:
    with cast(Any, safe_open(path, framework="np")) as file:  # safetensors gives no types
        names: list[str] = list(file.keys())
        return {name: file.get_tensor(name) for name in names}, dict(file.metadata() or {})


def _content_hash(arrays: Arrays) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _arrays(real: RealSide) -> Arrays:
    arrays: Arrays = {
        "labels": real.labels_N,
        "groups": real.groups_N,
        "shown": real.shown_NTHWC,
        "train": real.train_MK,
        "train_indices": real.train_indices_M,
    }
    arrays |= {f"view/{name}": array for name, array in real.views.arrays.items()}
    arrays |= {f"space/{name}": array for name, array in real.space.arrays().items()}
    arrays |= {f"floor/{name}": array for name, array in real.reference.floors.items()}
    for control, figures in real.reference.controls.items():
        arrays |= {f"control/{control}/{name}": np.array([value]) for name, value in figures.items()}
    if real.traits is not None:
        arrays |= {f"trait/{field.name}": getattr(real.traits, field.name) for field in fields(Traits)}
    return arrays


def _restore(arrays: Arrays, num_labels: int) -> RealSide:
    """Raises KeyError, ValueError or TypeError when the arrays are no RealSide's."""
    traits = _below(arrays, "trait")
    controls: dict[str, dict[str, float]] = {}
    for path, value in _below(arrays, "control").items():
        control, name = path.split("/")
        controls.setdefault(control, {})[name] = float(value[0])
    return RealSide(
        views=Views(_below(arrays, "view")),
        labels_N=arrays["labels"],
        groups_N=arrays["groups"],
        traits=Traits(**traits) if traits else None,
        shown_NTHWC=arrays["shown"],
        train_MK=arrays["train"],
        train_indices_M=arrays["train_indices"],
        space=Space.restore(_below(arrays, "space"), num_labels),
        reference=Reference(_below(arrays, "floor"), controls),
    )


def _below(arrays: Arrays, folder: str) -> Arrays:
    return {name.removeprefix(f"{folder}/"): array for name, array in arrays.items() if name.startswith(f"{folder}/")}
