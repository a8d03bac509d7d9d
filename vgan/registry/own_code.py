"""Sample a registered model whose networks this vgan has changed since: by the code that its package brings.

Weights belong to one version of their family's networks. When an upgrade raises that version, today's networks would
make other clips of them, or none; the model's own code makes the same as ever. It runs in this process, only when
it must, after every hash of the package was checked: see docs/registry.md for what that promises.
"""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from ..errors import BY_EXIT_CODE, ConfigError
from ..models.families import FAMILIES
from ..records import GeneratorRecord
from ..sampling import Sampler, Uint8, Wish
from .package import INDEX_FILE, read_record, verify_package

log = logging.getLogger(__name__)

SWITCH = "VGAN_PACKAGED_CODE"  # "never": the code of a registered model is not run


def open_sampler(folder: Path, device: str = "cpu") -> Sampler:
    """What samples the generator in `folder`: by this vgan's code where its networks are those of the weights.

    Args:
        folder: a generator's, as a run has it, or a registered model's package.
        device: as of `Sampler`.

    Raises:
        ConfigError: the networks have changed since, and there is no code beside the weights, or it must not or cannot
            run here.
        CorruptDataError: a file is not as it was written or registered.
    """
    record = read_record(folder)
    if _is_of_today(record) or not (folder / INDEX_FILE).is_file():
        return Sampler(folder, device)
    return PackagedSampler(folder, device)


def refuse_other_networks(record: GeneratorRecord) -> None:
    """Raise ConfigError when a package made now would bring code that cannot use these weights."""
    if not _is_of_today(record):
        raise ConfigError(
            f"run {record.run} has weights for version {record.family_version} of the {record.family} networks, which "
            "have changed since: this vgan has no code of theirs to register with them.",
            hint=f"Register it with the vgan that trained it ({record.vgan_version}), or train again.",
        )


def _is_of_today(record: GeneratorRecord) -> bool:
    kind = FAMILIES.get(record.family)
    return kind is not None and kind.version == record.family_version


class PackagedSampler(Sampler):
    """Makes clips by a package's own code, as the served model makes them.

    Args:
        folder: of a package.
        device: as of `Sampler`.
    """

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        self.record = verify_package(folder)
        version = f"version {self.record.family_version} of the {self.record.family} networks"
        if os.environ.get(SWITCH) == "never":
            raise ConfigError(
                f"the model of run {self.record.run} needs {version}, and {SWITCH} forbids to run its own code.",
                hint=f"Use the vgan that trained it ({self.record.vgan_version}), or unset {SWITCH}.",
            )
        log.warning("this vgan has changed since: run %s is sampled by its own code, %s", self.record.run, version)
        from .entry import import_verified  # loads MLflow, as whoever fetched a registered model has done

        with self._as_ours():
            self._code = import_verified(folder)
            self._own = self._module("sampling").Sampler(folder, device)
        self.network = self._own.network

    def make(self, wish: Wish, frames: int | None = None, truncation: float = 1.0) -> Uint8:
        """One clip, uint8 [T, H, W, 3]; raises as that of `Sampler`."""
        with self._as_ours():
            return self._own.make(wish, frames, truncation)

    def _module(self, name: str) -> ModuleType:
        return importlib.import_module(f"{self._code.__name__}.{name}")

    @contextmanager
    def _as_ours(self) -> Generator[None]:
        """Errors of the package as ours: it has classes of its own, which nobody here knows."""
        try:
            yield
        except Exception as error:
            code = getattr(error, "exit_code", None)
            if isinstance(code, int):
                raise BY_EXIT_CODE.get(code, ConfigError)(str(error)) from error
            raise ConfigError(
                f"the own code of the model of run {self.record.run} does not run here: {error!r:.200}",
                hint="It was written for other versions of what is installed; use the vgan that trained it "
                f"({self.record.vgan_version}).",
            ) from error
