"""Two models side by side: clips of equal seeds and classes in one film, and their figures. Plain functions."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.generation import generator_folder
from vgan.errors import ConfigError, CorruptDataError
from vgan.evaluation import rivals
from vgan.generation.folder import refuse_file
from vgan.records import Evaluation, GeneratorRecord
from vgan.storage import read_bytes, write_atomic
from vgan.workspace import Workspace

log = logging.getLogger(__name__)

MOST = 64  # pairs: all are in memory, and seen at once
FILM, SHEET, LISTING = "comparison.mp4", "contact-sheet.png", "comparison.json"
MARK = " and "  # between the two names where a mark has room for one


@dataclass(frozen=True)
class Compared:
    """What a comparison made and found."""

    names: tuple[str, str]  # of the models; the first is on the left
    runs: tuple[str, str]
    files: tuple[Path, ...]
    seeds: tuple[int, ...]
    labels: tuple[str | None, ...]  # class of each pair
    rows: tuple[rivals.Row, ...]  # () where the figures cannot be compared
    reasons: tuple[str, ...]  # why they cannot; () when they can


def compare(workspace: Workspace, models: tuple[str, str], out: Path, *, num: int = 8, seed: int = 0) -> Compared:
    """Write a film and a contact sheet of both models, marked as synthetic, and compare their figures.

    Args:
        workspace: where local runs and the embedded registry are.
        models: two of 'models:/NAME@ALIAS', 'models:/NAME/VERSION' and keys of local runs.
        out: folder for the files; made if need be.
        num: pairs; pair i has the seed `seed` + i, and the classes that both know take turns.
        seed: of the first pair.

    Raises:
        ConfigError: no such model, no class in common, more pairs than MOST, or `out` is a file.
        RegistryError: the registry did not answer.
    """
    from vgan.evaluation.side_by_side import matched, shared_classes
    from vgan.registry.own_code import open_sampler

    if not 1 <= num <= MOST or seed < 0:
        raise ConfigError(f"cannot compare {num} clips from seed {seed} on.", hint=f"At most {MOST} are seen at once.")
    refuse_file(out)
    with generator_folder(workspace, models[0]) as one, generator_folder(workspace, models[1]) as other:
        samplers = [open_sampler(folder) for folder, _ in (one, other)]
        names = one[1], other[1]
        records = samplers[0].record, samplers[1].record
        turns = shared_classes(records[0].labels, records[1].labels)
        classes = [turns[i % len(turns)] for i in range(num)]
        clips = [
            [sampler.sample(1, seed + i, classes[i][side])[0] for i in range(num)]
            for side, sampler in enumerate(samplers)
        ]
    pairs, rate = matched(clips[0], clips[1], (records[0].fps, records[1].fps))
    evaluations = [_evaluation(workspace, *held) for held in zip(models, names, records, strict=True)]
    reasons, rows = _figures(names, evaluations)
    found = Compared(
        names=names,
        runs=(records[0].run, records[1].run),
        files=(out / FILM, out / SHEET, out / LISTING),
        seeds=tuple(range(seed, seed + num)),
        labels=tuple(_label(records, pair) for pair in classes),
        rows=rows,
        reasons=reasons,
    )
    _write(found, pairs, rate)
    return found


def _label(records: tuple[GeneratorRecord, GeneratorRecord], pair: tuple[int | None, int | None]) -> str | None:
    return next((held.labels[i] for held, i in zip(records, pair, strict=True) if i is not None), None)


def _evaluation(workspace: Workspace, model: str, name: str, record: GeneratorRecord) -> Evaluation | None:
    """The last evaluation of these weights, from the run's folder or else from MLflow; None when there is none."""
    try:
        path = workspace.run(record.run).evaluation
        if path.exists():
            known = Evaluation.from_json(read_bytes(path), str(path))
            if known.weights_sha256 == record.weights_sha256:
                return known
        if not model.startswith("models:/"):
            return None
        from tasks import tracking
        from tasks.tracking.reading import logged_evaluation

        with tracking.registry_errors(f"reading the figures of {name}", workspace):
            return logged_evaluation(workspace, tracking.resolve(workspace, f"models:/{name}"))
    except CorruptDataError as error:
        log.warning("%s", error)
        return None


def _figures(
    names: tuple[str, str], evaluations: list[Evaluation | None]
) -> tuple[tuple[str, ...], tuple[rivals.Row, ...]]:
    """Why the figures cannot be compared, or else the figures."""
    first, second = evaluations
    if first is None or second is None:
        absent = [name for name, held in zip(names, evaluations, strict=True) if held is None]
        return tuple(f"There is no evaluation of {name} (`vgan evaluate` makes one)." for name in absent), ()
    reasons = rivals.differences(first, second)
    return reasons, () if reasons else rivals.rows(first, second)


def _write(found: Compared, pairs_NSTHWC: NDArray[np.uint8], rate: float) -> None:
    """The film and the sheet, marked, and then the listing that names them."""
    from vgan.evaluation.side_by_side import film
    from vgan.media.encode import contact_sheet, mp4_bytes, png_bytes
    from vgan.media.marking import Marking
    from vgan.media.signing import find_signer

    seed = found.seeds[0]
    marking = Marking(MARK.join(found.names), "", MARK.join(found.runs), signer=find_signer())
    frames_THWC = marking.watermarked(film(pairs_NSTHWC, found.names), seed)
    video = mp4_bytes(frames_THWC, rate, marking.tags(seed))
    write_atomic(found.files[0], marking.signed(video, ".mp4", seed))
    sheet_HWC = contact_sheet(pairs_NSTHWC.reshape(-1, *pairs_NSTHWC.shape[2:]), columns=2)
    picture = png_bytes(marking.watermarked(sheet_HWC[None], seed)[0])
    write_atomic(found.files[1], marking.signed(picture, ".png", seed))
    pairs = [{"seed": made, "label": label} for made, label in zip(found.seeds, found.labels, strict=True)]
    told = {"synthetic": True, "models": found.names, "runs": found.runs, "fps": rate, "pairs": pairs}
    write_atomic(found.files[2], json.dumps(told, indent=1).encode() + b"\n")
