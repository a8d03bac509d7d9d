"""What the registered model takes and gives, when MLflow calls it."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

from vgan.media.certificates import development_certificate
from vgan.media.signing import CERTIFICATE_VARIABLE, KEY_VARIABLE
from vgan.media.verify import verify_media
from vgan.sampling import Sampler


@pytest.fixture
def model(load_model, package: Path) -> Any:
    return load_model(package)


def predict(model: Any, num: int = 1, **params: Any) -> Any:
    return model.predict(None, pd.DataFrame({"num_videos": [num]}), params)


def test_arrays_are_the_clips_that_the_sampler_makes(model, generator_folder) -> None:
    here = Sampler(generator_folder)
    options = {"seed": 4, "label": "up", "frames": 6, "truncation": 0.5}
    assert np.array_equal(predict(model, 2, **options), here.sample(2, 4, "up", 6, truncation=0.5))
    assert np.array_equal(predict(model, 3, seed=4, to_seed=9), here.sample(3, 4, to_seed=9))


@pytest.mark.parametrize("kind", ["mp4", "gif", "webm"])
def test_films_say_that_they_are_synthetic_and_how(model, kind, tmp_path) -> None:
    rows = predict(model, 2, output=kind, seed=3, fps=12.5)
    assert list(rows["seed"]) == [3, 4] and list(rows["label"]) == ["left", "up"]
    for place, coded in enumerate(rows[f"{kind}_base64"]):
        path = tmp_path / f"{place}.{kind}"
        path.write_bytes(base64.b64decode(coded))
        found = verify_media(path)
        assert (found.kind, found.synthetic) == (kind, True)
        assert (found.tags["vgan_model"], found.tags["vgan_seed"]) == ("toys", str(3 + place))
        assert found.watermark.frames == 4
    assert rows["marking"][0].startswith("IPTC metadata, watermark, no C2PA manifest: ")
    assert (CERTIFICATE_VARIABLE if kind != "webm" else "webm files hold none") in rows["marking"][0]


def test_films_are_signed_with_the_certificate_that_the_environment_names(
    load_model, package, tmp_path, monkeypatch
) -> None:
    for name, content in zip((CERTIFICATE_VARIABLE, KEY_VARIABLE), development_certificate(), strict=True):
        (tmp_path / f"{name}.pem").write_bytes(content)
        monkeypatch.setenv(name, str(tmp_path / f"{name}.pem"))
    rows = predict(load_model(package), output="mp4", seed=5)
    assert rows["marking"][0] == "IPTC metadata, watermark, C2PA manifest"
    (tmp_path / "x.mp4").write_bytes(base64.b64decode(rows["mp4_base64"][0]))
    found = verify_media(tmp_path / "x.mp4")
    assert found.manifest.synthetic and found.tags["vgan_seed"] == "5"


def test_a_walk_tells_how_far_each_clip_is(model) -> None:
    rows = predict(model, 3, seed=1, to_seed=2, output="gif")
    assert list(rows["share"]) == [0, 0.5, 1] and set(rows["to_seed"]) == {2} and set(rows["label"]) == {"left"}


@pytest.mark.parametrize(
    ("num", "params", "named"),
    [
        (0, {}, "num_videos"),
        (257, {}, "num_videos"),
        (1, {"seed": -1}, "seed"),
        (1, {"seed": 3, "to_seed": 3}, "walk"),
        (2, {"to_seed": -7}, "seed"),
        (1, {"label": "down"}, "left, up"),
        (1, {"frames": 4097}, "frames"),
        (256, {"frames": 4096, "output": "gif"}, "bytes"),
        (1, {"truncation": 0.0}, "truncation"),
        (1, {"truncation": float("nan")}, "truncation"),
        (1, {"fps": 121.0}, "fps"),
        (1, {"fps": 60.0, "output": "gif"}, "at most 50"),
        (1, {"output": "avi"}, "avi"),
        (1, {"output": "webm", "codec": "h264"}, "webm"),
        (1, {"output": "mp4", "codec": "mpeg2"}, "mpeg2"),
        (1, {"speed": 3}, "speed"),
    ],
    ids=str,
)
def test_what_cannot_be_made_is_the_callers_error_and_named(model, num, params, named) -> None:
    with pytest.raises(MlflowException, match=named) as caught:
        predict(model, num, **params)
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"


def test_the_signature_offers_what_the_model_takes(model) -> None:
    from tasks.tracking.uploads import SIGNATURE

    entry = type(model).load_context.__globals__
    assert {spec.name: spec.default for spec in SIGNATURE.params} == entry["DEFAULTS"]
    for name in entry["DEFAULTS"]:
        assert f"`{name}`" in entry["__doc__"]
