"""What each figure means, in words for the report and the model card."""

from __future__ import annotations

METRICS: dict[str, tuple[str, str]] = {
    "frechet": (
        "Fréchet distance",
        "Distance between Gaussians fitted to real and generated clips in a fixed random 3D convolutional "
        "embedding. Not FVD. Does not see copied training clips.",
    ),
    "motion": (
        "Motion distance",
        "Unbiased kernel distance between the frame differences of real and generated clips, 0 to 2. "
        "Sees frozen and shuffled clips; sees little of still content.",
    ),
    "precision": ("Precision", "Share of generated clips that lie among real ones."),
    "recall": ("Recall", "Share of real clips that lie among generated ones."),
    "density": ("Density", "How densely real clips surround generated ones; real clips have about 1."),
    "coverage": ("Coverage", "Share of real clips that have a generated clip as near as a real one."),
}

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
}


def figure(value: float) -> str:
    """A number for a table, with about three digits that count."""
    size = abs(value)
    return f"{value:,.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.{2 if size >= 1 else 3}f}"
