"""`vgan train --dry-run`: the resolved plan of a training, as tables or as one JSON object."""

from __future__ import annotations

from pathlib import Path

from flows.cli import console
from vgan.config import TrainConfig
from vgan.progress import counted, duration
from vgan.training.estimate import Estimate, Memory, NetworkCost
from vgan.workspace import Workspace


def show_plan(root: Path | None, name: str, config: TrainConfig, *, as_json: bool) -> None:
    """Resolve and measure what training would do, and print it; nothing is written into the workspace."""
    from tasks.generation import initial_weights
    from vgan.training.estimate import estimate

    workspace = Workspace.open(root, write=False, fetch=False, sought=f"dataset {name!r}")
    with console.err.status("measuring a few steps"):
        plan = estimate(workspace, name, config, initial_weights)
    if as_json:
        console.print_json(plan.model_dump(mode="json"))
    else:
        print_plan(plan)


def print_plan(plan: Estimate) -> None:
    """Everything that is decided and measured, the most important last."""
    console.print_table(f"Plan of run {plan.run}", _rows(plan), ("", "value"))
    for title, cost in (("Generator", plan.measured.generator), ("Discriminator", plan.measured.discriminator)):
        console.print_table(title, _parts(cost), ("part", "parameters", "MACs a clip, forward"))
    console.print_table("Schedules", _schedule(plan), ("of the budget", "lr G", "lr D", "gamma", "EMA half-life"))
    console.out.print(*_sentences(plan), sep="\n", markup=False, highlight=False, soft_wrap=True)


def _rows(plan: Estimate) -> list[tuple[str, str]]:
    shape, measured, config = plan.shape, plan.measured, plan.config
    classes = (
        f"{counted(len(plan.labels), 'class', 'classes')}: {', '.join(plan.labels[:6])}"
        if plan.labels
        else "no classes"
    )
    arithmetic = "bfloat16 body, float32 where it matters" if measured.bf16 else "float32"
    held = "held in memory" if plan.clips_resident else "read from the shards for each step"
    clips = counted(plan.clips, "clip")
    each = plan.clips / plan.clips_train if plan.clips_train else 0.0
    checkpoints = (
        f"every {counted(plan.checkpoint_every, 'step')} ({_time(plan, plan.checkpoint_every)}), "
        f"{console.size(measured.checkpoint_bytes)} each, the newest {plan.checkpoints_kept} are kept"
    )
    machines = [("machines", f"{config.nodes}, which meet at {config.rendezvous}")] if config.nodes > 1 else []
    return [
        *machines,
        ("dataset", f"{plan.dataset} version {plan.dataset_number} ({plan.dataset_digest[:12]})"),
        ("clips", f"{plan.clips_train:,} to train on, {plan.clips_heldout:,} held out; {classes}"),
        ("clip", f"{counted(shape.frames, 'frame')} of {shape.height} x {shape.width} at {plan.fps:g} per second"),
        ("networks", f"{plan.family}, preset {config.preset}"),
        ("drawing", _drawing(plan)),
        ("budget", f"{config.budget}: {counted(plan.steps, 'step')} of {plan.recipe.batch} clips = {clips}"),
        ("each clip is seen", f"{each:,.1f} times"),
        ("starts from", config.init or "fresh weights"),
        ("augmentation", config.augment),
        ("device", f"{measured.device}, {_processes(plan)}, {arithmetic}, {_compiled(plan)}"),
        ("training clips", f"{console.size(plan.clips_bytes)}, {held}"),
        ("memory", _memory(measured.memory)),
        ("checkpoints", checkpoints),
    ]


def _drawing(plan: Estimate) -> str:
    """What frames are made of, and how that was decided."""
    made = {"sprites": "sprites, drawn once a clip and moved", "frames": "every frame whole"}[plan.drawing]
    if plan.plain_share is None:
        return f"{made}, as asked for"
    return f"{made}: {plan.plain_share:.0%} of the clips' background is of one colour"


def _processes(plan: Estimate) -> str:
    threads = counted(plan.measured.threads, "CPU thread")
    return f"{plan.measured.processes} processes with {threads} each" if plan.measured.processes > 1 else threads


def _compiled(plan: Estimate) -> str:
    return "compiled" if plan.measured.compiled else "not compiled"


def _memory(memory: Memory) -> str:
    parts = {
        "weights": memory.weights,
        "gradients": memory.gradients,
        "optimizer": memory.optimizer,
        "average": memory.average,
        "activations and workspace of a step": memory.step,
    }
    said = ", ".join(f"{name} {console.size(count)}" for name, count in parts.items())
    highest = f"{console.size(memory.peak)} of {console.size(memory.device)} at the highest, measured"
    return f"{highest}; beside the training clips: {said}"


def _parts(cost: NetworkCost) -> list[tuple[str, ...]]:
    rows = [(part.name, f"{part.parameters:,}", f"{part.macs:,}") for part in cost.parts]
    return [*rows, ("all", f"{cost.parameters:,}", f"{cost.macs:,}")]


def _schedule(plan: Estimate) -> list[tuple[str, ...]]:
    return [
        (
            f"{moment.share:.0%}",
            f"{moment.lr_generator:.3g}",
            f"{moment.lr_discriminator:.3g}",
            f"{moment.gamma:.3g}",
            f"{moment.ema_half_life:,.0f} clips",
        )
        for moment in plan.schedule
    ]


def _sentences(plan: Estimate) -> list[str]:
    speed = f"{plan.clips_per_second:,.1f} clips/s, measured on random clips"
    if plan.state == "finished":
        return [f"This run has finished; `vgan train` would find it unchanged. Now {speed}."]
    if plan.state == "resumes":
        begin = f"This run would resume at step {plan.steps_done:,} of {plan.steps:,}, from {plan.checkpoint}: "
    else:
        begin = f"A new run of {counted(plan.steps, 'step')}: "
    lines = [f"{begin}about {duration(plan.seconds)} at {speed}."]
    if plan.config.nodes > 1:
        leads = f"0 on the one that leads, at {plan.config.rendezvous}"
        others = f"up to {plan.config.nodes - 1} on the others"
        lines += [
            "That is this machine alone, with the whole batch.",
            f"Start the same command on each machine, with VGAN_NODE_RANK set: {leads}, and {others}.",
        ]
    return [*lines, "Nothing was written."]


def _time(plan: Estimate, steps: int) -> str:
    return f"about {duration(steps * plan.measured.seconds_per_step)}"
