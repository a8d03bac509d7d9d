import torch

from vgan.models.points import MovingPoints, Splat


def test_a_point_draws_where_it_is_and_nowhere_else():
    splat = Splat(code=4, points=1, width=3)
    place_NK2, size_NK = torch.tensor([[[0.5, -0.5]]]), torch.tensor([[0.1]])
    drawn_NCHW = splat(torch.zeros(1, 3, 16, 16), place_NK2, size_NK, torch.randn(1, 4))
    strength_HW = drawn_NCHW[0].abs().sum(0)
    rows, columns = torch.nonzero(strength_HW > 0.1 * strength_HW.max(), as_tuple=True)
    assert {3, 4} == {round(rows.float().mean().item() - 0.01), round(rows.float().mean().item() + 0.51)}
    assert 11 <= columns.float().mean() <= 12
    assert strength_HW[12, 2] < 1e-6 * strength_HW.max()


def test_a_point_moves_with_its_path_and_can_leave_the_picture():
    points = MovingPoints(path=2, code=4, points=3, size=0.25)
    place_NK2, size_NK = points(torch.tensor([[-30.0, 0.0], [30.0, 0.0]]), torch.zeros(2, 4))
    assert place_NK2.shape == (2, 3, 2) and (place_NK2[0] - place_NK2[1]).abs().min() > 1
    assert 1 < place_NK2.abs().max() <= 1.2
    torch.testing.assert_close(size_NK, torch.full((2, 3), 0.25))
