import json
import logging
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from shapes_dataset import write_dataset
from torch import Tensor
from toy_networks import ToyGenerator, toy_networks

from vgan.config import TrainConfig
from vgan.data.loading.loader import ClipSet
from vgan.data.manifest import load_dataset
from vgan.data.shapes import render_video
from vgan.errors import ConfigError, DivergedError, ResumableError
from vgan.models.interface import Generator
from vgan.models.network import ClipShape
from vgan.records import TrainedRun
from vgan.training import loop
from vgan.training import watch as watching
from vgan.training.distributed import World
from vgan.training.loop import train_run
from vgan.training.plan import RunBudget, prepare, resolve
from vgan.training.source import ClipSource
from vgan.training.step import TrainState, train_step
from vgan.training.streaks import Streaks
from vgan.training.two_sample import LEAST_CLIPS, Verdict
from vgan.training.watch import COLLAPSED_LOOKS, Watch, ended, open_watch
from vgan.workspace import RunFolder, Workspace

CPU = torch.device("cpu")
STEPS = 400
CLASSES = 2


class FromPixels(Generator):
    """Shows one of the clips that it was given: which one, its latent and its class say."""

    def __init__(self, clips_NCTHW: Tensor) -> None:
        super().__init__(1, ClipShape(frames=4, height=16, width=16, labels=CLASSES))
        self.clips_NCTHW = torch.nn.Parameter(clips_NCTHW)

    def forward(self, z_BZ: Tensor, label_B: Tensor | None = None, times_T: Tensor | None = None) -> Tensor:
        pairs = len(self.clips_NCTHW) // CLASSES
        place_B = (torch.special.ndtr(z_BZ[:, 0]) * pairs).long().clamp(0, pairs - 1)
        return self.clips_NCTHW[place_B * CLASSES + label_B]


def shapes(start: int, num: int) -> Tensor:
    """[N, 3, 4, 16, 16] in [-1, 1]; the classes take turns, as in the dataset, whose first clip is number 0."""
    clips_NTHWC = np.stack([render_video(0, start + index, size=16, frames=4)[0] for index in range(num)])
    return torch.from_numpy(clips_NTHWC.transpose(0, 4, 1, 2, 3).copy()).float() / 127.5 - 1


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """100 training clips and 60 held-out ones."""
    workspace = Workspace.open(tmp_path_factory.mktemp("watched"))
    write_dataset(workspace, clips=100, heldout=60)
    return workspace


def watch_of(workspace: Workspace, **asked: object) -> Watch:
    dataset = load_dataset(workspace, "shapes")
    config = resolve(workspace, dataset, TrainConfig.model_validate({"batch": 8, "device": "cpu", **asked}))
    budget = RunBudget(run=config.run, steps=STEPS, clips=STEPS * 8, bf16=False, clips_per_second=None)
    train = ClipSet(workspace.dataset("shapes"), dataset, "train", check=False)
    return open_watch(workspace, dataset, config, budget, train, CPU)


def test_a_generator_of_real_clips_is_as_various_as_the_data_and_copies_nothing(data):
    watch = watch_of(data)
    real = FromPixels(shapes(1000, 400))
    figures = watch.look(real, Streaks.start(), STEPS)
    assert 0.8 < figures["sample_diversity"] < 1.2
    assert 0.6 < figures["nearest_sample_ratio"] < 1.4
    assert 0.8 < figures["nearest_neighbour_ratio"] < 1.2
    assert figures["collapsed_looks"] == 0
    assert watch.warnings(real, Streaks.start()) == ()


def test_a_generator_that_copies_training_clips_is_told(data):
    (warning,) = watch_of(data).warnings(FromPixels(shapes(0, 60)), Streaks.start())
    assert "may copy" in warning and "0.00 times" in warning


