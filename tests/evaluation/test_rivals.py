"""Promises of a comparison: figures side by side only where they may be, and clips that belong together in pairs."""

from __future__ import annotations

import numpy as np
import pytest

from vgan.config import EvaluateConfig
from vgan.errors import ConfigError
from vgan.evaluation import rivals
from vgan.evaluation.side_by_side import film, heading, matched, shared_classes
from vgan.media.encode import GUTTER
from vgan.records import Evaluation, Metric


def metric(name: str, draws: tuple[float, ...], better: str = "lower") -> Metric:
    return Metric(
        name=name, value=float(np.mean(draws)), low=min(draws), high=max(draws), floor=0.0, controls={}, score=None,
        draws=draws, better=better, real_clips=8, fake_clips=8,
    )  # fmt: skip


def evaluation(*metrics: Metric, **fields: object) -> Evaluation:
    plain: dict = {
        "run": "toys-1", "weights_sha256": "w", "dataset": "toys", "dataset_digest": "d" * 64,
        "config": EvaluateConfig(), "protocol": "p", "heldout_clips": 8, "generated_clips": 8, "metrics": metrics,
        "probes": {}, "probes_real": {}, "finite": True, "diversity": 1.0, "primary": "frechet", "guards": (),
    }  # fmt: skip
    return Evaluation(**(plain | fields))


def test_who_is_ahead_is_told_beyond_the_interval_of_the_paired_difference_only() -> None:
    rng = np.random.default_rng(0)
    halves = rng.normal(10, 3, 50)  # how hard each half of the real clips is, for both
    first = metric("frechet", tuple(halves))
    closely = metric("frechet", tuple(halves + rng.normal(0.5, 0.1, 50)))
    (row,) = rivals.rows(evaluation(first), evaluation(closely))
    assert row.ahead == "first", "a small difference in every draw is seen through their common spread"
    assert rivals.rows(evaluation(closely), evaluation(first))[0].ahead == "second"
    unclear = metric("frechet", tuple(halves + rng.normal(0, 1, 50)))
    assert rivals.rows(evaluation(first), evaluation(unclear))[0].ahead is None
    higher = metric("recall", tuple(halves), "higher"), metric("recall", tuple(halves + 0.5), "higher")
    assert rivals.rows(evaluation(higher[0]), evaluation(higher[1]))[0].ahead == "second"


def test_only_figures_that_both_have_are_compared() -> None:
    one, other = metric("frechet", (1.0, 2.0)), metric("fvd2048_16f", (1.0, 2.0))
    assert [row.name for row in rivals.rows(evaluation(other, one), evaluation(one))] == ["frechet"]
    assert rivals.rows(evaluation(one), evaluation(metric("frechet", (1.0,))))[0].ahead is None


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"dataset_digest": "e" * 64}, "other clips: toys dddddddddddd and toys eeeeeeeeeeee"),
        ({"protocol": "q"}, "other protocols: p and q"),
        ({"config": EvaluateConfig(clips=64)}, "clips 512 and 64"),
        ({"config": EvaluateConfig(seed=3)}, "seed 0 and 3"),
    ],
)
def test_why_figures_are_not_comparable_is_said(fields: dict, said: str) -> None:
    assert rivals.differences(evaluation(), evaluation()) == ()
    (reason,) = rivals.differences(evaluation(), evaluation(**fields))
    assert said in reason


def test_classes_are_paired_by_name() -> None:
    assert shared_classes(("left", "up"), ("down", "up", "left")) == [(0, 2), (1, 1)]
    assert shared_classes(("left", "up"), ()) == [(0, None), (1, None)]
    assert shared_classes((), ()) == [(None, None)]
    with pytest.raises(ConfigError, match="no class in common"):
        shared_classes(("left",), ("up",))


def test_clips_of_other_size_length_and_rate_are_shown_at_the_same_time() -> None:
    slow = np.broadcast_to(np.arange(4, dtype=np.uint8)[:, None, None, None], (4, 32, 32, 3))  # half a second
    fast = np.broadcast_to(np.arange(16, dtype=np.uint8)[:, None, None, None], (16, 64, 48, 3))  # a second
    pairs, rate = matched([slow], [fast], (8.0, 16.0))
    assert (pairs.shape, rate) == ((1, 2, 16, 64, 64, 3), 16.0)
    assert pairs[0, 0, :, 32, 32, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3] + [3] * 8
    assert pairs[0, 1, :, 32, 32, 0].tolist() == list(range(16))
    assert (pairs[0, 1, :, :, :8] == GUTTER).all() and (pairs[0, 1, 0, :, 8:56] == 0).all()


@pytest.mark.parametrize("num", [1, 3, 8])
def test_the_film_shows_every_pair_whole_with_the_first_model_on_the_left(num: int) -> None:
    values = np.arange(2 * num, dtype=np.uint8).reshape(num, 2) + 100
    pairs = np.broadcast_to(values[:, :, None, None, None, None], (num, 2, 4, 64, 64, 3))
    frames = film(pairs, ("toys/1", "toys/2"))
    assert frames.shape[0] == 4 and frames.shape[1] % 2 == frames.shape[2] % 2 == 0
    for first, second in values:
        places = [np.argwhere(frames[0, :, :, 0] == value) for value in (first, second)]
        assert len(places[0]) == len(places[1]) == 64 * 64
        assert (places[0][:, 0] == places[1][:, 0]).all()
        assert places[0][:, 1].max() < places[1][:, 1].min()


def test_the_heading_names_both_and_survives_any_name() -> None:
    said = heading(("toys/1", "toys/2"), 200)
    assert said.shape[1] == 200 and (said != heading(("toys/1", "toys/3"), 200)).any()
    assert heading(("\N{SNOWMAN}\n<script>" * 50, ""), 64).shape[1] == 64
