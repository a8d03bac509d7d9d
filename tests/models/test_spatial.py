import pytest
import torch

from vgan.models.network import ClipShape, R3Discriminator
from vgan.models.r3 import R3DiscriminatorNetwork
from vgan.models.spatial import SpatialDiscriminator, evenly_spread


@pytest.fixture
def spatial() -> SpatialDiscriminator:
    torch.manual_seed(0)
    return SpatialDiscriminator(fold=2, width=8, features=16)


def thing(left: int) -> torch.Tensor:
    """One clip [1, 3, 1, 32, 32] of black with a bright square far from its borders."""
    video_BCTHW = torch.full((1, 3, 1, 32, 32), -1.0)
    video_BCTHW[..., 12:17, left : left + 5] = 1.0
    return video_BCTHW


def test_only_the_frames_looked_at_decide(spatial):
    video_BCTHW = torch.randn(2, 3, 6, 16, 16, requires_grad=True)
    spatial(video_BCTHW, torch.tensor([[0, 4], [5, 1]])).sum().backward()
    seen_BT = video_BCTHW.grad.abs().sum((1, 3, 4)) > 0
    assert seen_BT.tolist() == [[True, False, False, False, True, False], [False, True, False, False, False, True]]


def test_a_frame_is_judged_alike_wherever_it_stands_in_the_clip(spatial):
    video_BCTHW = torch.randn(1, 3, 4, 16, 16)
    turned_BCTHW = video_BCTHW.flip(2)
    there, here = torch.tensor([[0, 1]]), torch.tensor([[3, 2]])
    torch.testing.assert_close(spatial(video_BCTHW, there), spatial(turned_BCTHW, here))


def test_a_thing_is_judged_alike_wherever_it_stands_in_the_picture(spatial):
    moment = torch.tensor([[0]])
    here, there, nothing = (
        spatial(thing(12), moment),
        spatial(thing(14), moment),
        spatial(-torch.ones(1, 3, 1, 32, 32), moment),
    )
    torch.testing.assert_close(here, there)
    assert (here - nothing).abs() > 1e-3


def test_frames_are_spread_over_the_whole_clip_where_none_are_named():
    assert evenly_spread(2, 8, 2).tolist() == [[2, 6], [2, 6]]
    assert evenly_spread(1, 16, 1).tolist() == [[8]]
    assert evenly_spread(1, 3, 3).tolist() == [[0, 1, 2]]


def test_a_clip_of_fewer_frames_than_looks_is_looked_at_once_a_frame():
    network = R3Discriminator(fold=2, widths=(8, 8), looks=5, look_width=8)
    discriminator = R3DiscriminatorNetwork(network, ClipShape(frames=3, height=16, width=16))
    assert discriminator.looks == 3
    assert discriminator(torch.zeros(2, 3, 3, 16, 16)).shape == (2,)


def test_a_clips_logit_depends_on_its_named_frames():
    network = R3Discriminator(fold=2, widths=(8, 8), looks=1, look_width=8)
    torch.manual_seed(1)
    discriminator = R3DiscriminatorNetwork(network, ClipShape(frames=4, height=16, width=16))
    video_BCTHW = torch.randn(1, 3, 4, 16, 16)
    first, last, unnamed = (
        discriminator(video_BCTHW, None, m) for m in (torch.tensor([[0]]), torch.tensor([[3]]), None)
    )
    assert first != last
    assert unnamed == discriminator(video_BCTHW, None, torch.tensor([[2]]))


def test_without_looks_the_stack_of_frames_decides_alone():
    network = R3Discriminator(fold=2, widths=(8, 8), looks=0, look_width=8)
    torch.manual_seed(1)
    discriminator = R3DiscriminatorNetwork(network, ClipShape(frames=4, height=16, width=16))
    video_BCTHW = torch.randn(1, 3, 4, 16, 16)
    nothing = torch.zeros(1, 0, dtype=torch.long)
    assert discriminator(video_BCTHW, None, nothing) == discriminator(video_BCTHW)
    assert not [name for name, _ in discriminator.named_parameters() if "spatial" in name]
