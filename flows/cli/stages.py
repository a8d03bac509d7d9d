"""Commands of one stage each: they call the library directly, without Prefect, but for an ingest on a cluster."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli import console
from flows.cli.embedded import prepare_prefect
from flows.cli.guard import JsonOption, WorkspaceOption, guarded
from flows.cli.options import with_config
from flows.cli.plan import show_plan
from vgan.config import EvaluateConfig, IngestConfig, RegisterConfig, SampleConfig, TrainConfig
from vgan.errors import CorruptDataError
from vgan.evaluation.table import COLUMNS, metric_rows
from vgan.progress import Progress, counted
from vgan.records import Evaluation, IngestReport, ModelVersion, TrainedRun, WarmStart
from vgan.workspace import Workspace

if TYPE_CHECKING:
    from vgan.generation.write import Written

VideosOption = Annotated[
    str, typer.Option("--videos", help="Folder of videos with all its subfolders, or a URL such as s3://bucket/folder.")
]
NameOption = Annotated[str, typer.Option("--name", help="Name of the dataset: small letters, digits, '-' and '_'.")]
RunOption = Annotated[str, typer.Option("--run", help="Key of a trained run, as `vgan train` prints it.")]

app = typer.Typer()


@app.command()
@guarded
@with_config("config", IngestConfig)
def ingest(
    videos: VideosOption,
    name: NameOption,
    config: IngestConfig,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Cut videos into clips and commit them as the dataset's next version."""
    from vgan.data.ingest import ingest as ingest_videos

    opened = Workspace.open(workspace)
    with console.bars() as sink_of:
        if config.runner == "threads":
            report = ingest_videos(opened, videos, name, config, progress=sink_of("ingest"))
        else:
            report = _ingest_on_cluster(opened, videos, name, config, sink_of)
    if as_json:
        console.print_json(ingest_json(report))
    else:
        print_ingest(report)


def _ingest_on_cluster(
    workspace: Workspace, videos: str, name: str, config: IngestConfig, sink_of: Callable[[str], Progress]
) -> IngestReport:
    """Through the `ingest` flow, whose task runner has the batches done by other processes."""
    prepare_prefect()
    from flows.ingest_flow import ingest as ingest_flow
    from tasks import progress

    progress.listen(sink_of)
    return ingest_flow(videos, name, retrain_after=None, config=config, workspace=str(workspace.root))


