"""The registered model as MLflow loads it; packaged as this source file, so nothing is unpickled.

Input: a data frame with one row and the column `num_videos` (1 to 256).
Params, each with a default:
`seed` (long, 0): clip i uses seed + i;
`to_seed` (long, -1 is off): walk from the clip of `seed` to the clip of this seed, in `num_videos` steps;
`label` (""): class name; "" takes the classes in turn, and for a walk the first;
`frames` (long, 0): length of a clip; 0 takes the trained one, longer clips go on moving to and fro;
`fps` (double, 0): frames per second of a film; 0 takes the data's;
`truncation` (double, 1): above 0, at most 1; smaller means less variety and fewer bad clips, 1 is off;
`output` ("array"): "array" gives pixels, uint8 [N, T, H, W, 3]; "mp4", "gif" or "webm" a data frame with columns seed,
label, <output>_base64, and marking, which says how the film is marked as synthetic;
`codec` ("auto"): of an mp4 or webm: "h264", "h265", "av1" or "vp9".

It needs mlflow, torch, numpy, pandas, pydantic and safetensors, ffmpeg and ffmpeg-python for films, and
c2pa-python to sign them with the certificate that VGAN_C2PA_CERTIFICATE and VGAN_C2PA_KEY name. The code that
builds the network comes with the model and is checked against its hashes before it is imported.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import importlib.util
import json
import logging
import os
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
MAX_FPS = 120
MAX_BYTES = 256 << 20  # of the pixels of one call
FILMS = ("mp4", "gif", "webm")
DEVICE_VARIABLE = "MLFLOW_DEFAULT_PREDICTION_DEVICE"  # MLflow's own
DEFAULTS: dict[str, Any] = {
    **{"seed": 0, "to_seed": -1, "label": "", "frames": 0, "fps": 0.0, "truncation": 1.0},
    **{"output": "array", "codec": "auto"},
}
Output = npt.NDArray[np.uint8] | pd.DataFrame
log = logging.getLogger(__name__)


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
    """Generates clips; same model, params and machine give the same pixels."""

    def load_context(self, context: Any) -> None:
        """Check and load the package; raises MlflowException when it was altered."""
        folder = Path(context.artifacts["generator"])
        self.code = import_verified(folder)
        device = os.environ.get(DEVICE_VARIABLE) or "auto"
        self.sampler: Any = self._module("sampling").Sampler(folder, device)
        self.marking, self.unsigned = self._find_marking()

    def predict(  # pyright: ignore[reportIncompatibleMethodOverride]  (MLflow's own signature says None)
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> Output:
        """Generate `num_videos` clips; see the module's docstring for input, params and output."""
        asked = {**DEFAULTS, **(params or {})}
        try:
            wishes = self._check(model_input, asked)
            encoder = self._encoder(asked)
        except self._module("errors").ConfigError as error:
            raise _refused(str(error)) from error
        frames, truncation = int(asked["frames"]) or None, float(asked["truncation"])
        clips = (self.sampler.make(wish, frames, truncation) for wish in wishes)
        if asked["output"] == "array":
            return np.stack(list(clips))
        rows = (self._film_row(*made, encoder, asked) for made in zip(clips, wishes, strict=True))
        return pd.DataFrame(list(rows))

    def _module(self, name: str) -> ModuleType:
        return importlib.import_module(f"{self.code.__name__}.{name}")

    def _find_marking(self) -> tuple[Any, str]:
        """How films are marked, and why they are not signed; "" when they are."""
        signing, record = self._module("media.signing"), self.sampler.record
        signer, why = None, f"no certificate is named in {signing.CERTIFICATE_VARIABLE}"
        if os.environ.get(signing.CERTIFICATE_VARIABLE) or os.environ.get(signing.KEY_VARIABLE):
            try:
                signer, why = signing.find_signer(), ""
            except self._module("errors").MissingToolError as error:
                why = str(error)
                log.warning("films are not signed: %s", why)
        return self._module("media.marking").Marking(record.dataset, "", record.run, signer=signer), why

    def _marked_by(self, kind: str) -> str:
        """How a film of this kind says that it is synthetic, in words."""
        can = f".{kind}" in self._module("media.signing").MIME
        why = self.unsigned if can else f"{kind} files hold none"
        return "IPTC metadata, watermark, " + (f"no C2PA manifest: {why}" if why else "C2PA manifest")

    def _check(self, model_input: pd.DataFrame, asked: dict[str, Any]) -> list[Any]:
        """The clips to make; raises MlflowException or ConfigError for what cannot be made."""
        record, frames = self.sampler.record, int(asked["frames"])
        if len(model_input) != 1 or not 1 <= int(model_input["num_videos"].iloc[0]) <= MAX_VIDEOS:
            raise _refused(f"give one row with num_videos from 1 to {MAX_VIDEOS}")
        num = int(model_input["num_videos"].iloc[0])
        if unknown := set(asked) - set(DEFAULTS):
            raise _refused(f"unknown params {', '.join(sorted(unknown))}; known: {', '.join(DEFAULTS)}")
        if asked["output"] not in ("array", *FILMS):
            raise _refused(f"output {asked['output']!r} is not one of array, {', '.join(FILMS)}")
        if not 0 <= frames <= MAX_FRAMES:
            raise _refused(f"frames {frames} is not between 0 and {MAX_FRAMES}")
        if num * (frames or record.frames) * record.height * record.width * 3 > MAX_BYTES:
            raise _refused(f"{num} clips of {frames} frames have more than {MAX_BYTES} bytes of pixels")
        if not 0 < float(asked["truncation"]) <= 1:
            raise _refused(f"truncation {asked['truncation']} is not above 0 and at most 1")
        if not 0 <= float(asked["fps"]) <= MAX_FPS:
            raise _refused(f"fps {asked['fps']} is not between 0 and {MAX_FPS}")
        to_seed = None if int(asked["to_seed"]) == -1 else int(asked["to_seed"])
        return list(self.sampler.wishes(num, int(asked["seed"]), str(asked["label"]) or None, to_seed))

    def _encoder(self, asked: dict[str, Any]) -> Any:
        """What encodes the films; raises ConfigError when there can be no such film."""
        if asked["output"] == "array":
            return None
        record = self.sampler.record
        fps = float(asked["fps"]) or record.fps
        self._module("media.films").check_film(record.height, record.width, fps, asked["output"])
        return self._module("media.codecs").encoder_for(asked["output"], str(asked["codec"]))

    def _film_row(self, frames_THWC: np.ndarray, wish: Any, encoder: Any, asked: dict[str, Any]) -> dict[str, Any]:
        kind, fps = str(asked["output"]), float(asked["fps"]) or self.sampler.record.fps
        marked_THWC = self.marking.watermarked(frames_THWC, wish.seed)
        tags = self.marking.tags(wish.seed)
        film: bytes = self._module("media.films").film_bytes(marked_THWC, fps, kind, encoder, tags)
        film = self.marking.signed(film, f".{kind}", wish.seed)
        walk = {} if wish.to_seed is None else {"to_seed": wish.to_seed, "share": wish.share}
        label = self.sampler.label_name(wish.label) or ""
        coded = base64.b64encode(film).decode()
        return {"seed": wish.seed, **walk, "label": label, f"{kind}_base64": coded, "marking": self._marked_by(kind)}


def _refused(why: str) -> MlflowException:
    return MlflowException(f"{why.rstrip('.')}.", error_code=INVALID_PARAMETER_VALUE)


set_model(VideoGenerator())
