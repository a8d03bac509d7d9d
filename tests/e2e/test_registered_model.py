"""The registered model works where this repository has never been: a new environment, another folder."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from processes import clean_env, free_port, running, vgan, wait_until_answers

NEEDED = ("mlflow", "torch", "numpy", "safetensors", "ffmpeg-python", "imageio-ffmpeg")

USER_CODE = """
import hashlib, sys
import mlflow, pandas
from importlib.util import find_spec
assert not [name for name in ("vgan", "tasks", "flows", "prefect", "webdataset") if find_spec(name)]
model = mlflow.pyfunc.load_model("models:/shapes@champion")
asked = pandas.DataFrame({"num_videos": [2]})
clips = model.predict(asked, params={"seed": 7, "label": "up", "output": "array"})
assert clips.shape == (2, 8, 32, 32, 3) and clips.dtype == "uint8", (clips.shape, clips.dtype)
again = model.predict(pandas.DataFrame({"num_videos": [1]}), params={"seed": 8, "label": "up"})
assert (clips[1] == again[0]).all()
assert (clips[0] != clips[1]).any()
long = model.predict(pandas.DataFrame({"num_videos": [1]}), params={"seed": 7, "label": "up", "frames": 20})
assert long.shape[1] == 20 and (long[0, :8] == clips[0]).all()
walk = model.predict(pandas.DataFrame({"num_videos": [3]}), params={"seed": 7, "to_seed": 8, "label": "up"})
assert (walk[0] == clips[0]).all() and (walk[2] == clips[1]).all() and (walk[1] != clips[0]).any()
mean = model.predict(asked, params={"seed": 7, "label": "up", "truncation": 0.01}).astype(float)
assert abs(mean[0] - mean[1]).mean() < abs(clips[0].astype(float) - clips[1]).mean() / 2
rows = model.predict(asked, params={"seed": 7, "label": "up", "output": "mp4", "fps": 12.0})
assert list(rows["label"]) == ["up", "up"] and list(rows["seed"]) == [7, 8]
assert rows["marking"][0].startswith("IPTC metadata, watermark, no C2PA manifest: "), rows["marking"][0]
print(hashlib.sha256(clips.tobytes()).hexdigest(), rows["mp4_base64"][0])
"""


@pytest.fixture(scope="module")
def registered(shapes_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which `vgan run` registered a model."""
    workspace = tmp_path_factory.mktemp("registered")
    clips = ("--frames", 8, "--height", 32, "--width", 32, "--labels", "folder")
    quick = ("--budget", "2kclips", "--evaluate-clips", 16, "--evaluate-bootstrap", 20)
    env = clean_env(PREFECT_HOME=str(workspace / "prefect"))
    place = ("--videos", shapes_videos, "--name", "shapes", "--workspace", workspace)
    result = vgan("run", *place, *clips, *quick, env=env)
    assert result["champion"] is True
    return workspace