@app.command()
@guarded
def verify(name: NameOption, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Hash every shard of a dataset again and compare it with the manifest."""
    from vgan.data.manifest import load_dataset, verify_dataset

    opened = Workspace.open(workspace, write=False, sought=f"dataset {name!r}")
    dataset = load_dataset(opened, name)
    with console.bars() as sink_of:
        problems = verify_dataset(opened, dataset, sink_of("verify"))
    if problems:
        raise CorruptDataError(
            f"dataset {name!r} is damaged: {'; '.join(problems)}.",
            hint="Run `vgan ingest` again with the same videos: it makes the damaged shards anew.",
        )
    shards, clips = len(dataset.shards), dataset.clips("train") + dataset.clips("heldout")
    result = {"name": name, "shards": shards, "clips": clips}
    if as_json:
        console.print_json({**result, "ok": True})
    else:
        what = f"{counted(shards, 'shard')} with {counted(clips, 'clip')}"
        console.out.print(f"{name}: {what} {'is' if shards == 1 else 'are'} as the manifest says.")


@app.command()
@guarded
@with_config("config", TrainConfig)
def train(
    name: NameOption,
    config: TrainConfig,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print what would be trained, what it costs and how long it takes by a few measured steps; write "
            "nothing.",
        ),
    ] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a generator on a dataset; the same command resumes an interrupted run."""
    if dry_run:
        show_plan(workspace, name, config, as_json=as_json)
        return
    from tasks.generation import initial_weights
    from vgan.data.manifest import load_dataset
    from vgan.training.process import train as train_in_child

    opened = Workspace.open(workspace, missing="refuse", sought=f"dataset {name!r}")
    init = initial_weights(opened, load_dataset(opened, name), config) if config.init else None
    with console.bars() as sink_of:
        trained, unchanged = train_in_child(opened, name, config, init=init, progress=sink_of("train"))
    if as_json:
        console.print_json(train_json(trained, unchanged))
    else:
        console.out.print(
            f"run {trained.run}: {'unchanged' if unchanged else 'trained'}, "
            f"{trained.clips / 1000:.1f} kclips in {trained.seconds:.0f} s on {trained.device}"
        )
        if trained.init:
            print_warm_start(trained.init)
        print_ending(trained)


@app.command()
@guarded
@with_config("config", EvaluateConfig)
def evaluate(
    run: RunOption, config: EvaluateConfig, workspace: WorkspaceOption = None, as_json: JsonOption = False
) -> None:
    """Compare a run's clips with held-out real ones and write its report."""
    from vgan.evaluation.evaluate import evaluate as evaluate_run

    opened = Workspace.open(workspace, missing="refuse", sought=f"run {run!r}")
    with console.bars() as sink_of:
        evaluation, unchanged = evaluate_run(opened, run, config, progress=sink_of("evaluate"))
    report = opened.run(run).report
    if as_json:
        console.print_json({"run": run, "unchanged": unchanged, **evaluation_json(evaluation), "report": str(report)})
    else:
        print_metrics(evaluation)
        console.out.print(f"{'unchanged; ' if unchanged else ''}report: {report}")


@app.command()
@guarded
@with_config("config", RegisterConfig)
def register(
    run: RunOption, config: RegisterConfig, workspace: WorkspaceOption = None, as_json: JsonOption = False
) -> None:
    """Register a run's generator; the alias moves to it only when it beats the present champion."""
    from tasks.registration import register as register_run

    opened = Workspace.open(workspace, missing="refuse", sought=f"run {run!r}")
    version = register_run(opened, run, config)
    if as_json:
        console.print_json(model_json(version))
    else:
        print_model(version)


@app.command()
@guarded
@with_config("config", SampleConfig)
def sample(
    model: Annotated[
        str, typer.Option("--model", help="models:/NAME@champion, models:/NAME/VERSION, or the key of a local run.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for the clips; created when it is not there.")],
    config: SampleConfig,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Generate clips with a registered model; each file says that it is synthetic."""
    from tasks.generation import generate, speed

    opened = Workspace.open(workspace, write=False, fetch=False, missing="accept")
    with console.bars() as sink_of:
        written = generate(opened, model, out, config, sink_of("sample"))
    if as_json:
        console.print_json({"model": model, "seed": config.seed, **sample_json(written)})
    else:
        shown = [path.name for path in (written.contact_sheet, written.grid) if path]
        console.out.print(
            f"{counted(len(written.clips), 'clip')}, {' and '.join(shown)} in {out}: {speed(written)}",
            markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip


def sample_json(written: Written) -> dict[str, Any]:
    """What `vgan sample --json` says of the files and of the speed."""
    return {
        "files": [str(path) for path in written.clips],
        "contact_sheet": str(written.contact_sheet),
        "grid": str(written.grid) if written.grid else None,
        "listing": str(written.listing),
        "frames": written.frames,
        "seconds": round(written.seconds, 3),
        "frames_per_second": round(written.frames_per_second, 1),
        "real_time_factor": round(written.real_time_factor, 2),
    }


def ingest_json(report: IngestReport) -> dict[str, Any]:
    """The shape of `vgan ingest --json`."""
    rate = report.frames_decoded / report.seconds if report.seconds > 0 else 0.0
    return {
        "name": report.name,
        "unchanged": report.unchanged,
        "videos": {
            "accepted": report.videos_accepted,
            "rejected": report.videos_rejected,
            "unchanged": report.videos_unchanged,
        },
        "dropped": report.videos_dropped,
        "relabelled": report.videos_relabelled,
        "near_duplicates": report.near_duplicates,
        "left_out": report.left_out,
        "rejections": [{"path": r.path, "reason": r.reason, "detail": r.detail} for r in report.rejections],
        "clips": {"train": report.clips_train, "heldout": report.clips_heldout, "new": report.clips_new},
        "number": report.number,
        "shards": report.shards,
        "frames_per_second": round(rate, 1),
        "manifest": report.manifest,
        "dataset_digest": report.dataset_digest,
    }


def train_json(trained: TrainedRun, unchanged: bool) -> dict[str, Any]:
    """The shape of `vgan train --json`."""
    return {"unchanged": unchanged, **trained.model_dump(mode="json")}


def print_ending(trained: TrainedRun) -> None:
    """That a run ended before its budget was used up, and its warnings."""
    if trained.stopped == "indistinguishable":
        console.out.print("it ended early: a test could no longer tell its clips from held-out ones", soft_wrap=True)
    for warning in trained.warnings:
        console.out.print(f"warning: {warning}", markup=False, highlight=False, soft_wrap=True)


def print_warm_start(init: WarmStart) -> None:
    """What a run started from, and what of it was not taken over."""
    counts = f"{counted(len(init.taken), 'tensor')} taken over, {len(init.partly)} in part, {len(init.fresh)} fresh"
    lines = [f"started from {init.source}: {counts}; {init.share:.0%} of the generator"]
    lines += [f"  in part: {name}" for name in init.partly] + [f"  fresh: {name}" for name in _whole_networks(init)]
    console.out.print(*lines, sep="\n", markup=False, highlight=False, soft_wrap=True)


def _whole_networks(init: WarmStart) -> list[str]:
    """The fresh tensors; a network of which nothing was taken over, as from a generator alone, is one line."""
    begun = {name.partition(".")[0] for name in (*init.taken, *init.partly)}
    names = [name if (network := name.partition(".")[0]) in begun else f"the whole {network}" for name in init.fresh]
    return list(dict.fromkeys(names))


def evaluation_json(evaluation: Evaluation) -> dict[str, Any]:
    """Metrics and probes by name."""
    return {
        "metrics": {m.name: m.model_dump(mode="json", exclude={"name", "schema_version"}) for m in evaluation.metrics},
        "probes": evaluation.probes,
    }


def model_json(version: ModelVersion) -> dict[str, Any]:
    """The shape of `vgan register --json`."""
    return version.model_dump(mode="json")


def print_ingest(report: IngestReport) -> None:
    """What ingest did, and a table of what it rejected."""
    if report.rejections and report.videos_rejected:
        rows = [(r.path, r.reason, r.detail) for r in report.rejections]
        console.print_table("Rejected videos", rows, ("video", "reason", "detail"))
    counts = [
        (report.videos_accepted, "accepted"),
        (report.videos_rejected, "rejected"),
        (report.videos_unchanged, "known before"),
        (report.videos_dropped, "dropped, whose files or labels have gone"),
        (report.videos_relabelled, "relabelled"),
    ]
    always = ("accepted", "rejected")
    said = ", ".join(f"{count:,} {what}" for count, what in counts if count or what in always)
    change = "unchanged" if report.unchanged else counted(report.clips_new, "new clip")
    lines = [
        f"{report.name} version {report.number} ({change}): {counted(report.clips_train, 'training clip')} and "
        f"{report.clips_heldout:,} held out in {counted(report.shards, 'shard')}",
        f"videos: {said}",
    ]
    if report.left_out:
        why = ", ".join(f"{count:,} {reason}" for reason, count in sorted(report.left_out.items()))
        lines.append(f"windows left out: {why}")
    if report.rejections and not report.videos_rejected:
        lines.append(f"rejected before: {len(report.rejections):,}; `vgan inspect --name {report.name}` lists them")
    if report.near_duplicates:
        near = counted(report.near_duplicates, "video looks", "videos look")
        verb = "stays" if report.near_duplicates == 1 else "stay"
        lines.append(f"{near} like another one and {verb} on its side of the split")
    console.out.print(*lines, sep="\n", markup=False, highlight=False, soft_wrap=True)


def print_metrics(evaluation: Evaluation) -> None:
    """Every figure with its interval and its real-against-real floor."""
    console.print_table("Metrics", metric_rows(evaluation), COLUMNS)


def print_model(version: ModelVersion) -> None:
    """Which version, and what the gate said."""
    held = f"carries @{version.alias}" if version.champion else f"does not carry @{version.alias}"
    console.out.print(f"{version.model_uri} {'(unchanged) ' if version.unchanged else ''}{held}: {version.verdict}")
