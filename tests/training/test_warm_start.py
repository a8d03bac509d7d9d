"""What a run takes over from other weights, and what it says when it cannot."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from click.testing import Result
from made_generator import generator_record, write_generator
from safetensors.torch import load_file, save_file
from shapes_dataset import write_dataset
from typer.testing import CliRunner

from flows.cli.app import app
from vgan.config import TrainConfig
from vgan.data.manifest import load_dataset
from vgan.errors import ConfigError, CorruptDataError, RegistryError, ResumableError, VganError
from vgan.models.generate import generate_clip
from vgan.records import Dataset, GeneratorRecord, TrainedRun, WarmStart
from vgan.storage import read_bytes, sha256_file, write_atomic
from vgan.training.initial import adopt
from vgan.training.loop import build_state, train_run
from vgan.training.plan import RunConfig, prepare, read_config, resolve, run_key
from vgan.training.step import TrainState
from vgan.training.warm_start import label_axes, match, take_over
from vgan.workspace import RunFolder, Workspace

CPU = torch.device("cpu")
SOURCE = TrainConfig(budget="0.016kclips", batch=2, threads=1, device="cpu", checkpoints=2)  # 8 steps
NEXT = SOURCE.model_copy(update={"seed": 1})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, str]:
    """A workspace with a dataset of two classes and a run of eight steps."""
    workspace = Workspace.open(tmp_path_factory.mktemp("finished"))
    dataset = write_dataset(workspace)
    key = prepare(workspace, dataset, SOURCE)
    train_run(workspace, key, lambda: False)
    return workspace, key


@pytest.fixture
def source(finished: tuple[Workspace, str], tmp_path: Path) -> tuple[Workspace, str]:
    """A copy of it that a test may spoil."""
    workspace, key = finished
    shutil.copytree(workspace.root, tmp_path / "copy")
    return Workspace.open(tmp_path / "copy"), key


def asking(init: str, config: TrainConfig = NEXT) -> TrainConfig:
    return config.model_copy(update={"init": init})


def dataset_of(workspace: Workspace, name: str = "shapes") -> Dataset:
    return load_dataset(workspace, name)


def last_tensors(folder: RunFolder) -> Path:
    return max(folder.checkpoints.glob("*.safetensors"))


def started(workspace: Workspace, init: str, dataset: str = "shapes") -> tuple[TrainState, RunConfig, WarmStart]:
    """The state before the first step of a run from `init`, its plan, and the report."""
    held, config = dataset_of(workspace, dataset), asking(init)
    key = prepare(workspace, held, config, adopt(workspace, held, config, registry(workspace)))
    plan = read_config(workspace.run(key))
    state = build_state(plan, CPU)
    return state, plan, take_over(workspace, plan, state)


def registry(workspace: Workspace, run: str | None = None):
    """Stands for a registry whose one model is the generator of the workspace's run."""

    @contextmanager
    def locate(asked: str) -> Iterator[tuple[Path, str]]:
        yield workspace.run(run or workspace.run_keys()[0]).generator, "shapes/1"

    return locate


def test_a_registered_model_gives_its_generator_and_all_of_it_is_taken_over(source):
    workspace, key = source
    state, plan, report = started(workspace, "models:/shapes@champion")
    weights = load_file(workspace.run(key).generator / "weights.safetensors")
    for network in (state.generator, state.average):
        assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())
    assert report.source == "models:/shapes/1" and report.share == 1.0 and not report.partly
    assert set(report.taken) == {f"generator.{name}" for name in weights}
    assert {name.partition(".")[0] for name in report.fresh} == {"discriminator"}
    assert plan.init_sha256 == sha256_file(workspace.run(key).generator / "weights.safetensors")


@pytest.mark.parametrize("form", ["run", "file"])
def test_a_checkpoint_gives_generator_average_and_discriminator_but_not_the_optimizer(source, form):
    workspace, key = source
    path = last_tensors(workspace.run(key))
    state, _, report = started(workspace, key if form == "run" else str(path))
    tensors = load_file(path)
    for part in ("generator", "average", "discriminator"):
        for name, value in getattr(state, part).state_dict().items():
            assert torch.equal(value, tensors[f"{part}.{name}"])
    assert not report.fresh and report.source == f"run {key}, step 8"
    assert all(float(held["step"]) == 0 for held in state.adam_generator.state.values())
    names = vars_of(state, "generator")
    assert not all(torch.equal(tensors[f"generator.{name}"], tensors[f"average.{name}"]) for name in names)


