"""What a dry run says before anything is trained, against what training then does."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from shapes_dataset import write_dataset
from test_checkpoint import small_state
from typer.testing import CliRunner

from flows.cli.app import app
from flows.cli.plan import print_plan
from vgan.config import TrainConfig
from vgan.data.manifest import load_dataset
from vgan.errors import BadInputError, ConfigError, CorruptDataError
from vgan.training import estimate as estimates
from vgan.training.estimate import SHARES, Estimate, estimate, schedule
from vgan.training.manifest import newest
from vgan.training.plan import RunBudget, prepare, resolve, run_key
from vgan.training.process import train
from vgan.training.recipe import Recipe
from vgan.training.saving import CheckpointWriter
from vgan.workspace import Workspace

CONFIG = TrainConfig(budget="0.02kclips", batch=4, threads=1, device="cpu", checkpoints=2, augment="off")
OPTIONS = [
    *("--budget", "0.02kclips", "--batch", "4", "--threads", "1"),
    *("--device", "cpu", "--checkpoints", "2", "--augment", "off"),
]


def files(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = Workspace.open(tmp_path_factory.mktemp("planned"))
    write_dataset(workspace)
    return workspace


@pytest.fixture(scope="module")
def plan(made: Workspace) -> Estimate:
    """The plan as the command prints it, for a workspace in which nothing has been trained."""
    before = files(made.root)
    arguments = ["train", "--name", "shapes", "--workspace", str(made.root), *OPTIONS, "--dry-run", "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert files(made.root) == before, "a dry run writes nothing into the workspace"
    return Estimate.from_json(result.stdout, "standard output")


@pytest.fixture
def measured(plan: Estimate, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was measured for `plan` is found again without another process."""
    monkeypatch.setattr(estimates, "probe", lambda run: plan.measured.to_json())


def test_it_names_the_run_that_training_makes_and_its_data(plan: Estimate, made: Workspace) -> None:
    dataset = load_dataset(made, "shapes")
    asked = resolve(made, dataset, CONFIG)
    assert (plan.run, plan.state, plan.steps_done) == (run_key(dataset, CONFIG), "new", 0)
    assert (plan.config, plan.recipe, plan.shape, plan.family) == (CONFIG, asked.recipe, asked.shape, asked.family)
    assert (plan.drawing, plan.plain_share) == (asked.drawing, asked.plain_share) == ("sprites", 1.0)
    assert (plan.clips_train, plan.labels, plan.dataset_digest) == (24, ("left", "up"), dataset.digest())
    assert plan.clips_bytes == 24 * 3 * 4 * 16 * 16 and plan.clips_resident


def test_a_budget_in_clips_is_counted_and_a_checkpoint_comes_as_often_as_asked(plan: Estimate) -> None:
    assert (plan.steps, plan.clips, plan.checkpoint_every, plan.measured.steps) == (5, 20, 3, 5)
    assert (plan.measured.device, plan.measured.threads, plan.measured.processes) == ("cpu", 1, 1)
    assert plan.seconds == pytest.approx(5 * plan.measured.seconds_per_step, abs=0.06)
    assert plan.clips_per_second == pytest.approx(4 / plan.measured.seconds_per_step, abs=0.01)


def test_parts_and_memory_add_up(plan: Estimate) -> None:
    networks, memory = (plan.measured.generator, plan.measured.discriminator), plan.measured.memory
    for network in networks:
        assert sum(part.parameters for part in network.parts) == network.parameters > 10_000
        assert sum(part.macs for part in network.parts) == network.macs > 1_000_000
    parameters = sum(network.parameters for network in networks)
    assert memory.weights == memory.gradients == 4 * parameters and memory.optimizer == 8 * parameters
    assert memory.average >= 4 * networks[0].parameters
    assert 0 < memory.step < memory.peak < memory.device


