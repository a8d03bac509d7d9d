"""What a training process says for people reaches them while it works."""

import logging

import pytest
from shapes_dataset import write_dataset

from vgan.config import TrainConfig
from vgan.errors import ConfigError
from vgan.training.childs_log import ChildsLog
from vgan.training.compiling import has_compiler
from vgan.training.plan import prepare
from vgan.training.process import Attempt


def test_before_the_first_step_it_is_said_once_that_networks_are_compiled(workspace, caplog):
    """A real training process, which ends soon after it has said so: its dataset has gone."""
    if not has_compiler():
        pytest.skip("no C++ compiler")
    dataset = write_dataset(workspace, "gone")
    key = prepare(workspace, dataset, TrainConfig(budget="1kclips", batch=4, compile="on", device="cpu", threads=1))
    workspace.dataset("gone").version(dataset.digest()).unlink()
    told: list[str] = []
    with caplog.at_level(logging.INFO), pytest.raises(ConfigError, match="gone"):
        Attempt(workspace, key, lambda done, total, note: told.append(note), None).run()
    (said,) = [record for record in caplog.records if "compiling" in record.message]
    assert "minutes" in said.message and said.levelno == logging.INFO
    assert told == ["starting", said.message]


def test_warnings_are_handed_on_once_and_whole(tmp_path, caplog):
    path = tmp_path / "train.log"
    path.write_bytes(b"WARNING vgan: of an earlier attempt\n")
    said = ChildsLog(path)
    with open(path, "ab", buffering=0) as file, caplog.at_level(logging.INFO):
        file.write(b"INFO vgan.training.loop: for the log alone\nWARNING vgan.training.saving: little ro")
        assert said.hand_on() is None and not caplog.records
        file.write(b"om\n")
        assert said.hand_on() is None and said.hand_on() is None
    assert [record.message for record in caplog.records] == ["vgan.training.saving: little room"]
    assert said.tail() == ["INFO vgan.training.loop: for the log alone", "WARNING vgan.training.saving: little room"]