def test_a_run_without_checkpoints_gives_its_generator(source):
    workspace, key = source
    shutil.rmtree(workspace.run(key).checkpoints)
    _, _, report = started(workspace, key)
    assert report.source == f"run {key}, finished" and report.share == 1.0


def test_another_resolution_and_length_take_over_what_fits_and_say_what_does_not(source):
    workspace, key = source
    write_dataset(workspace, "large", frames=6, size=32)
    state, _, report = started(workspace, key, "large")
    tensors = load_file(last_tensors(workspace.run(key)))
    for name, value in state.generator.state_dict().items():
        fits = value.shape == tensors[f"generator.{name}"].shape
        assert (f"generator.{name}" in report.taken) == fits != (f"generator.{name}" in report.fresh)
        assert not fits or torch.equal(value, tensors[f"generator.{name}"])
    assert report.fresh and 0.5 < report.share < 1
    assert any(name.startswith("discriminator.") for name in report.taken)
    everything = {f"{part}.{name}" for part in ("generator", "discriminator") for name in vars_of(state, part)}
    assert {*report.taken, *(name.partition(" ")[0] for name in report.partly), *report.fresh} == everything
    assert len(report.taken) + len(report.partly) + len(report.fresh) == len(everything)


def vars_of(state: TrainState, part: str) -> dict[str, torch.Tensor]:
    return getattr(state, part).state_dict()


def test_a_class_keeps_its_looks_when_the_list_of_classes_changes(source):
    workspace, key = source
    plan = resolve(workspace, dataset_of(workspace), NEXT)
    before = build_state(plan, CPU)
    tensors = load_file(workspace.run(key).generator / "weights.safetensors")
    before.generator.load_state_dict(tensors)
    labels = ("down", "left", "right", "up")
    shape = plan.shape.model_copy(update={"labels": len(labels)})
    other = plan.model_copy(update={"labels": labels, "shape": shape})
    after = build_state(other, CPU).generator
    found = match(tensors, after.state_dict(), plan.labels, other, "generator")
    after.load_state_dict(found.values)
    for seed, name in enumerate(plan.labels):
        clip = generate_clip(after, seed, labels.index(name))
        difference = clip.astype(int) - generate_clip(before.generator, seed, plan.labels.index(name))
        assert abs(difference).max() <= 1
    assert found.partly and all("left, up" in name for name in found.partly)


def test_classes_of_equal_number_and_other_names_are_not_taken_for_each_other(source):
    workspace, _ = source
    plan = resolve(workspace, dataset_of(workspace), NEXT)
    fresh, donor = build_state(plan, CPU), build_state(plan.model_copy(update={"config": SOURCE}), CPU)
    for part in ("generator", "discriminator"):
        found = match(vars_of(donor, part), vars_of(fresh, part), ("right", "up"), plan, part)
        assert found.partly and all(name.endswith("(classes: up)") for name in found.partly)
    for name, axis in label_axes(plan, "discriminator").items():
        left, up = (vars_of(state, "discriminator")[name].movedim(axis, 0)[-2:] for state in (fresh, donor))
        assert torch.equal(found.values[name].movedim(axis, 0)[-2:], torch.stack([left[0], up[1]]))


def test_weights_with_classes_start_a_run_without_and_the_other_way_round(source, tmp_path):
    workspace, key = source
    write_dataset(workspace, "plain", labels=False)
    _, plan, report = started(workspace, key, "plain")
    assert report.share == 1.0 and report.partly
    write_generator(tmp_path, generator_record(plan.shape, labels=()))
    _, _, back = started(workspace, str(tmp_path / "weights.safetensors"))
    assert back.share == 1.0 and all("(classes: none)" in name for name in back.partly)
    assert any(name.startswith("discriminator.") for name in back.fresh)  # what compares a clip with its class