@pytest.mark.e2e
def test_the_checkpoint_is_as_large_as_said_and_a_finished_run_is_known(
    plan: Estimate, made: Workspace, measured: None
) -> None:
    record, _ = train(made, "shapes", CONFIG)
    assert (record.run, record.steps) == (plan.run, plan.steps)
    folder = made.run(record.run)
    manifest = newest(folder)
    assert manifest is not None
    size = manifest.with_suffix(".safetensors").stat().st_size
    assert plan.measured.checkpoint_bytes == pytest.approx(size, rel=0.01)

    finished = estimate(made, "shapes", CONFIG)
    assert (finished.state, finished.steps_done, finished.seconds) == ("finished", 5, 0)
    folder.record.unlink()
    manifest.unlink()
    resumes = estimate(made, "shapes", CONFIG)
    assert (resumes.state, resumes.steps_done) == ("resumes", 3)
    assert resumes.seconds == pytest.approx(2 * plan.measured.seconds_per_step, abs=0.06)


def test_a_run_that_has_measured_its_time_keeps_its_steps(workspace: Workspace, measured: None) -> None:
    config = CONFIG.model_copy(update={"budget": "60s"})
    key = prepare(workspace, load_dataset(workspace, "shapes"), config)
    decided = RunBudget(run=key, steps=777, clips=777 * 4, bf16=False, clips_per_second=12.0)
    workspace.run(key).plan.write_bytes(decided.to_json())
    assert estimate(workspace, "shapes", config).steps == 777


def test_it_resumes_from_the_newest_checkpoint_that_training_would_take(
    workspace: Workspace, measured: None, caplog: pytest.LogCaptureFixture
) -> None:
    """As `resume` does: what is damaged is passed over, and no sound one or another run's is an error."""
    key = prepare(workspace, load_dataset(workspace, "shapes"), CONFIG)
    folder, asked = workspace.run(key), resolve(workspace, load_dataset(workspace, "shapes"), CONFIG)
    state = small_state()
    for state.steps in (1, 2, 3, 4):
        with CheckpointWriter(folder, asked) as writer:
            writer.save(state, seconds=1.0)
    stems = [folder.checkpoints / f"{step:08d}" for step in (2, 3, 4)]

    def found() -> tuple[int, str | None]:
        plan = estimate(workspace, "shapes", CONFIG)
        assert plan.state == "resumes"
        return plan.steps_done, plan.checkpoint

    files = [str(stem.with_suffix(".safetensors")) for stem in stems]
    assert found() == (4, files[2])
    stems[2].with_suffix(".json").write_bytes(b"{}")
    assert found() == (3, files[1])
    tensors = Path(files[1])
    content = tensors.read_bytes()
    tensors.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert found() == (2, files[0])
    assert "passing over checkpoint 00000003" in caplog.text
    result = CliRunner().invoke(
        app, ["train", "--name", "shapes", "--workspace", str(workspace.root), *OPTIONS, "--dry-run"]
    )
    assert f"resume at step 2 of 5, from {files[0]}: about" in result.output
    Path(files[0]).unlink()
    with pytest.raises(CorruptDataError, match="none of the 3 checkpoints"):
        estimate(workspace, "shapes", CONFIG)
    with CheckpointWriter(folder, asked.model_copy(update={"fps": 99.0})) as writer:
        writer.save(state, seconds=1.0)
    with pytest.raises(ConfigError, match="was made for another run"):
        estimate(workspace, "shapes", CONFIG)


def test_the_schedules_are_those_of_the_recipe_from_the_first_step_to_the_last() -> None:
    recipe = Recipe(
        batch=10, lr_generator=1.0, lr_discriminator=0.5, warmup_clips=200, decay_from=0.5, gamma_start=4.0,
        gamma_end=1.0, gamma_halves=2500, ema_clips=500, ema_share=0.1,
    )  # fmt: skip
    moments = schedule(recipe, 1000)
    assert [moment.share for moment in moments] == list(SHARES)
    assert [moment.clips for moment in moments] == [0, 500, 2500, 5000, 7500, 9990]
    assert [moment.lr_generator for moment in moments] == pytest.approx([0.05, 1.0, 1.0, 1.0, 0.5, 0.002])
    assert [moment.lr_discriminator for moment in moments] == pytest.approx([0.025, 0.5, 0.5, 0.5, 0.25, 0.001])
    assert [moment.gamma for moment in moments] == pytest.approx([4.0, 4 * 0.5**0.2, 2.0, 1.0, 1.0, 1.0])
    assert [moment.ema_half_life for moment in moments] == pytest.approx([1.0, 51.0, 251.0, 500.0, 500.0, 500.0])