@pytest.fixture(scope="module")
def new_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of a virtual environment that holds only what the model says it needs."""
    folder = tmp_path_factory.mktemp("new") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    wanted = [f"{name}=={version(name).partition('+')[0]}" for name in NEEDED]
    constraints = Path(__file__).resolve().parents[2] / "constraints.txt"
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "-c", str(constraints), *wanted]
    subprocess.run(pip, check=True, capture_output=True)
    return folder / "bin" / "python"


def user_env(workspace: Path, **extra: str) -> dict[str, str]:
    uri = f"sqlite:///{workspace / 'mlflow.db'}"
    return clean_env(MLFLOW_TRACKING_URI=uri, MLFLOW_ALLOW_PICKLE_DESERIALIZATION="false", **extra)


@pytest.mark.timeout(900)
def test_it_loads_and_generates_in_a_new_environment_with_unpickling_forbidden(
    registered: Path, new_python: Path, tmp_path: Path
) -> None:
    command = [str(new_python), "-I", "-c", USER_CODE]
    done = [
        subprocess.run(command, cwd=tmp_path, env=user_env(registered), capture_output=True, text=True, check=False)
        for _ in range(2)
    ]
    assert [d.returncode for d in done] == [0, 0], done[0].stderr[-3000:]
    outputs = {d.stdout.strip() for d in done}
    assert len(outputs) == 1, "two processes made different clips from one seed"
    digest, _, video = outputs.pop().partition(" ")
    assert len(digest) == 64
    (tmp_path / "clip.mp4").write_bytes(base64.b64decode(video))

    from vgan.media.verify import verify_media

    found = verify_media(tmp_path / "clip.mp4")
    assert found.tags["digitalSourceType"].endswith("trainedAlgorithmicMedia")
    assert (found.tags["vgan_model"], found.tags["vgan_seed"]) == ("shapes", "7")
    assert found.watermark.found


@pytest.mark.timeout(900)
def test_mlflow_serves_it_over_http(registered: Path, new_python: Path, tmp_path: Path) -> None:
    port = free_port()
    command = [
        str(new_python.parent / "mlflow"), "models", "serve", "-m", "models:/shapes@champion", "--env-manager", "local",
        "--host", "127.0.0.1", "--port", str(port),
    ]  # fmt: skip
    env = user_env(registered, PATH=f"{new_python.parent}:{os.environ['PATH']}")
    url = f"http://127.0.0.1:{port}"
    with running(command, tmp_path / "serve.log", env=env, cwd=tmp_path) as server:
        wait_until_answers(f"{url}/ping", server, tmp_path / "serve.log")
        asked = {"dataframe_split": {"columns": ["num_videos"], "data": [[1]]}}
        answer = post(f"{url}/invocations", {**asked, "params": {"seed": 3, "output": "mp4"}})
        assert base64.b64decode(answer["predictions"][0]["mp4_base64"])[4:8] == b"ftyp"
        wishes = {"seed": 3, "to_seed": 4, "output": "gif", "frames": 12, "fps": 10, "truncation": 0.7, "label": "up"}
        asked_for_two = {"dataframe_split": {"columns": ["num_videos"], "data": [[2]]}}
        rows = post(f"{url}/invocations", {**asked_for_two, "params": wishes})["predictions"]
        assert [row["share"] for row in rows] == [0, 1] and rows[0]["marking"].startswith("IPTC metadata")
        assert base64.b64decode(rows[1]["gif_base64"]).startswith(b"GIF89a")
        pixels = post(f"{url}/invocations", {**asked, "params": {"seed": 3}})["predictions"]
        assert (len(pixels), len(pixels[0]), len(pixels[0][0]), len(pixels[0][0][0])) == (1, 8, 32, 32)
        for params, named in (
            ({"label": "down"}, "down"),
            ({"output": "avi"}, "avi"),
            ({"truncation": 2}, "at most 1"),
        ):
            with pytest.raises(urllib.error.HTTPError) as refused:
                post(f"{url}/invocations", {**asked, "params": params})
            assert refused.value.code == 400
            assert named in refused.value.read().decode()


def post(url: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)


def test_the_version_links_to_a_run_with_config_data_commit_figures_and_samples(registered: Path) -> None:
    from mlflow import MlflowClient

    api = MlflowClient(f"sqlite:///{registered / 'mlflow.db'}")
    found = api.get_model_version_by_alias("shapes", "champion")
    run = api.get_run(found.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["budget"] == "2kclips"
    assert run.data.params["data.height"] == "32"
    assert run.data.tags["vgan.dataset_digest"] == found.tags["vgan.dataset_digest"]
    assert {"vgan.git_commit", "vgan.weights_sha256"} <= set(run.data.tags)
    assert api.get_metric_history(found.run_id, "loss_d")
    assert any(name.startswith("eval/") for name in run.data.metrics)
    assert run.inputs.dataset_inputs[0].dataset.name == "shapes"
    files = {f.path for folder in (None, "samples") for f in api.list_artifacts(found.run_id, folder)}
    assert {"config.json", "evaluation.json", "report.html", "metrics.jsonl", "MODEL_CARD.md"} <= files
    assert any(name.endswith(".mp4") for name in files)
    assert any(name.endswith(".png") for name in files)


def test_the_registered_folder_holds_no_pickle(registered: Path) -> None:
    names = [path.name for path in (registered / "mlartifacts").rglob("*") if path.is_file()]
    assert "weights.safetensors" in names
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".pt", ".pth", ".pt2", ".bin"))]


def test_sampling_from_the_registry_gives_the_same_pixels_for_a_seed(registered: Path, tmp_path: Path) -> None:
    # Not mp4: no two signatures have equal bytes.
    asked = ("--num", 2, "--seed", 5, "--format", "npy", "--workspace", registered)
    command = ("sample", "--model", "models:/shapes@champion", *asked, "--out")
    first, second = vgan(*command, tmp_path / "a"), vgan(*command, tmp_path / "b")
    for one, other in zip(first["files"], second["files"], strict=True):
        assert Path(one).read_bytes() == Path(other).read_bytes()
