"""`deterministic`: only operations that give the same bits again."""

from __future__ import annotations

import os

import torch

CUBLAS = ":4096:8"  # buffers with which cuBLAS gives the same bits again (its documentation, "Results reproducibility")


def make_deterministic() -> None:
    """Ask torch, cuDNN and cuBLAS for it, in this process from now on; before the first use of a GPU.

    An operation that has no such form raises RuntimeError when it is used. Autotuning of
    convolutions is off, since what is fastest differs from start to start.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", CUBLAS)
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
