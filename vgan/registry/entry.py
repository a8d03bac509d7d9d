"""The registered model as MLflow loads it; packaged as this source file, so nothing is unpickled.

Input: a data frame with one row and the column `num_videos` (1 to 256).
Params: `seed` (long; clip i uses seed + i), `label` (class name, "" takes the classes in turn),
`output` ("array": uint8 [N, T, H, W, 3]; "mp4": a data frame with columns seed, label, mp4_base64),
`frames` (long; T, 0 takes the trained length, longer clips go on moving to and fro).

It needs mlflow, torch, numpy and safetensors, and ffmpeg and ffmpeg-python for mp4; the code that builds the
network comes with the model and is checked against its hashes before it is imported.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model  # pyright: ignore[reportUnknownVariableType]
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc.model import PythonModel

MAX_VIDEOS = 256
MAX_FRAMES = 4096
OUTPUTS = ("array", "mp4")
Output = npt.NDArray[np.uint8] | pd.DataFrame


def import_verified(folder: Path) -> ModuleType:
    """Import the package's code under a name of its own, after checking every file's hash.

    The name holds the code's hash, so two versions can be loaded in one process, beside an
    installed vgan.
    """
    index = (folder / "package.json").read_bytes()
    listed: dict[str, str] = json.loads(index)["files"]
    present = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} - {"package.json"}
    for name in sorted(present | set(listed)):
        file = folder / name
        if name not in listed or not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != listed[name]:
            raise MlflowException(f"{file} is not as it was registered; refusing to load this model.")
    code = sorted((name, digest) for name, digest in listed.items() if name.startswith("code/"))
    name = "vgan_model_" + hashlib.sha256(repr(code).encode()).hexdigest()[:16]
    if name in sys.modules:
        return sys.modules[name]
    root = folder / "code" / "vgan"
    spec = importlib.util.spec_from_file_location(name, root / "__init__.py", submodule_search_locations=[str(root)])
    assert spec is not None and spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    writes_bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # the folder stays as it was hashed
    sys.modules[name] = package
    try:
        spec.loader.exec_module(package)
        for module, _ in code:
            dotted = module.removeprefix("code/vgan/").removesuffix(".py").replace("/", ".").removesuffix("__init__")
            importlib.import_module(f"{name}.{dotted}".rstrip("."))
    except BaseException:
        for loaded in [key for key in sys.modules if key.split(".")[0] == name]:
            del sys.modules[loaded]
        raise
    finally:
        sys.dont_write_bytecode = writes_bytecode
    return package


class VideoGenerator(PythonModel):
    """Generates clips; same model, seed and label give the same pixels on one machine."""

    def load_context(self, context: Any) -> None:
        """Check and load the package."""
        folder = Path(context.artifacts["generator"])
        self.code = import_verified(folder)
        self.sampler: Any = importlib.import_module(f"{self.code.__name__}.sampling").Sampler(folder)

    def predict(  # pyright: ignore[reportIncompatibleMethodOverride]  (MLflow's own signature says None)
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> Output:
        """Generate `num_videos` clips; see the module's docstring for input, params and output."""
        options = {"seed": 0, "label": "", "output": "array", "frames": 0, **(params or {})}
        num = self._check(model_input, options)
        seed, label = int(options["seed"]), str(options["label"]) or None
        clips_NTHWC: np.ndarray = np.asarray(self.sampler.sample(num, seed, label, int(options["frames"]) or None))
        if options["output"] == "array":
            return clips_NTHWC
        names = [self.sampler.label_name(wish.label) or "" for wish in self.sampler.wishes(num, seed, label)]
        return pd.DataFrame([self._mp4_row(clips_NTHWC[i], seed + i, names[i]) for i in range(num)])

    def _check(self, model_input: pd.DataFrame, options: dict[str, Any]) -> int:
        labels = self.sampler.record.labels
        if len(model_input) != 1 or not 1 <= int(model_input["num_videos"].iloc[0]) <= MAX_VIDEOS:
            raise _refused(f"give one row with num_videos from 1 to {MAX_VIDEOS}")
        if options["output"] not in OUTPUTS:
            raise _refused(f"output {options['output']!r} is not one of {', '.join(OUTPUTS)}")
        if options["label"] and options["label"] not in labels:
            raise _refused(f"label {options['label']!r} is not one of {', '.join(labels) or '(no labels)'}")
        if int(options["seed"]) < 0:
            raise _refused(f"seed {options['seed']} is negative")
        if not 0 <= int(options["frames"]) <= MAX_FRAMES:
            raise _refused(f"frames {options['frames']} is not between 0 and {MAX_FRAMES}")
        return int(model_input["num_videos"].iloc[0])

    def _mp4_row(self, frames_THWC: np.ndarray, seed: int, label: str) -> dict[str, Any]:
        encode = importlib.import_module(f"{self.code.__name__}.media.encode")
        provenance = importlib.import_module(f"{self.code.__name__}.media.provenance")
        record = self.sampler.record
        metadata = provenance.synthetic_metadata(record.dataset, record.run, seed)
        video: bytes = encode.mp4_bytes(frames_THWC, record.fps, metadata)
        return {"seed": seed, "label": label, "mp4_base64": base64.b64encode(video).decode()}


def _refused(why: str) -> MlflowException:
    return MlflowException(f"{why}.", error_code=INVALID_PARAMETER_VALUE)


set_model(VideoGenerator())
