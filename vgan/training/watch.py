"""Looks at a run now and then: has it collapsed, does it copy, can it still be told from the real?

A look takes clips of the averaged generator, always from the same latents, and compares them by
their gist (gist.py) with training and held-out clips. What it finds goes into metrics.jsonl:

sample_diversity         mean distance between generated clips of one class over that of training clips: about 1 is
                         as various as the data, 0 always the same clip
nearest_sample_ratio     distance of generated clips to the nearest other one of their class over that of as many
                         training clips: near 0 when a few clips come again and again
nearest_neighbour_ratio  distance of generated clips to the nearest training clip over that of held-out clips:
                         below .5 the generator copies
collapsed_looks          looks in a row that found one of the first two too low
two_sample_accuracy      and _low, _high: how often a classifier tells generated from held-out clips (two_sample.py)

When to look depends on the budget alone, so a resumed run writes the same lines.

Shapes: N clips, D features.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..data.buckets.published import ensure_local
from ..data.loading.loader import ClipSet, Indices
from ..data.manifest import plain_batches
from ..errors import ConfigError, DivergedError
from ..models.interface import Generator
from ..records import Dataset
from ..workspace import DatasetFolder, Workspace
from .gist import distances, generated_clips, gist, real_clips
from .plan import RunBudget, RunConfig
from .step import step_seed
from .streaks import Streaks
from .two_sample import LEAST_CLIPS, MOST_CLIPS, Verdict, features, two_sample_test

log = logging.getLogger(__name__)
Names = npt.NDArray[np.str_]

LOOKS = 40  # over the whole budget, at most
LOOK_EVERY_CLIPS = 768  # at least: a look costs about as much as training on 5 clips
CLIPS = 32  # generated at a look
CLASSES = 4  # of which they are, at most
SEED = 20_260_918
TRAINING_CLIPS = 2048  # among which the nearest one is searched, at most
HELDOUT_CLIPS = 256
SPREAD_CLIPS = 64  # of one class, whose distances say how various the training clips are

# A sample_diversity or nearest_sample_ratio below it. Collapsed runs measured 0.00, healthy ones of `shapes`
# .56 and more from 768 clips on, ones with networks too weak for it .15 and more.
COLLAPSED = 0.1
COLLAPSED_LOOKS = 3  # in a row
WARMUP = 0.15  # share of the budget in which nothing counts as collapsed: the average starts as one grey clip
WARMUP_CLIPS = 1000  # likewise, at least
COPIES = 0.5  # a nearest_neighbour_ratio below it
VARIOUS = 0.5  # a sample_diversity above which clips can be copies

TEST_EVERY_LOOKS = 2
TEST_FROM = 0.25  # share of the budget
TESTS_PASSED = 2  # in a row, that end a run


class Watch:
    """What the looks of one run need, read once.

    Args:
        config: of the run.
        budget: of the run.
        train: its training clips.
        heldout: its held-out clips; may be none, then nothing is compared with them.
        group_of: content group of each video, by the first 16 digits of its digest.
        device: where the generator is.

    Raises:
        ConfigError: the run is to stop when held-out clips cannot be told from generated ones, and has too few.
    """

    def __init__(
        self,
        config: RunConfig,
        budget: RunBudget,
        train: ClipSet,
        heldout: ClipSet,
        group_of: Mapping[str, str],
        device: torch.device,
    ) -> None:
        self.config, self.budget, self.heldout, self.device = config, budget, heldout, device
        self.heldout_independent = first_of_each(_groups(heldout, group_of))
        self._heldout_features: Tensor | None = None
        if config.config.stop_when_indistinguishable:
            check_heldout(config.dataset, len(self.heldout_independent))
        self._read(train, _groups(train, group_of))

    def _read(self, train: ClipSet, groups: Names) -> None:
        self.training_ND = self._gists(train, evenly(len(train), TRAINING_CLIPS))
        heldout_ND = self._gists(self.heldout, evenly(len(self.heldout), HELDOUT_CLIPS))
        self.heldout_nearest = _nearest(heldout_ND, self.training_ND) if len(heldout_ND) else 0.0
        self.spreads: dict[int, float] = {}
        gists: dict[int, Tensor] = {}
        classes = range(len(self.config.labels)) if self.config.labels else [0]
        for label in classes:
            members = np.flatnonzero(train.labels == label)
            one_a_group = members[first_of_each(groups[members])]
            chosen = one_a_group if len(one_a_group) > 1 else members
            gist_ND = self._gists(train, chosen[evenly(len(chosen), SPREAD_CLIPS)])
            if (spread := _spread(gist_ND)) > 0:
                self.spreads[label], gists[label] = spread, gist_ND
            if len(self.spreads) == CLASSES:
                break
        each = CLIPS // max(1, len(self.spreads))
        self.labels_N = np.repeat(np.asarray(list(self.spreads) or [0], np.int64), each)
        # The more clips, the nearer the nearest: as many are compared.
        self.counts = {label: min(each, len(gist_ND)) for label, gist_ND in gists.items()}
        self.apart = sum(_apart(gist_ND[:each]) for gist_ND in gists.values())

    def _gists(self, clips: ClipSet, indices: Indices) -> Tensor:
        parts = [gist(video_BCTHW) for video_BCTHW in real_clips(clips, indices, self.device)]
        return torch.cat(parts) if parts else torch.empty(0, 0)

    def due(self, step: int) -> bool:
        """Whether to look after this many steps."""
        return look_due(self.config, self.budget, step)

    def look(self, average: Generator, streaks: Streaks, step: int) -> dict[str, float]:
        """Look at the averaged generator after `step` steps, count in `streaks`, and return the figures."""
        figures = self.compare(average)
        share = step / self.budget.steps
        warm = share >= WARMUP and step * self.config.recipe.batch >= WARMUP_CLIPS
        collapsed = warm and _diversity(figures) < COLLAPSED
        streaks.count(streaks.collapsed, collapsed)
        figures["collapsed_looks"] = int(streaks.collapsed)
        due = (step // look_every(self.config, self.budget)) % TEST_EVERY_LOOKS == 0 or step == self.budget.steps
        if self.config.config.stop_when_indistinguishable and due and share >= TEST_FROM:
            verdict = self.test(average, step)
            streaks.count(streaks.indistinguishable, verdict.indistinguishable)
            figures["two_sample_accuracy"] = verdict.accuracy
            figures |= {"two_sample_low": verdict.low, "two_sample_high": verdict.high}
        return figures

    def compare(self, average: Generator) -> dict[str, float]:
        """Diversity and nearest-neighbour ratio, each where the data allow it."""
        labels_N = self.labels_N if self.config.labels else None
        clips = generated_clips(average, labels_N, len(self.labels_N), SEED)
        fake_ND = torch.cat([gist(video_BCTHW) for video_BCTHW in clips])
        figures: dict[str, float] = {}
        of_class = {label: fake_ND[torch.as_tensor(self.labels_N == label)] for label in self.spreads}
        if self.spreads:
            spread = sum(_spread(gist_ND) for gist_ND in of_class.values())
            figures["sample_diversity"] = spread / sum(self.spreads.values())
        if self.apart > 0:
            apart = sum(_apart(gist_ND[: self.counts[label]]) for label, gist_ND in of_class.items())
            figures["nearest_sample_ratio"] = apart / self.apart
        if self.heldout_nearest > 0:
            figures["nearest_neighbour_ratio"] = _nearest(fake_ND, self.training_ND) / self.heldout_nearest
        return figures

    def test(self, average: Generator, step: int) -> Verdict:
        """The held-out two-sample test; other latents at each step, so that two tests are two witnesses."""
        chosen = self.heldout_independent[evenly(len(self.heldout_independent), MOST_CLIPS)]
        if self._heldout_features is None:
            self._heldout_features = torch.cat(
                [features(video_BCTHW) for video_BCTHW in real_clips(self.heldout, chosen, self.device)]
            )
        labels_N = self.heldout.labels[chosen]
        seed = step_seed(self.config.config.seed, step, "two-sample")
        clips = generated_clips(average, labels_N if self.config.labels else None, len(chosen), seed)
        fake_ND = torch.cat([features(video_BCTHW) for video_BCTHW in clips])
        return two_sample_test(self._heldout_features, fake_ND, labels_N, seed)

    def tell(self, figures: Mapping[str, float], step: int) -> None:
        """Say when a look found a collapse; raises DivergedError when the run is to stop then."""
        if figures["collapsed_looks"] < COLLAPSED_LOOKS:
            return
        said = collapse_message(_diversity(figures))
        if not self.config.config.stop_on_collapse:
            log.warning("step %d of %d: %s", step, self.budget.steps, said)
            return
        raise DivergedError(
            f"at step {step} of {self.budget.steps} {said}, and {COLLAPSED_LOOKS} looks in a row have found that.",
            hint="Train with another --seed, a larger --batch or a longer --budget, or without --stop-on-collapse to "
            "see whether it recovers; the last checkpoint is kept.",
        )

    def warnings(self, average: Generator, streaks: Streaks) -> tuple[str, ...]:
        """What a user of the trained generator must know."""
        figures = self.compare(average)
        warnings: list[str] = []
        if int(streaks.collapsed) >= COLLAPSED_LOOKS:
            warnings.append(collapse_message(_diversity(figures)))
        ratio = figures.get("nearest_neighbour_ratio", 1.0)
        # Grey clips are near to everything, and no copies.
        if ratio < COPIES and figures.get("sample_diversity", 1.0) >= VARIOUS:
            warnings.append(
                f"the generator may copy: its clips are {ratio:.2f} times as far from the nearest training clip as "
                "held-out clips are"
            )
        return tuple(warnings)


def open_watch(
    workspace: Workspace, dataset: Dataset, config: RunConfig, budget: RunBudget, train: ClipSet, device: torch.device
) -> Watch:
    """The watch of a run on a dataset version; raises ConfigError as Watch does."""
    folder = workspace.dataset(dataset.name)
    ensure_local(workspace, dataset, "heldout")
    heldout = ClipSet(folder, dataset, "heldout", check=False)
    return Watch(config, budget, train, heldout, groups_of_videos(folder, dataset), device)


def check_heldout(name: str, independent: int) -> None:
    """Raise ConfigError when dataset `name` has too few independent held-out videos for the two-sample test."""
    if independent < LEAST_CLIPS:
        raise ConfigError(
            f"stop_when_indistinguishable needs {LEAST_CLIPS} independent held-out videos, and {name} has "
            f"{independent} (videos of one content group count once).",
            hint="Ingest more videos, hold out a larger share, or train without --stop-when-indistinguishable.",
        )


def ended(config: RunConfig, streaks: Streaks) -> bool:
    """Whether a run is over before its budget is used up: its clips cannot be told from held-out ones."""
    return config.config.stop_when_indistinguishable and int(streaks.indistinguishable) >= TESTS_PASSED


def look_every(config: RunConfig, budget: RunBudget) -> int:
    """Steps between two looks."""
    return max(math.ceil(budget.steps / LOOKS), math.ceil(LOOK_EVERY_CLIPS / config.recipe.batch))


def look_due(config: RunConfig, budget: RunBudget, step: int) -> bool:
    """Whether a run is looked at after this many steps: now and then, and at its end."""
    return step % look_every(config, budget) == 0 or step == budget.steps


def _diversity(figures: Mapping[str, float]) -> float:
    """The smaller of the two figures of diversity; 1 where the data allow neither."""
    return min(figures.get("sample_diversity", 1.0), figures.get("nearest_sample_ratio", 1.0))


def collapse_message(diversity: float) -> str:
    """What a collapse is, with its figure."""
    return (
        f"the generator has collapsed to a few clips: those of a class differ {diversity:.2f} times as much as "
        "training clips do"
    )


def groups_of_videos(folder: DatasetFolder, dataset: Dataset) -> dict[str, str]:
    """Content group of each video, by the first 16 digits of its digest, which begin the keys of its clips."""
    batches = plain_batches(folder, dataset)
    return {video["digest_sha256"][:16]: video["group"] for batch in batches for video in batch["videos"]}


def _groups(clips: ClipSet, group_of: Mapping[str, str]) -> Names:
    return np.asarray([group_of[key[:16]] for key in clips.keys], np.str_)


def first_of_each(groups_N: Names) -> Indices:
    """Place of the first clip of each group, in order."""
    return np.sort(np.unique(groups_N, return_index=True)[1]).astype(np.int64)


def evenly(num: int, most: int) -> Indices:
    """At most `most` of `num` places, evenly spread."""
    return np.arange(num, dtype=np.int64) if num <= most else np.arange(most, dtype=np.int64) * num // most


def _spread(gist_ND: Tensor) -> float:
    """Mean distance between two different clips; 0 for fewer than two."""
    num = len(gist_ND)
    return float(distances(gist_ND, gist_ND).sum()) / (num * (num - 1)) if num > 1 else 0.0


def _apart(gist_ND: Tensor) -> float:
    """Mean distance of a clip to the nearest other one; 0 for fewer than two."""
    if len(gist_ND) < 2:
        return 0.0
    return float((distances(gist_ND, gist_ND) + torch.eye(len(gist_ND)) * 1e9).amin(1).mean())


def _nearest(one_ND: Tensor, other_ND: Tensor) -> float:
    """Mean distance to the nearest of the others."""
    return float(distances(one_ND, other_ND).amin(1).mean())
