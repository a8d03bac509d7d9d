"""benchmarks/quality.py decides what is kept, so its verdicts are held."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from vgan.config import TrainConfig
from vgan.data.manifest import load_dataset

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "quality.py"


@pytest.fixture(scope="module")
def quality():
    spec = importlib.util.spec_from_file_location("quality", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["quality"] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["quality"]


GOOD = {"speed": 0.9, "one_object": 0.85, "background": 1.0, "cells": 0.4, "ratio": 1 / 3}


def test_the_worst_seed_is_the_worst_in_each_column_on_its_own(quality):
    rows = [{"seed": 0, **GOOD, "cells": 0.3}, {"seed": 1, **GOOD, "background": 3.0}]
    worst = quality.worst(rows)
    assert (worst["cells"], worst["background"], worst["speed"]) == (0.3, 3.0, 0.9)


@pytest.mark.parametrize("column", GOOD)
def test_a_bar_is_met_at_its_value_and_missed_beyond_by_any_one_seed(quality, column):
    fair = [{"seed": seed, **GOOD} for seed in range(3)]
    assert "missed" not in quality.met(quality.BARS["3m"], fair)
    less_is_better = column in ("background", "ratio")
    fair[1][column] += 0.01 if less_is_better else -0.01
    verdict = [line for line in quality.met(quality.BARS["3m"], fair).splitlines() if "missed" in line]
    assert len(verdict) == 1 and verdict[0].startswith(f"| {quality.COLUMNS[column][0]} |")


def test_another_setting_is_another_run_and_reaches_the_plan(quality, workspace):
    dataset, config = load_dataset(workspace, "shapes"), TrainConfig()
    plain = quality.Job("", "shapes", {}, {}, {}, {}, "")
    other = quality.Job("", "shapes", {}, {"lr_generator": 2e-3}, {"hidden": 64}, {"features": 32}, "")
    runs = [quality.changed(job, workspace, dataset, config, None) for job in (plain, other)]
    assert runs[0].run != runs[1].run
    assert runs[1].recipe.lr_generator == 2e-3
    assert (runs[1].network.generator.hidden, runs[1].network.discriminator.features) == (64, 32)
