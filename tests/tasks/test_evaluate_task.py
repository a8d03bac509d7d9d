"""What Prefect is told of an evaluation: the figures with a summary, and where the report lies."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from made_report import made_dataset, made_evaluation, made_run
from prefect.logging import disable_run_logger

from tasks import evaluate as module
from vgan.config import EvaluateConfig
from vgan.evaluation.report import summary
from vgan.progress import silent
from vgan.workspace import Workspace


def test_the_figures_carry_the_summary_and_a_link_leads_to_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace.open(tmp_path / "work (mine)")
    dataset = made_dataset()
    evaluation = made_evaluation(dataset, made_run(dataset))
    sent: dict[str, dict[str, Any]] = {}
    monkeypatch.setattr(module, "evaluate_run", lambda *arguments, **named: (evaluation, False))
    monkeypatch.setattr(module, "stage_progress", lambda stage: nullcontext(silent))
    monkeypatch.setattr(module, "create_table_artifact", lambda rows, **more: sent.update(table=more | {"rows": rows}))
    monkeypatch.setattr(module, "create_link_artifact", lambda link, **named: sent.update(link=named | {"link": link}))
    with disable_run_logger():
        found = module.evaluate.fn(str(workspace.root), "toys-1", EvaluateConfig())
    assert found == (evaluation, False)
    assert summary(evaluation) in sent["table"]["description"]
    assert [row["metric"] for row in sent["table"]["rows"]][:2] == ["frechet", "kernel"]
    assert sent["link"]["link"] == workspace.run("toys-1").report.as_uri()
    assert "(" not in sent["link"]["link"], "Prefect writes it as a link of Markdown"
    assert sent["link"]["key"] == "report"
