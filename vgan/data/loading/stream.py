"""The shards of a version as a webdataset pipeline, for whoever trains something else on them.

What one would otherwise find out by trying: `shards/` holds those of all kept versions, so names come from the
manifest; webdataset's own `.decode()` runs pickles that a shard may hold, so members are decoded by `formats` and
any other member is refused; a split of fewer shards than ranks or workers is no error. vgan's own training reads
by index (`loader`), which shuffles all clips and resumes exactly.
"""

from __future__ import annotations

import importlib
import json
from typing import Any

import numpy as np

from ...errors import CorruptDataError
from ...records import Split
from ...workspace import Workspace
from ..buckets.published import ensure_local
from ..manifest import load_dataset
from ..shards.formats import Kind, decode_clip
from ..shards.tar_index import corrupt, index_shard


def open_stream(
    workspace: Workspace, name: str, split: Split = "train", *, version: str | None = None, shuffle: int = 0
) -> Any:
    """A `webdataset.WebDataset` over one split; iterate over it, or chain `.batched(...)` and the like.

    Args:
        workspace: where the dataset lies; shards that lie on a bucket are fetched.
        name: of the dataset.
        split: "train" or "heldout".
        version: digest of a kept version; None takes the current one.
        shuffle: clips in the shuffle buffer, and shards in another order each epoch; 0 keeps the order.

    Returns:
        samples: {"__key__": str, "clip": uint8 [3, T, H, W], "label": place in the version's `labels` (0 without
        labels), "about": dict of the clip's .json}.

    Raises:
        ConfigError: there is no such dataset or version.
        CorruptDataError: a shard is missing, or holds anything but clips; later, a clip that is damaged.
    """
    # It imports torch, which takes a second.
    webdataset: Any = importlib.import_module("webdataset")
    dataset = load_dataset(workspace, name, version)
    ensure_local(workspace, dataset, split)
    folder, config = workspace.dataset(name), dataset.config
    paths = [folder.shards / shard.file for shard in dataset.shards if shard.split == split]
    for path in paths:
        if not path.is_file():
            raise corrupt(path, "it is missing")
        index_shard(path)
    shape_CTHW = (3, config.frames, config.height, config.width)
    places = {label: place for place, label in enumerate(dataset.labels)}

    def decoded(sample: dict[str, Any]) -> dict[str, Any]:
        return _decoded(sample, config.stored_format, shape_CTHW, places)

    pipeline: Any = webdataset.WebDataset(
        [str(path) for path in paths],  # a list: braces in a single text are a pattern
        shardshuffle=len(paths) if shuffle else False,
        nodesplitter=webdataset.split_by_node,
        empty_check=False,
    )
    return (pipeline.shuffle(shuffle) if shuffle else pipeline).map(decoded)


def _decoded(sample: dict[str, Any], kind: Kind, shape_CTHW: tuple[int, ...], places: dict[str, int]) -> dict[str, Any]:
    if kind not in sample or "json" not in sample:
        raise CorruptDataError(
            f"clip {sample['__key__']} of {sample.get('__url__', 'a shard')} has no .{kind} or no .json.",
            hint="Run ingest again: it writes damaged shards anew.",
        )
    clip_CTHW = np.empty(shape_CTHW, np.uint8)
    decode_clip(sample[kind], kind, clip_CTHW)
    about: dict[str, Any] = json.loads(sample["json"])
    label = places.get(about.get("label") or "", 0)
    return {"__key__": sample["__key__"], "clip": clip_CTHW, "label": label, "about": about}
