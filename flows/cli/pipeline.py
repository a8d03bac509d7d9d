"""Commands that run the whole chain through the `retrain` flow in this process."""

from __future__ import annotations

import shlex
from typing import Any

import typer

from flows.cli import console
from flows.cli.embedded import prepare_prefect
from flows.cli.guard import JsonOption, WorkspaceOption, guarded
from flows.cli.options import option_name, with_config
from flows.cli.stages import (
    NameOption,
    VideosOption,
    evaluation_json,
    ingest_json,
    print_ending,
    print_ingest,
    print_metrics,
    print_warm_start,
)
from vgan.config import EvaluateConfig, IngestConfig, RegisterConfig, TrainConfig, build
from vgan.progress import counted
from vgan.records import RetrainReport
from vgan.workspace import Workspace

DEMO_NAME = "shapes"
# One clip holds nearly the whole second of each video; small enough to learn in two minutes on two cores.
DEMO_INGEST = IngestConfig(frames=8, height=32, width=32, fps=8.0, labels="folder")

app = typer.Typer()


@app.command()
@guarded
@with_config("ingest_config", IngestConfig)
@with_config("train_config", TrainConfig)
@with_config("evaluate_config", EvaluateConfig, prefix="evaluate_")
@with_config("register_config", RegisterConfig, leave_out=("force",))
def run(
    videos: VideosOption,
    name: NameOption,
    ingest_config: IngestConfig,
    train_config: TrainConfig,
    evaluate_config: EvaluateConfig,
    register_config: RegisterConfig,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run all stages: ingest, train, evaluate, register. What is there already is not done again."""
    opened = Workspace.open(workspace)
    report = retrain_here(opened, videos, name, ingest_config, train_config, evaluate_config, register_config)
    if as_json:
        console.print_json(run_json(report))
    else:
        print_run(report, opened)


@app.command()
@guarded
def demo(
    budget: str = typer.Option(
        "170s", "--budget", help="How long to train: '90s', '15m', or '20kclips'; at most 1000h or 100000kclips."
    ),
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write videos of moving shapes and run the whole chain on them: no download, no server, no GPU."""
    from vgan.data.shapes import write_videos

    opened = Workspace.open(workspace)
    train_config = build(TrainConfig, {"preset": "tiny", "budget": budget}, option_name)
    videos = opened.root / "videos" / DEMO_NAME
    with console.bars() as sink_of:
        write_videos(videos, progress=sink_of("videos"))
    report = retrain_here(opened, str(videos), DEMO_NAME, DEMO_INGEST, train_config, EvaluateConfig(), RegisterConfig())
    if as_json:
        console.print_json(run_json(report))
    else:
        print_run(report, opened)


def retrain_here(
    workspace: Workspace,
    videos: str,
    name: str,
    ingest_config: IngestConfig,
    train_config: TrainConfig,
    evaluate_config: EvaluateConfig,
    register_config: RegisterConfig,
) -> RetrainReport:
    """Run the `retrain` flow in this process; Prefect starts a server of its own unless PREFECT_API_URL names one."""
    prepare_prefect()
    from flows.retrain_flow import retrain
    from tasks import progress

    with console.bars() as sink_of:
        progress.listen(sink_of)
        return retrain(
            videos,
            name,
            ingest_config=ingest_config,
            train_config=train_config,
            evaluate_config=evaluate_config,
            register_config=register_config,
            workspace=str(workspace.root),
        )


def run_json(report: RetrainReport) -> dict[str, Any]:
    """The shape of `vgan run --json`: that of ingest, and run, metrics, model_uri and champion."""
    return {
        **ingest_json(report.ingest),
        "run": report.trained.run,
        **evaluation_json(report.evaluation),
        "model_uri": report.model.model_uri,
        "champion": report.model.champion,
        "verdict": report.model.verdict,
        "stages": report.stages,
        "seconds": report.seconds,
    }


def print_run(report: RetrainReport, workspace: Workspace) -> None:
    """Everything that a person wants to know after a run, and what to do next."""
    print_ingest(report.ingest)
    print_metrics(report.evaluation)
    trained, model = report.trained, report.model
    if trained.init:
        print_warm_start(trained.init)
    print_ending(trained)
    held = f"carries @{model.alias}" if model.champion else f"@{model.alias} stays where it was"
    rows = [
        ("ingest", report.stages["ingest"], counted(report.ingest.clips_train + report.ingest.clips_heldout, "clip")),
        (
            "train",
            report.stages["train"],
            f"{trained.clips / 1000:.1f} kclips in {trained.seconds:.0f} s, {trained.run}",
        ),
        ("evaluate", report.stages["evaluate"], str(workspace.run(trained.run).report)),
        ("register", report.stages["register"], f"{model.model_uri} {held}. {model.verdict}"),
    ]
    timed = [(stage, state, f"{report.seconds[stage]:.1f} s", what) for stage, state, what in rows]
    console.print_table("Stages", timed, ("stage", "state", "time", "result"))
    if report.nothing_to_do:
        console.out.print(report.nothing_to_do, markup=False, highlight=False, soft_wrap=True)
    console.out.print(f"contact sheet: {workspace.run(trained.run).contact_sheet}", soft_wrap=True)
    console.out.print("\nNext:", *next_commands(report, workspace), sep="\n  ", soft_wrap=True, highlight=False)


def next_commands(report: RetrainReport, workspace: Workspace) -> list[str]:
    """The three commands that follow a run: look at MLflow, look at Prefect, sample more."""
    model = report.model
    uri = f"models:/{model.model_name}@{model.alias}"
    folder = shlex.quote(str(workspace.root))
    mlflow_ui = f"mlflow ui --backend-store-uri {shlex.quote(model.tracking_uri)}"
    if model.tracking_uri.startswith("http"):
        mlflow_ui = f"open {model.tracking_uri}"
    return [
        f"{mlflow_ui}    # parameters, curves, samples, the registered model",
        "prefect server start    # the run graph and its artifacts, at http://127.0.0.1:4200",
        f"vgan sample --model {uri} --num 8 --seed 1 --out samples --workspace {folder}    # more clips",
    ]
