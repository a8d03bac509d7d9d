"""Versions are listed, compared and pruned, never silently."""

import fcntl
import json
import shutil
from pathlib import Path

import pytest
from ingesting import CONFIG, state_of
from typer.testing import CliRunner

from flows.cli.app import app
from vgan.config import TrainConfig
from vgan.data.ingest import ingest
from vgan.data.manifest import load_dataset, verify_dataset
from vgan.data.versions.kept import compare, find_version, list_datasets, list_versions, plan_pruning, prune
from vgan.errors import ConfigError, CorruptDataError
from vgan.records import GeneratorRecord, TrainedRun
from vgan.storage import write_atomic
from vgan.workspace import Workspace


@pytest.fixture(scope="module")
def three_versions(shapes_videos, tmp_path_factory):
    """Versions 1 (all), 2 (one gone, one relabelled, one new) and 3 (other clips); not to be changed."""
    root = tmp_path_factory.mktemp("versions")
    videos = Path(shutil.copytree(shapes_videos, root / "videos"))
    workspace = Workspace.open(root / "workspace")
    late = (videos / "up" / "shape-00005.mp4").rename(root / "late.mp4")
    ingest(workspace, str(videos), "shapes", CONFIG)
    (videos / "up" / "shape-00001.mp4").unlink()
    (videos / "up" / "shape-00003.mp4").rename(videos / "left" / "moved.mp4")
    late.rename(videos / "up" / "late.mp4")
    ingest(workspace, str(videos), "shapes", CONFIG)
    ingest(workspace, str(videos), "shapes", CONFIG.model_copy(update={"frames": 4, "fps": 4.0}))
    return workspace


@pytest.fixture
def versions(three_versions, tmp_path):
    """A copy of it that a test may change."""
    shutil.copytree(three_versions.root, tmp_path / "copy")
    return Workspace.open(tmp_path / "copy")


def train_on(workspace, digest, run="run-1"):
    """A finished run that was trained on this version."""
    generator = GeneratorRecord(
        family="r3", network={}, labels=(), frames=8, height=16, width=16, fps=8.0, weights_sha256="0" * 64, run=run,
        dataset="shapes", dataset_digest=digest, vgan_version="0",
    )  # fmt: skip
    trained = TrainedRun(
        run=run, dataset="shapes", dataset_digest=digest, config=TrainConfig(), device="cpu", steps=1, clips=1,
        seconds=1.0, generator=generator, git_commit=None,
    )  # fmt: skip
    write_atomic(workspace.run(run).record, trained.to_json())


def vgan(workspace, *arguments, **options):
    return CliRunner().invoke(app, ["datasets", *arguments, "--workspace", str(workspace.root)], **options)


def test_datasets_are_listed_with_their_size(three_versions):
    (line,) = list_datasets(three_versions)
    current = load_dataset(three_versions, "shapes")
    assert (line.name, line.number, line.versions, line.videos) == ("shapes", 3, 3, 11)
    assert line.digest == current.digest() and line.clips == current.clips("train") + current.clips("heldout")
    files = three_versions.dataset("shapes").path.rglob("*")
    assert line.size_bytes == sum(path.stat().st_size for path in files if path.is_file())


def test_versions_are_listed_newest_first_with_what_differs_and_who_uses_them(versions):
    train_on(versions, find_version(versions, "shapes", "2").digest())
    lines = list_versions(versions, "shapes")
    assert [(line.number, line.current, line.videos) for line in lines] == [
        (3, True, 11),
        (2, False, 11),
        (1, False, 11),
    ]
    assert [line.runs for line in lines] == [(), ("run-1",), ()]
    assert lines[0].differs == {} and lines[1].differs == {"frames": 8, "fps": 8.0} == lines[2].differs


def test_a_version_is_named_by_number_or_beginning_of_its_digest(three_versions):
    second = find_version(three_versions, "shapes", "2")
    assert second.number == 2 and find_version(three_versions, "shapes", second.digest()[:8]) == second
    for unknown in ("7", "abc", "", "zzzzzzzz"):
        with pytest.raises(ConfigError, match="has no version"):
            find_version(three_versions, "shapes", unknown)
    with pytest.raises(ConfigError, match="there is no dataset"):
        find_version(three_versions, "nothing", "1")


def test_a_comparison_names_what_came_went_and_moved(three_versions):
    found = compare(three_versions, "shapes", "1", "2")
    assert found.videos["added"] == ["up/late.mp4"] and found.videos["removed"] == ["up/shape-00001.mp4"]
    assert found.videos["relabelled"] == ["left/moved.mp4"] and found.config == {}
    assert found.counts == {"added": 1, "removed": 1, "relabelled": 1, "moved": 0}
    other = compare(three_versions, "shapes", "2", "3")
    assert other.config == {"frames": (8, 4), "fps": (8.0, 4.0)} and other.counts["added"] == 0


def test_pruning_removes_old_versions_and_only_what_they_alone_need(versions):
    folder = versions.dataset("shapes")
    planned = plan_pruning(versions, "shapes", 2)
    before = state_of(versions)
    assert [line.number for line in planned.versions] == [1] and planned.size_bytes > 0
    assert state_of(versions) == before, "planning removes nothing"
    done = prune(versions, "shapes", 2)
    assert done == planned
    gone = before.keys() - state_of(versions).keys()
    assert {Path(name).name for name in gone} == {path.name for path in done.files} | {
        f"{done.versions[0].digest}.json"
    }
    for line in list_versions(versions, "shapes"):
        assert verify_dataset(versions, find_version(versions, "shapes", str(line.number))) == []
    assert not any(path.name.startswith(".tmp-") for path in folder.path.rglob("*"))
    assert prune(versions, "shapes", 2).versions == () and plan_pruning(versions, "shapes", 2).files == ()