def test_weights_to_start_from_are_found_and_not_kept(workspace: Workspace, measured: None) -> None:
    sha256, kept = "ab" * 32, []

    def find(rehearsal: Workspace, dataset: object, config: TrainConfig) -> str:
        kept.append(rehearsal.initial(sha256))
        kept[0].write_bytes(b"weights")
        return sha256

    plan = estimate(workspace, "shapes", CONFIG.model_copy(update={"init": "models:/shapes@champion"}), find)
    assert plan.init_sha256 == sha256
    assert plan.run == run_key(load_dataset(workspace, "shapes"), plan.config, sha256)
    assert not kept[0].exists() and not (workspace.root / "initial").exists()


def test_what_training_would_refuse_the_plan_refuses(workspace: Workspace) -> None:
    with pytest.raises(ConfigError, match="nobody"):
        estimate(workspace, "nobody", CONFIG)
    write_dataset(workspace, "empty", clips=0)
    with pytest.raises(BadInputError, match="no training clips"):
        estimate(workspace, "empty", CONFIG)
    write_dataset(workspace, clips=8, heldout=7)
    with pytest.raises(ConfigError, match="needs 50 independent held-out videos, and shapes has 7 "):
        estimate(workspace, "shapes", CONFIG.model_copy(update={"stop_when_indistinguishable": True}))


@pytest.mark.e2e
@pytest.mark.skipif("__import__('torch').cuda.is_available()")
def test_what_the_measuring_process_refuses_is_told_with_its_remedy(workspace: Workspace) -> None:
    with pytest.raises(ConfigError, match="cuda") as caught:
        estimate(workspace, "shapes", CONFIG.model_copy(update={"device": "cuda"}))
    assert "--device" in caught.value.hint


@pytest.mark.e2e
def test_several_processes_are_measured_together(workspace: Workspace) -> None:
    plan = estimate(workspace, "shapes", CONFIG.model_copy(update={"processes": 2, "budget": "20s"}))
    assert plan.measured.processes == 2 and plan.measured.threads == 1
    assert plan.steps == plan.measured.steps > 1


@pytest.mark.e2e
def test_people_are_told_in_tables_that_fit_80_columns(workspace: Workspace) -> None:
    command = [sys.executable, "-c", "from flows.cli.app import main; main()", "train", "--name", "shapes"]
    command += ["--workspace", str(workspace.root), *OPTIONS, "--dry-run"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
    assert all(len(line) <= 80 for line in done.stdout.splitlines()[:-2])
    for said in ("5 steps of 4 clips", "EMA half-life", "Generator", "MACs", "clips/s", "Nothing was written."):
        assert said in done.stdout


def test_a_plan_of_one_step_is_told_in_the_singular(plan: Estimate, capsys: pytest.CaptureFixture[str]) -> None:
    one = plan.model_copy(update={"steps": 1, "clips": 1, "checkpoint_every": 1, "labels": ("up",)})
    print_plan(one)
    said = capsys.readouterr().out
    assert "A new run of 1 step: " in said
    for wrong in ("1 steps", "= 1 clips", "1 classes"):
        assert wrong not in said
    print_plan(plan)
    assert "A new run of 5 steps: " in capsys.readouterr().out


def test_the_supervising_side_needs_no_torch() -> None:
    code = "import sys, flows.cli.plan, vgan.training.estimate; print(json.dumps('torch' in sys.modules))"
    done = subprocess.run([sys.executable, "-c", "import json; " + code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) is False


def test_a_plan_for_several_machines_says_how_they_are_started(
    plan: Estimate, capsys: pytest.CaptureFixture[str]
) -> None:
    config = plan.config.model_copy(update={"nodes": 3, "rendezvous": "10.0.0.5:29400"})
    print_plan(plan.model_copy(update={"config": config}))
    said = " ".join(capsys.readouterr().out.split())
    assert "3, which meet at 10.0.0.5:29400" in said
    assert "VGAN_NODE_RANK set: 0 on the one that leads, at 10.0.0.5:29400, and up to 2 on the others" in said
