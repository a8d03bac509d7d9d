"""The two documents of a run for people, in its folder: report.html and MODEL_CARD.md.

Evaluation writes them; what the gate says later is put in without the generator or any clip.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..records import Dataset, Evaluation, TrainedRun, Verdict
from ..storage import read_bytes, write_atomic
from ..workspace import RunFolder
from .card import model_card
from .previews import read_previews
from .report import report_html, with_verdict

UInt8 = NDArray[np.uint8]


def write_pages(
    folder: RunFolder,
    run: TrainedRun,
    dataset: Dataset,
    evaluation: Evaluation,
    real_NTHWC: UInt8,
    fake_NTHWC: UInt8,
    nearest: Sequence[tuple[UInt8, UInt8, float]] = (),
) -> None:
    """Write both documents of an evaluated run; arguments as of `report_html`."""
    curves = [*objects(folder.metrics), *throughput(folder.timing, run)]
    previews = read_previews(folder, run)
    page = report_html(run, dataset, evaluation, real_NTHWC, fake_NTHWC, curves, nearest, previews)
    write_atomic(folder.card, model_card(run, dataset, evaluation).encode())
    write_atomic(folder.report, page.encode())


def write_verdict(
    folder: RunFolder,
    run: TrainedRun,
    dataset: Dataset,
    evaluation: Evaluation,
    verdict: Verdict,
    model: str | None = None,
) -> None:
    """Put into both documents what the gate said, and into the card the version ("NAME/VERSION") that came of it.

    A report that is not there, or of an older kind, stays as it is.
    """
    write_atomic(folder.card, model_card(run, dataset, evaluation, verdict, model).encode())
    try:
        page = with_verdict(read_bytes(folder.report).decode(), verdict) if folder.report.exists() else None
    except ValueError:
        return
    if page is not None:
        write_atomic(folder.report, page.encode())


def objects(path: Path) -> Iterator[dict[str, Any]]:
    """Lines of a JSON-lines file that hold an object; what is damaged or not there is left out of the picture."""
    for line in path.read_bytes().splitlines() if path.exists() else []:
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            yield cast(dict[str, Any], value)


def throughput(path: Path, run: TrainedRun) -> Iterator[dict[str, float]]:
    """Clips per second between two lines of timing.jsonl, against clips seen; nothing where a run went back."""
    each = run.clips / max(1, run.steps)
    before: tuple[float, float] | None = None
    for line in objects(path):
        try:
            now = float(line["step"]), float(line["seconds"])
        except (KeyError, TypeError, ValueError):
            continue
        if before is not None and now[0] > before[0] and now[1] > before[1]:
            speed = (now[0] - before[0]) * each / (now[1] - before[1])
            yield {"clips": now[0] * each, "clips_per_second": speed}
        before = now
