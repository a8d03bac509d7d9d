from typing import get_args

import pytest
import torch
from made_generator import generator_record

from vgan.errors import ConfigError, CorruptDataError
from vgan.models.families import build_discriminator, build_generator
from vgan.models.network import ClipShape, Drawing, r3_network

SHAPES = [(8, 32, 32, 2), (16, 64, 64, 0), (4, 16, 16, 3), (3, 40, 24, 0), (64, 16, 16, 0), (2, 48, 80, 2)]


def build(preset: str, frames: int, height: int, width: int, labels: int, drawing: Drawing = "sprites"):
    torch.manual_seed(0)
    shape = ClipShape(frames=frames, height=height, width=width, labels=labels)
    network = r3_network(preset, shape, drawing)
    return build_generator(generator_record(shape, network=network.generator)), build_discriminator(
        "r3", network.discriminator.model_dump(mode="json"), shape
    )


@pytest.mark.parametrize("preset", ["tiny", "small", "base"])
@pytest.mark.parametrize("frames, height, width, labels", SHAPES)
def test_every_preset_makes_and_scores_clips_of_every_size(preset, frames, height, width, labels):
    for drawing in get_args(Drawing) if preset == "tiny" else ("sprites",):
        makes_and_scores(preset, frames, height, width, labels, drawing)


def makes_and_scores(preset: str, frames: int, height: int, width: int, labels: int, drawing: Drawing) -> None:
    generator, discriminator = build(preset, frames, height, width, labels, drawing)
    label_B = torch.arange(2) % labels if labels else None
    with torch.no_grad():
        video_BCTHW = generator(torch.randn(2, generator.latent), label_B)
        logits_B = discriminator(video_BCTHW, label_B)
    assert video_BCTHW.shape == (2, 3, frames, height, width)
    assert video_BCTHW.dtype == torch.float32 and video_BCTHW.abs().max() <= 1
    assert logits_B.shape == (2,) and logits_B.isfinite().all()


def test_default_times_are_the_trained_frames_and_longer_ones_continue_them():
    generator, _ = build("tiny", 4, 16, 16, 0)
    z_BZ = torch.randn(1, generator.latent)
    with torch.no_grad():
        short, long = generator(z_BZ), generator(z_BZ, None, torch.arange(10))
    torch.testing.assert_close(long[:, :, :4], short)
    assert long.shape[2] == 10


def test_motion_changes_with_time_and_content_does_not():
    generator, _ = build("tiny", 8, 16, 16, 0)
    z_BZ = torch.randn(1, generator.latent)
    content_BD, moves_BPK, basis_TK = generator.codes(z_BZ, z_BZ.new_zeros(1, 0), torch.arange(8))
    path_BTP = torch.einsum("bpk,tk->btp", moves_BPK, basis_TK)
    assert content_BD.shape == (1, 128)
    assert (path_BTP[:, 1:] - path_BTP[:, :-1]).abs().amax(2).min() > 0


def test_classes_change_the_clip_and_the_score():
    generator, discriminator = build("tiny", 4, 16, 16, 2)
    z_BZ = torch.randn(1, generator.latent).expand(2, -1)
    with torch.no_grad():
        one, other = generator(z_BZ, torch.tensor([0, 1]))
        scores_B = discriminator(one.expand(2, -1, -1, -1, -1), torch.tensor([0, 1]))
    assert not torch.equal(one, other)
    assert scores_B[0] != scores_B[1]


def test_a_conditional_generator_without_labels_is_refused():
    generator, _ = build("tiny", 4, 16, 16, 2)
    with pytest.raises(ConfigError, match="2 classes"):
        generator(torch.randn(1, generator.latent))


def test_an_unknown_family_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match="r3"):
        build_discriminator("r9", {}, ClipShape(frames=4, height=16, width=16))


def test_a_record_that_describes_no_network_is_corrupt():
    shape = ClipShape(frames=4, height=16, width=16)
    record = generator_record(shape)
    with pytest.raises(CorruptDataError):
        build_generator(record.model_copy(update={"network": {"widths": "wide"}}))


def test_weights_of_networks_whose_code_has_changed_are_refused():
    record = generator_record(ClipShape(frames=4, height=16, width=16)).model_copy(update={"family_version": 1})
    with pytest.raises(ConfigError, match="version 1 of the r3 networks") as refused:
        build_generator(record)
    assert "Train again" in refused.value.hint
