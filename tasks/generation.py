"""Find a model by its name, and write clips with it. Plain functions; `generate.py` makes a task of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from vgan.config import SampleConfig, TrainConfig
from vgan.errors import ConfigError
from vgan.progress import Progress, silent
from vgan.records import Dataset
from vgan.training.initial import adopt
from vgan.workspace import Workspace

if TYPE_CHECKING:
    from vgan.generation.write import Written


@contextmanager
def generator_folder(workspace: Workspace, model: str) -> Iterator[tuple[Path, str]]:
    """Folder of a generator and the name to mark its clips with.

    Args:
        workspace: where local runs and the embedded registry are.
        model: 'models:/NAME@ALIAS', 'models:/NAME/VERSION', or the key of a local run.
    """
    if model.startswith("models:/"):
        from tasks import tracking

        with tracking.registry_errors(f"finding {model}", workspace):
            version = tracking.resolve(workspace, model)
        with tracking.downloaded(workspace, version) as (package, _):
            yield package, f"{version.name}/{version.version}"
        return
    folder = workspace.run(model)
    if not folder.record.exists():
        known = ", ".join(workspace.run_keys()) or "none"
        raise ConfigError(
            f"no model {model!r} in {workspace.root}.",
            hint=f"Write models:/NAME@champion, models:/NAME/VERSION or a run's key. Runs here: {known}.",
        )
    yield folder.generator, model


def generate(workspace: Workspace, model: str, out: Path, config: SampleConfig, progress: Progress = silent) -> Written:
    """Write what `config` asks for to the folder `out`, each file marked as synthetic.

    Raises:
        ConfigError: an unknown model, label or device, a file that cannot be written so or signed: before anything
            is written.
        ResumableError: another process writes into `out`.
        StorageError: a file cannot be written or encoded.
    """
    from vgan.generation.write import write_samples
    from vgan.media.marking import Marking
    from vgan.media.signing import find_signer
    from vgan.registry.own_code import open_sampler

    signer = find_signer(config.certificate, config.key)
    with generator_folder(workspace, model) as (folder, name):
        sampler = open_sampler(folder, config.device)
    registered, _, version = name.partition("/") if model.startswith("models:/") else (sampler.record.dataset, "", "")
    return write_samples(
        sampler, out, config, Marking(registered, version, sampler.record.run, signer=signer), progress
    )


def speed(written: Written) -> str:
    """How fast the clips were made, for a person."""
    return (
        f"{written.frames} frames in {written.seconds:.1f} s, {written.frames_per_second:.1f} frames/s, "
        f"{written.real_time_factor:.1f} times real time"
    )


def initial_weights(workspace: Workspace, dataset: Dataset, config: TrainConfig) -> str | None:
    """sha256 of the weights that `config.init` names, which are in the workspace from now on; None without `init`.

    Raises as `vgan.training.initial.adopt`.
    """
    return adopt(workspace, dataset, config, partial(generator_folder, workspace))
