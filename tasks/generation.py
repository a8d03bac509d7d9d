"""Find a model by its name, and write clips with it. Plain functions; `generate.py` makes a task of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from vgan.config import SampleConfig, TrainConfig
from vgan.errors import ConfigError
from vgan.records import Dataset
from vgan.training.initial import adopt
from vgan.workspace import Workspace


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


def generate(workspace: Workspace, model: str, out: Path, config: SampleConfig) -> list[Path]:
    """Write `config.num` clips and a contact sheet to `out`; returns the paths of the clips."""
    from vgan.sampling import Sampler, write_samples

    with generator_folder(workspace, model) as (folder, name):
        sampler = Sampler(folder)
        written = write_samples(
            sampler,
            out,
            num=config.num,
            seed=config.seed,
            label=config.label,
            fps=config.fps,
            model_name=name,
            frames=config.frames,
        )
    return [path for path in written if path.suffix == ".mp4"]


def initial_weights(workspace: Workspace, dataset: Dataset, config: TrainConfig) -> str | None:
    """sha256 of the weights that `config.init` names, which are in the workspace from now on; None without `init`.

    Raises as `vgan.training.initial.adopt`.
    """
    return adopt(workspace, dataset, config, partial(generator_folder, workspace))
