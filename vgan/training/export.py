"""The commit of a run: the averaged generator, then run.json, written last."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from typing import Literal

from safetensors.torch import save

from ..errors import CorruptDataError, StorageError
from ..models.interface import Generator
from ..records import GeneratorRecord, TrainedRun, WarmStart
from ..storage import fault_point, read_bytes, write_atomic
from ..workspace import RunFolder
from .plan import RunConfig
from .revision import git_commit

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ending:
    """How a run ended."""

    steps: int
    stopped: Literal["budget", "indistinguishable"]
    warnings: tuple[str, ...]


def commit_run(
    folder: RunFolder,
    config: RunConfig,
    ending: Ending,
    average: Generator,
    blank: GeneratorRecord,
    device: str,
    seconds: float,
) -> TrainedRun:
    """Write generator/weights.safetensors, generator/generator.json and run.json, in this order.

    Args:
        folder: of the run.
        config: of the run.
        ending: how far it came, and what is to be said of it.
        average: the EMA generator.
        blank: its record without the hash of its weights.
        device: what it was trained on.
        seconds: wall clock of all attempts.
    """
    content = save({name: value.detach().cpu().contiguous() for name, value in average.state_dict().items()})
    record = blank.model_copy(update={"weights_sha256": hashlib.sha256(content).hexdigest()})
    write_atomic(folder.generator / "weights.safetensors", content)
    fault_point("before_generator_record")
    write_atomic(folder.generator / "generator.json", record.to_json())
    trained = TrainedRun(
        run=config.run,
        dataset=config.dataset,
        dataset_digest=config.dataset_digest,
        config=config.config,
        device=device,
        steps=ending.steps,
        clips=ending.steps * config.recipe.batch,
        seconds=round(seconds, 3),
        generator=record,
        git_commit=git_commit(),
        stopped=ending.stopped,
        warnings=ending.warnings,
        init=_started_from(folder) if config.init_sha256 else None,
    )
    folder.diverged.unlink(missing_ok=True)  # of an earlier attempt
    fault_point("before_run_record")
    write_atomic(folder.record, trained.to_json())
    return trained


def _started_from(folder: RunFolder) -> WarmStart | None:
    """What was taken over; None, with a warning, when that is not known any more, which no finished run fails for."""
    try:
        return WarmStart.from_json(read_bytes(folder.init), str(folder.init))
    except (CorruptDataError, StorageError) as error:
        log.warning("what was taken over is not known any more: %s", error.message)
        return None
