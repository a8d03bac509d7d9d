"""The figures of an evaluation as rows that people read, for the terminal and for Prefect."""

from __future__ import annotations

from ..records import Evaluation

COLUMNS = ("metric", "value", "95 % interval", "real", "score", "better")


def metric_rows(evaluation: Evaluation) -> list[tuple[str, ...]]:
    """One row of COLUMNS a metric, then a row a probe.

    "real" is what real clips reach against each other, or of a probe what the held-out ones have. "score" is 0
    there and 1 at the worst control.
    """
    rows = [
        (
            m.name,
            f"{m.value:.4g}",
            f"{m.low:.4g} to {m.high:.4g}",
            f"{m.floor:.4g}",
            "" if m.score is None else f"{m.score:.2f}",
            m.better,
        )
        for m in evaluation.metrics
    ]
    return rows + [
        (f"probe: {name}", f"{value:.4g}", "", f"{evaluation.probes_real[name]:.4g}", "", "")
        for name, value in evaluation.probes.items()
    ]
