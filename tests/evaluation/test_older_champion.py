"""A champion that an upgrade left behind is judged, compared and sampled by the code that it was registered with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_other_networks import with_other_networks
from made_runs import QUICK, write_run

from tasks import registration
from tasks.comparison import compare
from tasks.generation import generate
from vgan.config import RegisterConfig, SampleConfig
from vgan.errors import ConfigError
from vgan.evaluation.evaluate import evaluate
from vgan.records import Dataset, Evaluation, Verdict
from vgan.registry.own_code import SWITCH
from vgan.sampling import Sampler
from vgan.workspace import Workspace

CONFIG = RegisterConfig()


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a server nor a certificate of whoever runs the tests."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("MLFLOW_TRACKING_URI", "VGAN_C2PA_CERTIFICATE", "VGAN_C2PA_KEY"):
        monkeypatch.delenv(name, raising=False)


def upgraded(workspace: Workspace, dataset: Dataset, code: Path) -> np.ndarray:
    """Register a champion with other networks, as before an upgrade; returns a clip as today's would make it."""
    write_run(workspace, dataset, "old")
    evaluate(workspace, "old", QUICK)
    (usual_THWC,) = Sampler(workspace.run("old").generator).sample(1, 3)
    with pytest.MonkeyPatch.context() as patch:
        with_other_networks(patch, workspace.run("old").generator, code)
        assert registration.register(workspace, "old", CONFIG).champion
    # It was evaluated by today's networks above, which stand for nothing that it ever makes.
    workspace.run("old").evaluation.unlink()
    return usual_THWC


@pytest.mark.e2e
def test_a_champion_of_other_networks_is_judged_compared_and_sampled_by_its_own_code(
    workspace, shapes_dataset, tmp_path, monkeypatch
) -> None:
    usual_THWC = upgraded(workspace, shapes_dataset, tmp_path / "code")
    with pytest.raises(ConfigError, match="has version"):
        evaluate(workspace, "old", QUICK)  # a run's folder brings no code

    champion, out = "models:/shapes@champion", tmp_path / "clips"
    generate(workspace, champion, out, SampleConfig(num=1, seed=3, format="npy"))
    (made_THWC,) = (np.load(path) for path in out.glob("*.npy"))
    assert np.abs(255 - made_THWC.astype(int) - usual_THWC).max() < 16, "all but the watermark is inverted"

    for run in ("new", "newer"):
        write_run(workspace, shapes_dataset, run)
        evaluate(workspace, run, QUICK)
    assert compare(workspace, (champion, "new"), tmp_path / "compared", num=1).names == ("shapes/1", "new")

    with monkeypatch.context() as never:
        never.setenv(SWITCH, "never")
        kept = registration.register(workspace, "new", CONFIG)
    assert not kept.champion and "cannot be compared" in kept.verdict and SWITCH in kept.verdict

    registration.register(workspace, "newer", CONFIG)
    verdict = Verdict.from_json(workspace.run("newer").verdict.read_bytes(), "verdict")
    assert verdict.rival == "old", verdict.reasons
    path = workspace.run("newer").champion_evaluation
    assert Evaluation.from_json(path.read_bytes(), "champion").primary in {check.name for check in verdict.checks}