def test_pruning_that_was_killed_is_finished_by_the_next(versions):
    planned = plan_pruning(versions, "shapes", 1)
    for line in planned.versions:
        versions.dataset("shapes").version(line.digest).unlink()
    again = prune(versions, "shapes", 1)
    assert again.versions == () and again.files == planned.files
    assert verify_dataset(versions, load_dataset(versions, "shapes")) == []


def test_what_is_current_trained_on_or_read_is_spared(versions):
    first, second = (find_version(versions, "shapes", number) for number in ("1", "2"))
    # Going back makes the oldest one current.
    write_atomic(versions.dataset("shapes").manifest, first.to_json())
    train_on(versions, second.digest())
    planned = plan_pruning(versions, "shapes", 1)
    assert planned.versions == () and planned.spared == {2: "run run-1 was trained on it", 1: "it is the current one"}
    assert [line.number for line in plan_pruning(versions, "shapes", 1, trained_too=True).versions] == [2]
    lock = versions.dataset("shapes").in_use(second.digest())
    lock.parent.mkdir()
    with open(lock, "wb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        assert plan_pruning(versions, "shapes", 1, trained_too=True).versions == ()
    prune(versions, "shapes", 1, trained_too=True)
    assert verify_dataset(versions, load_dataset(versions, "shapes")) == []


def test_what_waits_for_a_commit_is_spared(versions):
    folder = versions.dataset("shapes")
    planned = plan_pruning(versions, "shapes", 1)
    tar = next(path for path in planned.files if path.suffix == ".tar")
    write_atomic(folder.pending("a" * 64), json.dumps({"shards": [tar.name], "damaged": True}).encode())
    done = prune(versions, "shapes", 1)
    assert tar.exists() and tar not in done.files and len(done.files) == len(planned.files) - 1


def test_a_damaged_version_stops_pruning(versions):
    folder = versions.dataset("shapes")
    first = folder.version(find_version(versions, "shapes", "1").digest())
    before = state_of(versions)
    first.write_bytes(first.read_bytes()[:100])
    with pytest.raises(CorruptDataError):
        prune(versions, "shapes", 1)
    assert state_of(versions).keys() == before.keys()


def test_the_command_lists_and_compares(three_versions):
    listed = json.loads(vgan(three_versions, "--json").stdout)["datasets"]
    assert [(line["name"], line["versions"]) for line in listed] == [("shapes", 3)]
    shown = json.loads(vgan(three_versions, "--name", "shapes", "--json").stdout)
    assert [line["number"] for line in shown["versions"]] == [3, 2, 1]
    found = json.loads(vgan(three_versions, "--name", "shapes", "--compare", "1", "--with", "2", "--json").stdout)
    assert found["counts"]["added"] == 1
    for arguments in ((), ("--name", "shapes"), ("--name", "shapes", "--compare", "1", "--with", "2")):
        plain = vgan(three_versions, *arguments)
        assert plain.exit_code == 0 and "shapes" in plain.output


@pytest.mark.parametrize(
    "arguments",
    [
        ("--compare", "1", "--with", "2"),
        ("--prune", "--keep", "1"),
        ("--name", "shapes", "--prune"),
        ("--name", "shapes", "--compare", "1"),
        ("--name", "shapes", "--compare", "1", "--with", "9"),
        ("--name", "nothing"),
        ("--name", "shapes", "--prune", "--keep", "1"),
    ],
)
def test_a_command_that_cannot_be_meant_ends_with_code_2_and_removes_nothing(three_versions, arguments):
    before = state_of(three_versions)
    assert vgan(three_versions, *arguments).exit_code == 2
    assert state_of(three_versions) == before


def test_pruning_by_command_shows_what_goes_and_needs_a_yes(versions):
    train_on(versions, find_version(versions, "shapes", "1").digest())
    refused = vgan(versions, "--name", "shapes", "--prune", "--keep", "1")
    assert refused.exit_code == 2 and "--yes" in refused.output
    assert "goes: version 2" in refused.output and "stays: version 1: run run-1" in refused.output
    assert len(list_versions(versions, "shapes")) == 3
    done = vgan(versions, "--name", "shapes", "--prune", "--keep", "1", "--yes", "--json")
    assert done.exit_code == 0
    said = json.loads(done.stdout)
    assert (
        [line["number"] for line in said["removed"]] == [2] and said["size_bytes"] > 0 and list(said["spared"]) == ["1"]
    )
    assert [line.number for line in list_versions(versions, "shapes")] == [3, 1]


def test_what_is_mounted_read_only_can_be_looked_at(tmp_path):
    """FAULTS 7: reading proves nothing about writing."""
    with pytest.raises(ConfigError, match="no workspace"):
        Workspace.open(tmp_path / "nowhere", write=False)
    assert not (tmp_path / "nowhere").exists()
    before = set(tmp_path.iterdir())
    assert Workspace.open(tmp_path, write=False).dataset_names() == [] and set(tmp_path.iterdir()) == before
