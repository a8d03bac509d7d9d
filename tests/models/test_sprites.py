import torch

from vgan.models.outline import HARMONICS, LOBES, OUTSIDE, Outlines, middles
from vgan.models.sprites import REACH, Sprites, hats


def sprites(count: int = 1, canvas: tuple[int, int] = (8, 8)) -> Sprites:
    torch.manual_seed(0)
    return Sprites(count, latent=5, code=4, features=3, canvas=canvas, size=0.25)


def laid_over_black(model: Sprites, place_BTK2: torch.Tensor, size: int = 32) -> torch.Tensor:
    """Brightness [T, H, W], 0 to 2, of white discs without texture."""
    with torch.no_grad():
        model.canvas.weight.zero_()
        model.outlines.lobes.weight.zero_()
        model.colour.weight.zero_()
        model.colour.bias.fill_(9.0)
        black = torch.full((1, 1, 3, size, size), -1.0)
        video_BTCHW = model(black, torch.zeros(1, 3, 8, 8), torch.zeros(1, 5), torch.zeros(1, 4), place_BTK2)
    return video_BTCHW[0].mean(1) + 1


def centre(light_HW: torch.Tensor) -> tuple[float, float]:
    """(x, y) of the light, -1 to 1."""
    middle = middles(len(light_HW), torch.device("cpu"))
    light_HW = light_HW.double() / light_HW.sum()
    return float(light_HW.sum(0) @ middle.double()), float(light_HW.sum(1) @ middle.double())


def test_a_sprite_is_where_its_path_takes_it_and_nowhere_else():
    wanted_T2 = torch.tensor([[0.5, -0.5], [-0.25, 0.125]])
    within_T2 = wanted_T2 / REACH
    light_THW = laid_over_black(sprites(), (within_T2 / (1 - within_T2.square()).sqrt())[None, :, None])
    for light_HW, wanted in zip(light_THW, wanted_T2, strict=True):
        torch.testing.assert_close(torch.tensor(centre(light_HW)), wanted, atol=0.02, rtol=0)
    assert light_THW.max() > 1.5
    assert light_THW[0, 24:, :8].max() < 0.01  # of 2: nothing in the other corner


def test_a_sprite_can_leave_the_picture():
    light_THW = laid_over_black(sprites(), torch.tensor([900.0, -900.0]).reshape(1, 2, 1, 1).expand(1, 2, 1, 2), 64)
    assert light_THW.sum((1, 2)).max() < 0.1 * laid_over_black(sprites(), torch.zeros(1, 1, 1, 2), 64).sum()