def test_stages_are_matched_from_the_coarsest(source):
    plan = resolve(source[0], dataset_of(source[0]), NEXT)
    long = {f"body.blocks.{index}.conv.weight": torch.full((2, 2), float(index)) for index in range(3)}
    short = {f"body.blocks.{index}.conv.weight": torch.zeros(2, 2) for index in range(2)}
    for part, first in (("generator", 0), ("discriminator", 1)):  # which is the coarsest's end differs
        found = match(long, short, plan.labels, plan, part)
        assert [int(value[0, 0]) for value in found.values.values()] == [first, first + 1]
    grown = match(short, long, plan.labels, plan, "discriminator")
    assert grown.fresh == ["discriminator.body.blocks.0.conv.weight"]


def test_the_key_follows_the_weights_and_not_their_name(source):
    workspace, key = source
    held = dataset_of(workspace)
    by_name = adopt(workspace, held, asking("models:/shapes@champion"), registry(workspace))
    by_file = adopt(workspace, held, asking(str(workspace.run(key).generator / "weights.safetensors")))
    assert by_name == by_file
    keys = {run_key(held, asking(name), by_name) for name in ("models:/shapes@champion", "models:/shapes/1")}
    assert len(keys) == 1 and run_key(held, NEXT) not in keys
    flip(workspace.run(key).generator / "weights.safetensors", and_record=True)
    now = adopt(workspace, held, asking("models:/shapes@champion"), registry(workspace))
    assert now != by_name and run_key(held, NEXT, now) not in keys


def test_an_interrupted_run_needs_its_source_no_more(source):
    workspace, key = source
    held, config = dataset_of(workspace), asking(key)
    run = prepare(workspace, held, config, adopt(workspace, held, config))
    undisturbed = workspace.root.parent / "undisturbed"
    shutil.copytree(workspace.root, undisturbed)
    train_run(Workspace.open(undisturbed), run, lambda: False)
    shutil.rmtree(workspace.run(key).path)
    asked = iter(range(100))
    with pytest.raises(ResumableError):
        train_run(workspace, run, lambda: next(asked) >= 4)
    assert prepare(workspace, held, config, adopt(workspace, held, config)) == run
    train_run(workspace, run, lambda: False)
    folder, other = workspace.run(run), Workspace.open(undisturbed).run(run)
    for name in ("metrics.jsonl", "generator/weights.safetensors"):
        assert (folder.path / name).read_bytes() == (other.path / name).read_bytes()
    trained = TrainedRun.from_json(read_bytes(folder.record), "")
    assert trained.init is not None and trained.init.source == f"run {key}, step 8"
    with pytest.raises(ConfigError):  # of another seed there is no run that could go on
        adopt(workspace, held, asking(key, SOURCE.model_copy(update={"seed": 2})))


def test_a_registry_that_is_away_does_not_lose_an_interrupted_run(source):
    workspace, _ = source
    held, config = dataset_of(workspace), asking("models:/shapes@champion")
    sha256 = adopt(workspace, held, config, registry(workspace))
    prepare(workspace, held, config, sha256)

    def away(asked: str):
        raise RegistryError("the registry does not answer.")

    assert adopt(workspace, held, config, away) == sha256
    with pytest.raises(RegistryError):
        adopt(workspace, held, asking("models:/shapes/7"), away)


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (self.marker,))


def flip(path: Path, *, and_record: bool = False) -> None:
    """Change a bit; with `and_record`, let generator.json beside it say that this is right."""
    content, before = bytearray(path.read_bytes()), sha256_file(path)
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    if and_record:
        record = path.with_name("generator.json")
        record.write_text(record.read_text().replace(before, sha256_file(path)))


@pytest.mark.parametrize(
    ("init", "code", "said"),
    [
        ("nothing-0000", 2, "there is no run 'nothing-0000'"),
        ("No Run", 2, "cannot start from 'No Run'"),
        ("models:/nothing@champion", 2, "registry"),
        ("weights.pt", 2, "it is no .safetensors file"),
        ("gone/00000008.safetensors", 2, "there is no file"),
    ],
)
def test_what_is_not_there_is_refused_by_name(source, init, code, said):
    workspace, _ = source
    with pytest.raises(VganError, match=said) as caught:
        adopt(workspace, dataset_of(workspace), asking(init))
    assert caught.value.exit_code == code and caught.value.hint


