import pytest
import torch
from shapes_dataset import write_dataset

from vgan.config import TrainConfig
from vgan.data.manifest import load_dataset
from vgan.errors import ConfigError
from vgan.training import budget as budgets
from vgan.training.budget import decide_budget, measure
from vgan.training.plan import budget_steps, prepare, read_budget, read_config, resolve, run_key

CPU = torch.device("cpu")


def never() -> None:
    raise AssertionError("measured although nothing is to be measured")


def test_how_fast_does_not_change_a_runs_key_but_what_is_learned_does(workspace):
    dataset = load_dataset(workspace, "shapes")
    key = run_key(dataset, TrainConfig())
    for same in ({"device": "cpu"}, {"threads": 1}, {"checkpoints": 3}):
        assert run_key(dataset, TrainConfig(**same)) == key
    for other in ({"seed": 1}, {"budget": "10s"}, {"preset": "small"}, {"batch": 4}):
        assert run_key(dataset, TrainConfig(**other)) != key
    assert key.startswith("shapes-")


def test_another_dataset_version_is_another_run(workspace):
    before = load_dataset(workspace, "shapes")
    after = write_dataset(workspace, clips=25)
    assert run_key(before, TrainConfig()) != run_key(after, TrainConfig())


def test_a_prepared_run_says_everything_that_was_asked_for(workspace):
    dataset = load_dataset(workspace, "shapes")
    key = prepare(workspace, dataset, TrainConfig(seed=3, batch=6))
    config = read_config(workspace.run(key))
    assert config == resolve(workspace, dataset, TrainConfig(seed=3, batch=6))
    assert config.labels == ("left", "up") and config.shape.labels == 2
    assert config.recipe.batch == 6


@pytest.mark.parametrize("budget, clips", [("0.1kclips", 102), ("2kclips", 2004)])
def test_a_budget_in_clips_needs_no_measurement_and_ends_on_a_whole_step(workspace, budget, clips):
    config = resolve(workspace, load_dataset(workspace, "shapes"), TrainConfig(budget=budget, batch=6))
    decided = decide_budget(workspace.run(config.run), config, CPU, never)
    assert decided.clips == clips == decided.steps * 6
    assert decided.clips_per_second is None


def test_a_time_budget_is_measured_and_then_read_back(workspace, monkeypatch):
    monkeypatch.setattr(budgets, "measure", lambda *_: 0.5)
    config = resolve(workspace, load_dataset(workspace, "shapes"), TrainConfig(budget="100s", batch=6))
    folder = workspace.run(config.run)
    decided = decide_budget(folder, config, CPU, never)
    assert 185 <= decided.steps <= 200  # 100 s at half a second, less the reserve
    assert decided.clips_per_second == 12.0
    monkeypatch.setattr(budgets, "measure", never)
    assert decide_budget(folder, config, CPU, never) == decided == read_budget(folder)


def test_a_budget_too_short_for_one_step_still_takes_one(workspace, monkeypatch):
    monkeypatch.setattr(budgets, "measure", lambda *_: 1000.0)
    config = resolve(workspace, load_dataset(workspace, "shapes"), TrainConfig(budget="1s"))
    assert decide_budget(workspace.run(config.run), config, CPU, never).steps == 1


def test_the_measurement_takes_a_few_steps_beyond_the_warm_ones():
    steps: list[int] = []
    assert measure(CPU, lambda: steps.append(1), 1.0) > 0
    assert len(steps) > budgets.WARM_STEPS


def test_a_budget_of_more_steps_than_a_checkpoints_name_can_count_is_refused(workspace):
    asked = resolve(workspace, load_dataset(workspace, "shapes"), TrainConfig(budget="1000h", batch=4))
    assert budget_steps(asked, 0.1, 3_600_000) == 36_000_000
    with pytest.raises(ConfigError, match="360,000,000 steps here") as caught:
        budget_steps(asked, 0.01, 3_600_000)
    assert "--batch" in caught.value.hint
    most = TrainConfig(budget="100000kclips", batch=2)
    assert budget_steps(resolve(workspace, load_dataset(workspace, "shapes"), most), 1, 0) == 50_000_000