def test_parts_begin_near_the_first_one():
    model = sprites(4)
    place_BTK2 = torch.randn(1, 6, 4, 2, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        model.outlines.disc_Kyx.copy_(model.outlines.disc_Kyx[:1].expand(4, -1, -1))  # all to be seen
    for light_HW in laid_over_black(model, place_BTK2):
        y_N, x_N = (light_HW > 1).nonzero().unbind(1)
        assert max(y_N.max() - y_N.min(), x_N.max() - x_N.min()) < 16  # of 32: one body; their own places lie apart


def test_a_larger_drawing_keeps_its_outline_sharp():
    soft = laid_over_black(sprites(), torch.zeros(1, 1, 1, 2), 32)[0]
    large = laid_over_black(sprites(), torch.zeros(1, 1, 1, 2), 128)[0]
    torch.testing.assert_close(torch.tensor(centre(soft)), torch.tensor(centre(large)), atol=0.02, rtol=0)
    assert abs((soft > 1).float().mean() - (large > 1).float().mean()) < 0.02


def test_an_outline_becomes_sharper_in_its_place_and_never_infinitely_so():
    soft, sharp, sharpest = sprites(), sprites(), sprites()
    with torch.no_grad():
        sharp.sharpness.fill_(0.05)
        sharpest.sharpness.fill_(1e9)
    drawn = [laid_over_black(model, torch.zeros(1, 1, 1, 2), 64)[0] for model in (soft, sharp, sharpest)]
    half = [((light_HW > 0.4) & (light_HW < 1.6)).sum().item() for light_HW in drawn]
    assert half[0] > half[1] > half[2]
    assert abs((drawn[0] > 1).float().mean() - (drawn[2] > 1).float().mean()) < 0.01
    assert all(light_HW.isfinite().all() for light_HW in drawn)


def test_no_edge_is_sharper_than_a_pixel_at_any_resolution():
    model = sprites()
    with torch.no_grad():
        model.sharpness.fill_(1e9)
    for size in (16, 32, 64):
        row_W = laid_over_black(model, torch.zeros(1, 1, 1, 2), size)[0, size // 2]
        assert 0.5 < row_W.diff().abs().max() < 1.6  # of 2: some pixel lies on the edge, and shows part of it


def test_a_tint_changes_a_colour_within_bounds():
    model = sprites()
    latent_BZ = torch.randn(64, 5)
    with torch.no_grad():
        plain_BKC = model.colour(latent_BZ).reshape(64, 1, 3)
        model.tint2.weight.mul_(1e6)
        tint_BKC = model._hues(latent_BZ) - plain_BKC
    assert 0.9 < tint_BKC.abs().max() < 1.001


def test_every_pixel_on_a_canvas_is_a_mixture_of_its_cells_and_none_off_it():
    share_Wx = hats(torch.zeros(1, 1, 1), torch.full((1, 1, 1), 0.5), 64, 8)[0, 0, 0]
    inside_W = share_Wx.sum(1)
    torch.testing.assert_close(inside_W[19:45], torch.ones(26))
    assert inside_W[:14].abs().max() == 0 == inside_W[50:].abs().max()


def test_a_canvas_drawn_smaller_than_it_is_keeps_its_mean():
    share_Wx = hats(torch.zeros(1, 1, 1), torch.full((1, 1, 1), 0.25), 16, 16)[0, 0, 0]  # 16 cells on 4 pixels
    torch.testing.assert_close(share_Wx.sum(), torch.tensor(4.0), atol=0.3, rtol=0)
    assert share_Wx.max() <= 0.25


def test_gradients_reach_what_decides_place_size_colour_and_outline():
    model = sprites(2)
    black = torch.full((1, 1, 3, 16, 16), -1.0)
    place_BTK2, latent_BZ, code_BD = 0.1 * torch.randn(1, 2, 2, 2), torch.randn(1, 5), torch.randn(1, 4)
    place_BTK2.requires_grad_()
    model(black, torch.randn(1, 3, 8, 8), latent_BZ, code_BD, place_BTK2)[..., :8].sum().backward()
    for name, tensor in {"place": place_BTK2, **dict(model.named_parameters())}.items():
        assert tensor.grad is not None and tensor.grad.abs().max() > 0, name


def outlines(count: int = 1) -> Outlines:
    torch.manual_seed(0)
    return Outlines(count, latent=48, canvas=(8, 8))


def test_outlines_differ_from_the_start_but_stay_closed_around_the_middle():
    with torch.no_grad():
        logit_Byx = outlines()(torch.randn(64, 48), torch.zeros(64, 1, 8, 8))[:, 0]
    inside_Byx = logit_Byx > 0
    assert inside_Byx[:, 3:5, 3:5].all()
    assert inside_Byx[:, [0, 0, -1, -1], [0, -1, 0, -1]].float().mean() < 0.05  # corners of the canvas
    areas_B = inside_Byx.float().mean((1, 2))
    assert areas_B.min() > 0.1 and areas_B.max() < 0.5
    assert len({tuple(outline.flatten().tolist()) for outline in inside_Byx}) > 32


def test_a_lobe_of_four_waves_makes_a_square_or_a_diamond_of_the_disc():
    model = outlines()
    square = 2 * HARMONICS.index(4)  # the cosine, which is -1 along the diagonals
    with torch.no_grad():
        model.lobes.weight.zero_()
        for sign, corners in ((-1e9, True), (1e9, False)):
            model.lobes.bias[square] = sign
            logit_yx = model(torch.zeros(1, 48), torch.zeros(1, 1, 8, 8))[0, 0]
            lobed_yx = logit_yx - model.disc_Kyx[0]
            corner, side = lobed_yx[1, 1], lobed_yx[1, 3]
            assert (corner > side) == corners


def test_a_faded_lobe_leaves_the_disc_and_a_strong_one_is_bounded():
    faded, strong = outlines(), outlines()
    latent_BZ, straight_BKyx = torch.randn(16, 48), torch.zeros(16, 1, 8, 8)
    with torch.no_grad():
        faded.strength_KF.fill_(-1e9)
        strong.strength_KF.fill_(1e9)
        disc_yx = faded.disc_Kyx[0]
        assert (faded(latent_BZ, straight_BKyx)[:, 0] - disc_yx).abs().max() < 0.1
        lobes_Byx = strong(latent_BZ, straight_BKyx)[:, 0] - disc_yx
    assert lobes_Byx.isfinite().all() and lobes_Byx.abs().max() <= LOBES * 2 * 2 * len(HARMONICS)


def test_off_the_canvas_less_than_a_grey_level_is_added():
    assert 255 * torch.sigmoid(torch.tensor(OUTSIDE)) < 0.1