def test_damaged_weights_are_refused_and_an_older_sound_checkpoint_is_not_taken_for_the_last(source):
    workspace, key = source
    folder, held = workspace.run(key), dataset_of(workspace)
    flip(last_tensors(folder))
    with pytest.raises(CorruptDataError, match="sha256") as caught:
        adopt(workspace, held, asking(str(last_tensors(folder))))
    assert caught.value.exit_code == 76
    _, _, report = started(workspace, key)
    assert report.source == f"run {key}, finished"  # the generator, which is whole
    flip(folder.generator / "weights.safetensors")
    shutil.rmtree(workspace.root / "initial")
    with pytest.raises(CorruptDataError):
        adopt(workspace, held, asking("models:/shapes@champion"), registry(workspace))


def test_kept_weights_that_were_damaged_later_are_refused(source):
    workspace, key = source
    held, config = dataset_of(workspace), asking(key)
    sha256 = adopt(workspace, held, config)
    flip(workspace.initial(sha256))
    plan = resolve(workspace, held, config, sha256)
    with pytest.raises(CorruptDataError, match="not the file"):
        take_over(workspace, plan, build_state(plan, CPU))
    assert adopt(workspace, held, config) == sha256  # copies them anew
    take_over(workspace, plan, build_state(plan, CPU))


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
def test_a_pickle_is_refused_and_not_run(source, tmp_path, name):
    """FAULTS 16: a pickle instead of weights, under its own name or disguised, even with a manifest that fits it."""
    workspace, _ = source
    folder, marker = tmp_path / "evil", tmp_path / "marker"
    folder.mkdir()
    (folder / name).write_bytes(pickle.dumps(Evil(marker)))
    record = GeneratorRecord.from_json(read_bytes(workspace.run(source[1]).generator / "generator.json"), "")
    record = record.model_copy(update={"weights_sha256": sha256_file(folder / name)})
    write_atomic(folder / "generator.json", record.to_json())
    held, config = dataset_of(workspace), asking(str(folder / name))
    with pytest.raises(VganError) as caught:
        plan = resolve(workspace, held, config, adopt(workspace, held, config))
        take_over(workspace, plan, build_state(plan, CPU))
    assert caught.value.exit_code in (2, 76)
    assert not marker.exists()


def test_another_family_is_refused(source):
    workspace, key = source
    record = workspace.run(key).generator / "generator.json"
    record.write_text(record.read_text().replace('"r3"', '"style"'))
    with pytest.raises(ConfigError, match="'style'"):
        adopt(workspace, dataset_of(workspace), asking("models:/shapes@champion"), registry(workspace))


def test_weights_of_which_no_layer_fits_are_refused(source, tmp_path):
    workspace, key = source
    weights = load_file(workspace.run(key).generator / "weights.safetensors")
    wide = {name: torch.zeros([size + 1 for size in value.shape]) for name, value in weights.items()}
    save_file(wide, tmp_path / "weights.safetensors")
    record = GeneratorRecord.from_json(read_bytes(workspace.run(key).generator / "generator.json"), "")
    record = record.model_copy(update={"weights_sha256": sha256_file(tmp_path / "weights.safetensors")})
    write_atomic(tmp_path / "generator.json", record.to_json())
    with pytest.raises(ConfigError, match="no layer"):
        started(workspace, str(tmp_path / "weights.safetensors"))


def command(workspace: Workspace, init: str) -> Result:
    asked = ["--batch", "2", "--threads", "1", "--device", "cpu", "--checkpoints", "1", "--budget", "0.004kclips"]
    place = ["train", "--name", "shapes", "--workspace", str(workspace.root)]
    return CliRunner().invoke(app, [*place, *asked, "--init", init])


@pytest.mark.e2e
def test_the_command_says_what_was_taken_over(source):
    workspace, key = source
    result = command(workspace, key)
    assert result.exit_code == 0, result.output
    assert f"started from run {key}, step 8" in result.output and "100% of the generator" in result.output


def test_the_command_names_what_it_cannot_start_from(source):
    wrong = command(source[0], "nothing-0000")
    assert wrong.exit_code == 2 and "nothing-0000" in wrong.output
