"""Counted costs against costs worked out by hand."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from vgan.models.cost import OWN, Part, network_cost


class Net(nn.Module):
    """A stem, two blocks that share their layer, and a product of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        shared = nn.Conv2d(8, 8, 1, bias=False)
        self.blocks = nn.ModuleList([shared, shared])
        self.judge = nn.Linear(8, 2)
        self.weight = nn.Parameter(torch.ones(2, 5))

    def forward(self, x_NCHW: Tensor, scale: Tensor | None) -> Tensor:
        x_NCHW = functional.avg_pool2d(self.stem(x_NCHW), 2)
        for block in self.blocks:
            x_NCHW = block(x_NCHW)
        return self.judge(x_NCHW.mean((2, 3))) @ self.weight


def test_parameters_and_multiplications_of_each_part_are_those_worked_out_by_hand() -> None:
    parts = network_cost(Net(), torch.zeros(1, 3, 16, 12), None)
    stem = Part("stem", 8 * 3 * 9 + 8, 16 * 12 * 8 * 3 * 9)
    assert stem in parts
    assert Part("judge", 8 * 2 + 2, 8 * 2) in parts
    assert Part(OWN, 2 * 5, 2 * 5) in parts
    # The shared layer runs twice on 8 x 6 places and has its 64 numbers once.
    blocks = [part for part in parts if part.name.startswith("blocks.")]
    assert sum(part.parameters for part in blocks) == 64
    assert sum(part.macs for part in parts) == 16 * 12 * 8 * 3 * 9 + 2 * 8 * 6 * 64 + 16 + 10
    assert sum(part.parameters for part in parts) == sum(p.numel() for p in Net().parameters())


def test_the_cost_of_a_clip_does_not_depend_on_gradients_or_on_the_batch() -> None:
    net = Net().requires_grad_(False)
    one, three = (network_cost(net, torch.zeros(count, 3, 16, 12), None) for count in (1, 3))
    assert [part.macs for part in three] == [3 * part.macs for part in one]
