"""The figures of an evaluation as rows that people read, for the terminal and for Prefect."""

from __future__ import annotations

from ..records import Evaluation

COLUMNS = ("metric", "value", "95 % interval", "real against real", "better")


def metric_rows(evaluation: Evaluation) -> list[tuple[str, ...]]:
    """One row of COLUMNS a metric, then a row a probe; a probe's real column is that of the held-out clips."""
    rows = [
        (m.name, f"{m.value:.4g}", f"{m.low:.4g} to {m.high:.4g}", f"{m.floor:.4g}", m.better)
        for m in evaluation.metrics
    ]
    return rows + [
        (f"probe: {name}", f"{value:.4g}", "", f"{evaluation.probes_real[name]:.4g}", "")
        for name, value in evaluation.probes.items()
    ]