@pytest.mark.parametrize("num", [2, 4])
def test_a_generator_of_one_or_two_clips_a_class_has_collapsed_after_some_looks(data, caplog, num):
    watch, streaks, generator = watch_of(data), Streaks.start(), FromPixels(shapes(1000, num))
    with caplog.at_level(logging.WARNING):
        for look in range(1, COLLAPSED_LOOKS + 1):
            figures = watch.look(generator, streaks, STEPS // 2)
            assert figures["collapsed_looks"] == look
            assert bool(caplog.records) is False
            watch.tell(figures, STEPS // 2)
    assert "collapsed to a few clips" in caplog.text
    (warning,) = watch.warnings(generator, streaks)
    assert "collapsed" in warning


def test_a_grey_generator_has_collapsed_and_is_no_copy(data):
    watch, streaks, grey = watch_of(data), Streaks.start(), FromPixels(torch.zeros(2, 3, 4, 16, 16))
    for _ in range(COLLAPSED_LOOKS):
        figures = watch.look(grey, streaks, STEPS)
    assert figures["sample_diversity"] == 0
    (warning,) = watch.warnings(grey, streaks)
    assert "collapsed" in warning


def test_a_run_that_recovers_or_has_just_begun_has_not_collapsed(data):
    watch, streaks, grey = watch_of(data), Streaks.start(), FromPixels(torch.zeros(2, 3, 4, 16, 16))
    assert watch.look(grey, streaks, 10)["collapsed_looks"] == 0
    assert watch.look(grey, streaks, 200)["collapsed_looks"] == 1
    assert watch.look(FromPixels(shapes(1000, 60)), streaks, 210)["collapsed_looks"] == 0


class Forgetful(ToyGenerator):
    """Has lost its latent: whatever the optimizer does, it makes one clip of each class."""

    def forward(self, z_BZ: Tensor, label_B: Tensor | None = None, times_T: Tensor | None = None) -> Tensor:
        return super().forward(z_BZ * 0, label_B, times_T)


def trained(
    workspace: Workspace, watch: Watch, generator: Generator | None = None, **recipe: float
) -> tuple[TrainState, dict[str, float]]:
    """Train two toy networks on the data, looking now and then, and as a run does stop when the watch says so."""
    recipe_ = watch.config.recipe.model_copy(update={"batch": 4, **recipe})
    healthy, discriminator = toy_networks()
    state = TrainState.start(generator or healthy, discriminator, recipe_)
    clips = ClipSet(workspace.dataset("shapes"), load_dataset(workspace, "shapes"), "train", check=False)
    source = ClipSource(clips, CPU, batch=4, seed=0, classes=True)
    figures: dict[str, float] = {}
    for _ in range(200):
        train_step(state, recipe_, *source.at(state.steps), seed=0, budget=1600, bf16=False)
        if state.steps % 20 == 0:
            figures = watch.look(state.average, state.streaks, state.steps)
            watch.tell(figures, state.steps)
    return state, figures


def test_a_training_that_collapses_stops_and_says_what_to_do(data, monkeypatch):
    """FAULTS 14: a run whose output has become constant says so while it trains, and stops when asked to."""
    monkeypatch.setattr(watching, "WARMUP_CLIPS", 300)
    watch = watch_of(data, stop_on_collapse=True)
    with pytest.raises(DivergedError, match=r"at step \d+ of 400 .*collapsed to a few clips.* 0\.\d\d times") as caught:
        trained(data, watch, Forgetful())
    assert caught.value.exit_code == 70 and not caught.value.retryable
    assert "--seed" in caught.value.hint and "checkpoint is kept" in caught.value.hint


def test_a_healthy_training_is_not_taken_for_a_collapsed_one(data, monkeypatch):
    monkeypatch.setattr(watching, "WARMUP_CLIPS", 300)
    rates = {"lr_generator": 0.01, "lr_discriminator": 0.01, "gamma_start": 0.5, "gamma_end": 0.5}
    _, figures = trained(data, watch_of(data, stop_on_collapse=True), **rates)
    assert figures["collapsed_looks"] == 0


def test_real_clips_end_a_run_after_two_tests_and_noise_does_not(data):
    watch = watch_of(data, stop_when_indistinguishable=True)
    real, streaks = FromPixels(shapes(1000, 200)), Streaks.start()
    for step in (300, STEPS):
        assert not ended(watch.config, streaks)
        verdict = watch.test(real, step)
        assert verdict.indistinguishable
        streaks.count(streaks.indistinguishable, verdict.indistinguishable)
    assert ended(watch.config, streaks)
    noise = FromPixels(torch.rand(200, 3, 4, 16, 16) * 2 - 1)
    figures = watch.look(noise, streaks, STEPS)
    assert figures["two_sample_low"] > 0.5
    assert not ended(watch.config, streaks)


def test_too_few_independent_held_out_videos_are_named(tmp_path):
    workspace = Workspace.open(tmp_path)
    write_dataset(workspace, clips=8, heldout=7)
    with pytest.raises(ConfigError, match=f"needs {LEAST_CLIPS} independent held-out videos, and shapes has 7 "):
        watch_of(workspace, stop_when_indistinguishable=True)
    watch_of(workspace)


def test_looks_are_set_by_the_budget_alone_and_are_few(data):
    watch = watch_of(data)
    looks = [step for step in range(1, STEPS + 1) if watch.due(step)]
    assert looks == [96, 192, 288, 384, 400]
    assert watch_of(data, checkpoints=37).due(96)


# A whole run, of 20 steps with a look after every 4th, that a test can no longer tell from the real at 12.
ASKED = {"budget": "0.04kclips", "batch": 2, "threads": 1, "device": "cpu", "checkpoints": 4}


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "LOOK_EVERY_CLIPS", 8)
    monkeypatch.setattr(watching, "WARMUP_CLIPS", 0)
    monkeypatch.setattr(watching, "TEST_EVERY_LOOKS", 1)
    monkeypatch.setattr(watching, "LEAST_CLIPS", 4)
    monkeypatch.setattr(watching, "two_sample_test", lambda *_, **__: Verdict(0.52, 0.42, 0.62))


def small_run(root: Path, **asked: object) -> tuple[Workspace, RunFolder]:
    workspace = Workspace.open(root)
    dataset = write_dataset(workspace, clips=12, heldout=8)
    return workspace, workspace.run(prepare(workspace, dataset, TrainConfig.model_validate({**ASKED, **asked})))


def lines(folder: RunFolder) -> list[dict[str, float]]:
    return [json.loads(line) for line in folder.metrics.read_text().splitlines()]


@pytest.mark.e2e
def test_an_indistinguishable_run_ends_early_as_a_finished_one_also_when_resumed(tmp_path, often):
    found = []
    for name, stop_at in (("undisturbed", 0), ("resumed", 9)):
        workspace, folder = small_run(tmp_path / name, stop_when_indistinguishable=True)
        key, asked = folder.path.name, iter(range(1, 100))
        if stop_at:
            with pytest.raises(ResumableError):
                train_run(workspace, key, lambda asked=asked, stop_at=stop_at: next(asked) == stop_at)
        train_run(workspace, key, lambda: False)
        record = TrainedRun.from_json(folder.record.read_bytes(), key)
        assert (record.steps, record.clips, record.stopped, record.warnings) == (12, 24, "indistinguishable", ())
        assert [line["step"] for line in lines(folder) if "two_sample_accuracy" in line] == [8, 12]
        found.append((folder.metrics.read_bytes(), record.generator.weights_sha256))
        folder.record.unlink()
        train_run(workspace, key, lambda: False)  # from the last checkpoint: it knows that it has ended
        again = TrainedRun.from_json(folder.record.read_bytes(), key)
        assert again.model_copy(update={"seconds": record.seconds}) == record
    assert found[0] == found[1]


@dataclass(frozen=True)
class Overheard(World):
    """The first rank notes what all agree on; another one is told it, and must ask for exactly that."""

    said: list[bool] = field(default_factory=list)

    def part(self, batch: int) -> slice:
        return slice(0, batch)

    def any(self, flag: bool) -> bool:
        if not self.leads:
            return self.said.pop(0)
        self.said.append(flag)
        return flag


@pytest.mark.e2e
def test_all_ranks_of_a_run_that_ends_early_end_with_the_first_one(tmp_path, often, monkeypatch):
    said: list[bool] = []
    plan = b""
    for rank in (0, 1):
        workspace, folder = small_run(tmp_path / str(rank), stop_when_indistinguishable=True)
        if rank:
            folder.plan.write_bytes(plan)  # which the first rank writes for all
        monkeypatch.setattr(loop, "joined", lambda device, rank=rank: nullcontext(Overheard(rank, 1, rank, said)))
        train_run(workspace, folder.path.name, lambda: False)
        assert bool(said) == folder.record.exists() == (rank == 0)
        plan = folder.plan.read_bytes()


@pytest.mark.e2e
def test_a_collapsed_run_is_finished_with_a_warning_or_stopped_and_keeps_its_checkpoint(tmp_path, often, monkeypatch):
    monkeypatch.setattr(watching, "_spread", lambda gist_ND: 0.01 if len(gist_ND) == 16 else 1.0)
    workspace, folder = small_run(tmp_path / "goes-on")
    train_run(workspace, folder.path.name, lambda: False)
    record = TrainedRun.from_json(folder.record.read_bytes(), "run")
    assert [line["collapsed_looks"] for line in lines(folder) if "collapsed_looks" in line] == [1, 2, 3, 4, 5]
    assert "collapsed to a few clips" in record.warnings[0]
    workspace, folder = small_run(tmp_path / "stops", stop_on_collapse=True)
    for _ in range(2):  # the same command finds the same
        with pytest.raises(DivergedError, match="at step 12 of 20"):
            train_run(workspace, folder.path.name, lambda: False)
        assert not folder.record.exists()
        assert sorted(path.stem for path in folder.checkpoints.glob("*.json")) == ["00000005", "00000010"]
