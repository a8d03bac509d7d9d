"""Real clips of `shapes`, spoilt more and more: every figure gets worse with what it claims in suite.py to see."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from made_runs import render

from vgan.evaluation import metrics, neighbours, sliced, temporal
from vgan.evaluation.classifier import two_sample_accuracy
from vgan.evaluation.features import Embedding
from vgan.evaluation.space import Space
from vgan.evaluation.suite import FIGURES, compare
from vgan.evaluation.views import Views, look

NUM, FRAMES, SIZE = 80, 8, 16
DRAWS = 6

Clips = np.ndarray
Spoil = Callable[[Clips, float], Clips]


def noisy(clips: Clips, deviation: float) -> Clips:
    normal = np.random.default_rng(0).standard_normal(clips.shape)
    return np.clip(np.rint(clips + deviation * normal), 0, 255).astype(np.uint8)


def blurred(clips: Clips, side: float) -> Clips:
    n, w = SIZE // int(side), int(side)
    squares = clips.reshape(NUM, FRAMES, n, w, n, w, 3)
    means = np.rint(squares.mean((3, 5), keepdims=True)).astype(np.uint8)
    return np.broadcast_to(means, squares.shape).reshape(clips.shape)


def frozen(clips: Clips, share: float) -> Clips:
    """The last frames stand still."""
    last = FRAMES - 1 - round(share * (FRAMES - 1))
    return clips[:, np.minimum(np.arange(FRAMES), last)]


def shuffled(clips: Clips, share: float) -> Clips:
    """So many of the clips have their frames in a random order."""
    rng = np.random.default_rng(0)
    result, chosen = clips.copy(), rng.permutation(NUM)[: round(share * NUM)]
    orders = np.stack([rng.permutation(FRAMES) for _ in range(NUM)])
    result[chosen] = clips[chosen[:, None], orders[chosen]]
    return result


def copied(clips: Clips, share: float) -> Clips:
    """So many of the clips are training clips."""
    result = clips.copy()
    result[: round(share * NUM)] = training()[: round(share * NUM)]
    return result


def training() -> Clips:
    return render(NUM, seed=7, frames=FRAMES, size=SIZE)[0]


LADDERS: dict[str, tuple[Spoil, tuple[float, ...]]] = {
    "noise": (noisy, (6, 15, 40)),
    "blurred": (blurred, (2, 4, 8)),
    "frozen": (frozen, (0.4, 0.7)),  # of a still picture see below
    "shuffled": (shuffled, (0.35, 0.7, 1)),
    "copied": (copied, (0.3, 0.6, 0.9)),
}


class Judge:
    """All figures of spoilt clips beside unspoilt ones, averaged over a few choices of halves."""

    def __init__(self) -> None:
        self.clips, self.labels = render(NUM, frames=FRAMES, size=SIZE)
        raw, train = look(self.clips, 0), look(training(), 0)
        self.space = Space.fit(Embedding(raw["clip"], raw["motion"]), 2)
        self.train = self.space.bare(Embedding(train["clip"], train["motion"]))
        self.real = self.space.place(raw, self.labels, self.train)
        self.known: dict[tuple[str, float], dict[str, float]] = {}
        self.floor = self.against(self.real)

    def __call__(self, spoiler: str, strength: float) -> dict[str, float]:
        if (spoiler, strength) not in self.known:
            views = look(LADDERS[spoiler][0](self.clips, strength), 0)
            self.known[spoiler, strength] = self.against(self.space.place(views, self.labels, self.train))
        return self.known[spoiler, strength]

    def mislabelled(self) -> dict[str, float]:
        return self.against(self.space.place(look(self.clips, 0), 1 - self.labels, self.train))

    def against(self, spoilt: Views) -> dict[str, float]:
        drawn: list[dict[str, float]] = []
        for seed in range(DRAWS):
            order = np.random.default_rng(seed).permutation(NUM)
            drawn.append(compare(self.real.take(order[: NUM // 2]), spoilt.take(order[NUM // 2 :]), seed))
        return {name: float(np.mean([figures[name] for figures in drawn])) for name in drawn[0]}


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge()


CLAIMS = [(figure, spoiler) for figure in FIGURES for spoiler in LADDERS if spoiler in figure.sees]


@pytest.mark.parametrize(("figure", "spoiler"), CLAIMS, ids=[f"{figure.name}-{spoiler}" for figure, spoiler in CLAIMS])
def test_a_figure_gets_worse_and_worse_with_what_it_sees(judge, figure, spoiler):
    ladder = [judge.floor, *(judge(spoiler, strength) for strength in LADDERS[spoiler][1])]
    badness = [step[figure.name] * (1 if figure.better == "lower" else -1) for step in ladder]
    assert badness == sorted(badness), "more damage must not look better"
    assert badness[0] < badness[-1]


@pytest.mark.parametrize("figure", [f for f in FIGURES if "frozen" in f.sees], ids=lambda figure: figure.name)
def test_a_still_picture_is_worse_than_a_moving_clip(judge, figure):
    """Not necessarily worse than half a still one, which is as unlike any clip."""
    still, moving = judge("frozen", 1.0)[figure.name], judge.floor[figure.name]
    assert still > moving if figure.better == "lower" else still < moving


def test_figures_that_claim_so_see_clips_under_the_wrong_label(judge):
    wrong = judge.mislabelled()
    for figure in FIGURES:
        if "mislabelled" in figure.sees:
            worse = wrong[figure.name] - judge.floor[figure.name]
            assert worse > 0 if figure.better == "lower" else worse < 0, figure.name


def test_memorisation_alone_claims_to_see_copies():
    assert {figure.name for figure in FIGURES if "copied" in figure.sees} == {"memorisation"}


FUNCTIONS: dict[str, Callable[..., object]] = {
    "frechet": metrics.frechet,
    "kernel": metrics.polynomial_distance,
    "motion": metrics.kernel_distance,
    **dict.fromkeys(("precision", "recall", "density", "coverage"), metrics.neighbourhoods),
    **{f"sliced_{kind}": sliced.sliced_wasserstein for kind in sliced.KINDS},
    "classifier": two_sample_accuracy,
    "neighbour": neighbours.nearest_neighbour_accuracy,
    "memorisation": neighbours.memorisation,
    "motion_size": temporal.motion_size_gap,
    "motion_direction": temporal.motion_direction_gap,
    "flicker": temporal.flicker_gap,
}
WORDS = {
    "noise": "noise",
    "blurred": "blur",
    "frozen": "frozen",
    "shuffled": "shuffled",
    "mislabelled": "label",
    "copied": "memorised",
}


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.name)
def test_what_a_figure_does_not_claim_to_see_its_docstring_names(figure):
    text = FUNCTIONS[figure.name].__doc__ or ""
    unnamed = {word for spoiler, word in WORDS.items() if spoiler not in figure.sees and word not in text}
    assert not unnamed
