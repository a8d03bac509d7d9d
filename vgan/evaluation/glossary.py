"""What each figure, control and curve means, in words for the report, the model card and the terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..records import Metric

METRICS: dict[str, tuple[str, str]] = {
    "frechet": (
        "Fréchet distance",
        "Distance between Gaussians fitted to real and generated clips in a fixed random 3D convolutional embedding. "
        "Sees looks, motion and class together; does not see copied training clips. Not FVD.",
    ),
    "kernel": (
        "Kernel distance",
        "Unbiased cubic-polynomial discrepancy in the same embedding, about 0 for real clips. Sees what the Fréchet "
        "distance sees without taking the clips for Gaussian; does not see copied training clips.",
    ),
    "motion": (
        "Motion distance",
        "Unbiased kernel distance between the frame differences of real and generated clips, 0 to 2. "
        "Sees frozen and shuffled clips; sees little of still content.",
    ),
    "precision": (
        "Precision",
        "Share of generated clips that lie among real ones. Sees bad clips; does not see how few kinds there are.",
    ),
    "recall": (
        "Recall",
        "Share of real clips that lie among generated ones. Sees what is left out; does not see bad clips.",
    ),
    "density": (
        "Density",
        "How densely real clips surround generated ones, about 1 for real clips. Sees bad clips more calmly than "
        "precision; does not see what is left out, and goes above 1 for a few typical clips made again and again.",
    ),
    "coverage": (
        "Coverage",
        "Share of real clips that have a generated clip as near as a real one. Sees what is left out; does not see "
        "bad clips beside good ones.",
    ),
    "classifier": (
        "Classifier test",
        "How often a small trained classifier tells generated from real clips that it has not seen; 0.5 is guessing. "
        "Sees whatever the embedding shows of the difference; does not say how large it is, and does not see copied "
        "training clips.",
    ),
    "neighbour": (
        "Nearest-neighbour test",
        "How often the nearest other clip is of the same kind, real or generated; 0.5 is best. Sees local differences; "
        "below 0.5, clips sit on single real ones. Does not see how far off clips are, or copied training clips.",
    ),
    "memorisation": (
        "Memorisation ratio",
        "Distance of generated clips to their nearest training clip over that of held-out clips to theirs, at most 1: "
        "1 is right, near 0 is copying. Sees that most clips are copies; does not see a few copies among many, copied "
        "parts or mirrored copies, and says nothing of quality.",
    ),
    "sliced_frames": (
        "Patches of frames",
        "Sliced Wasserstein distance between small patches of single frames. Sees texture, colour and sharpness; does "
        "not see motion or what is where.",
    ),
    "sliced_xt": (
        "Sideways motion",
        "Sliced Wasserstein distance between patches of rows followed through time. Sees speed and smoothness from "
        "side to side; does not see what is where.",
    ),
    "sliced_yt": (
        "Vertical motion",
        "Sliced Wasserstein distance between patches of columns followed through time. Sees speed and smoothness up "
        "and down; does not see what is where.",
    ),
    "sliced_changes": (
        "Patches of changes",
        "Sliced Wasserstein distance between patches of the differences of frames. Sees how edges move; does not see "
        "anything that stands still.",
    ),
    "motion_size": (
        "Size of motion",
        "Gap between how much real and generated clips change from frame to frame, in levels. Sees frozen, shuffled "
        "and hectic clips; does not see where anything moves to.",
    ),
    "motion_direction": (
        "Direction of motion",
        "Gap between the histograms of flow directions of real and generated clips, 0 to 1. Sees which ways things "
        "move; does not see how fast, what they look like, or which class moves which way.",
    ),
    "flicker": (
        "Flicker",
        "Gap between how unsteadily the brightness of real and generated clips changes, in levels. Sees flicker and "
        "noise; does not see still or shuffled clips whose brightness is constant, or where anything moves.",
    ),
}
GROUPS: dict[str, tuple[str, ...]] = {
    "Overall": ("frechet", "kernel", "motion", "fvd", "kvd"),
    "Can they be told apart?": ("classifier", "neighbour"),
    "Good clips, and all kinds of them": ("precision", "recall", "density", "coverage"),
    "Copies": ("memorisation",),
    "Texture and motion": (
        *("sliced_frames", "sliced_xt", "sliced_yt", "sliced_changes"),
        *("motion_size", "motion_direction", "flicker"),
    ),
}
OTHERS = "Others"
_OF_THE_FIELD = re.compile(r"(fvd|kvd)(\d+)_(\d+)f")

PROBES: dict[str, tuple[str, str]] = {
    "direction": ("Direction", "Share of clips that move the way of their class."),
    "speed": ("Direction and speed", "Share of clips that also move as far as real ones."),
    "one_object": ("One object", "Share of frames with one compact object of a plausible size."),
    "background": ("Background", "Mean brightness around the object, 0 to 255; 0 is black."),
    "colour_drift": ("Colour drift", "How far the colour strays within a clip, 0 to 255; 0 is constant."),
    "purity": ("Shape purity", "Overlap with the ideal square or disc, 0 to 1."),
    "kinds": ("Squares and discs", "Share of clips that are as plainly a square or a disc as real ones."),
    "cells": ("Kinds covered", "Share of the kinds of real clips (class, colour, shape, size) that appear."),
}

CONTROLS: dict[str, str] = {
    "frozen": "still",
    "shuffled": "frames shuffled",
    "noise": "noise added",
    "blurred": "blurred",
    "mislabelled": "wrong class",
    "copied": "training clips copied",
}


@dataclass(frozen=True)
class Curve:
    """One small plot of training: which numbers of metrics.jsonl it shows, and what is normal."""

    title: str
    normal: str
    series: Mapping[str, str]  # what each number is called in the plot, by its name in metrics.jsonl
    level: float | None = None  # where a dashed line is drawn
    always: bool = True  # False: only when a number other than 0 is there


CURVES = (
    Curve(
        "Losses",
        "Both would be 0.69 (dashed) if real and generated clips could not be told apart. Uneven but level is normal; "
        "a discriminator's near 0 with a generator's that climbs to the end is not.",
        {"loss_d": "discriminator", "loss_g": "generator"},
        level=0.693,
    ),
    Curve(
        "Discriminator's gap",
        "How much higher real clips are rated than generated ones; 0 means that they look the same. It rises at first "
        "and should then level out.",
        {"gap": "real minus generated"},
        level=0.0,
    ),
    Curve(
        "Pairs told apart",
        "Share of pairs that the discriminator puts in the right order: 0.5 (dashed) is guessing. After the first "
        "tenth 0.5 to 0.8 is normal; always 1 means that all clips share a fault, or, with little data, that it learns "
        "clips by heart.",
        {"told_apart": "pairs in the right order"},
        level=0.5,
    ),
    Curve(
        "Gradient penalties",
        "Squared slopes of the discriminator, which the penalties keep small. They should stay level, and about equal.",
        {"r1": "at real clips", "r2": "at generated clips"},
    ),
    Curve(
        "Lengths of gradients",
        "Before they are shortened. Single spikes are normal; steady growth announces divergence.",
        {"grad_d": "discriminator", "grad_g": "generator"},
    ),
    Curve(
        "Augmentation",
        "How often the discriminator sees shifted or covered clips. 0 while it does not learn them by heart; 0.8 is "
        "the ceiling, and reaching it means that there are too few clips.",
        {"augment_probability": "probability"},
    ),
    Curve(
        "Variety of generated clips",
        "Distances between clips of one class over those of training clips: near 1 (dashed) is right; both from 0.5 up "
        "are healthy, below 0.1 the generator has collapsed.",
        {"sample_diversity": "mean distance", "nearest_sample_ratio": "the two nearest"},
        level=1.0,
    ),
    Curve(
        "Distance to the nearest training clip",
        "Over that of held-out clips: near 1 (dashed) is right, below 0.5 the generator copies.",
        {"nearest_neighbour_ratio": "ratio"},
        level=1.0,
    ),
    Curve(
        "Looks that found a collapse",
        "In a row; three are a collapse.",
        {"collapsed_looks": "looks"},
        always=False,
    ),
    Curve(
        "Told from held-out clips",
        "How often a classifier tells generated from held-out clips, with its interval: 0.5 (dashed) is guessing.",
        {"two_sample_accuracy": "accuracy", "two_sample_low": "at least", "two_sample_high": "at most"},
        level=0.5,
    ),
    Curve(
        "Throughput",
        "Clips per second between two checkpoints. It should be level; a fall means that something else took the "
        "machine.",
        {"clips_per_second": "clips per second"},
    ),
    Curve("Step size", "As planned: level, then down to 0 over the last third.", {"lr": "of the generator"}),
    Curve("Weight of the penalties", "As planned: falling, so that it is strict at first.", {"gamma": "gamma"}),
)


def named(metric: str) -> tuple[str, str]:
    """Title and meaning of a figure, one sentence or two; an unknown one is called by its own name."""
    known = METRICS.get(metric)
    if known is not None:
        return known
    match = _OF_THE_FIELD.fullmatch(metric)
    if match is None:
        return metric, ""
    kind, count, frames = match.groups()
    what = "Fréchet" if kind == "fvd" else "Unbiased kernel"
    return (
        f"{kind.upper()}, {int(count):,} clips of {frames} frames",
        f"{what} video distance in the action-recognition features of the file that the user supplied. Sees content "
        "that its classes care about; sees spoilt motion less than spoilt pictures, and no copies.",
    )


def group_of(metric: str) -> str:
    """The heading under which a figure stands."""
    match = _OF_THE_FIELD.fullmatch(metric)
    name = match[1] if match else metric
    return next((group for group, names in GROUPS.items() if name in names), OTHERS)


def worst_control(metric: Metric) -> str | None:
    """The control at which the calibrated score is 1; None when no control is worse than real clips."""
    if metric.score is None or not metric.controls:
        return None
    choose = max if metric.better == "lower" else min
    return choose(metric.controls, key=lambda name: metric.controls[name])


def figure(value: float) -> str:
    """A number for a table, with about three digits that count."""
    size = abs(value)
    if 1e-9 < size < 0.0095:  # below is rounding, such as the distance of a copy
        return f"{value:.4f}" if size >= 0.00005 else f"{value:.0e}"
    return f"{value:,.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.{2 if size >= 1 else 3}f}"


def in_order(controls: Iterable[str]) -> list[str]:
    """Names of controls, each once, as people read them: those of CONTROLS first."""
    found = dict.fromkeys(controls)
    return [name for name in CONTROLS if name in found] + [name for name in found if name not in CONTROLS]
