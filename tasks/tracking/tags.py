"""Names of the tags that vgan sets in MLflow, and a verdict as tags."""

from __future__ import annotations

import json
import math
from typing import Any

from vgan.records import Evaluation, Verdict

MOST_CHARACTERS = 5000  # of a tag's value

RUN_TAG = "vgan.run"
DATASET_TAG = "vgan.dataset_digest"
WEIGHTS_TAG = "vgan.weights_sha256"
PACKAGE_TAG = "vgan.package_sha256"
EVALUATION_TAG = "vgan.evaluation_digest"
VERDICT_TAG = "vgan.verdict"
UPLOADED_TAG = "vgan.uploaded"  # "<sha256 of the weights> <sha256 of the package> <uri of the logged model>"
OUTCOME_TAG = "vgan.outcome"  # "promoted", "forced", "registered" or "refused"
FORCED_TAG = "vgan.forced"  # names of the checks that a forced promotion overrode
FIGURES_TAG = "vgan.figures"  # JSON: by figure, its value, score and floor, when the version was last judged
GATE_TAG = "vgan.gate"  # JSON: by check, whether it passed, and its figures
JUDGED_TAG = "vgan.judged"  # "<this>.<alias>": "<digest of the evaluation> <tolerance>"; set last
MOVED_TAG = "vgan.moved"  # "<this>.<alias>": JSON of when this version was given the alias, by what, and who held it


def verdict_tags(verdict: Verdict) -> dict[str, str]:
    """The outcome, the reasons in sentences, and all checks with their figures as JSON."""
    failed = [check.name for check in verdict.checks if not check.passed]
    checks = {check.name: {"passed": check.passed, **check.figures} for check in verdict.checks}
    return {
        OUTCOME_TAG: verdict.outcome,
        VERDICT_TAG: " ".join(verdict.reasons)[:MOST_CHARACTERS],
        FORCED_TAG: " ".join(failed) if verdict.outcome == "forced" else "",
        GATE_TAG: json.dumps(checks),
    }


def figures_tag(evaluation: Evaluation) -> str:
    """Figures as the version keeps them: those of its run are another's once the run was trained again."""
    figures = {m.name: [m.value, m.score, m.floor] for m in evaluation.metrics if math.isfinite(m.value)}
    return json.dumps({name: [None if x is None else float(f"{x:.6g}") for x in row] for name, row in figures.items()})


def figures_of(tags: dict[str, str]) -> dict[str, tuple[float, float | None, float | None]]:
    """By figure, its value, score and floor, from a version's tags; {} when it was judged by an earlier vgan."""
    try:
        told: dict[str, list[Any]] = json.loads(tags.get(FIGURES_TAG, "{}"))
        return {str(name): (float(value), score, floor) for name, (value, score, floor) in told.items()}
    except (ValueError, TypeError, AttributeError):  # somebody else's words
        return {}
