import numpy as np
import pytest
from decoding import first_picture, frames_of

from vgan.media.colour import KNEE, PEAK, REFERENCE_WHITE
from vgan.media.decode import VideoError

RED = (0xC0, 0x28, 0x50)
GRAPH = "color=0xc02850:size={size}:rate=8:duration=0.5"


def written(lavfi, path, matrix, full, pixels="yuv444p", size="64x64", *tags):
    """The red picture in this matrix and range; said in the file only as `tags` say it."""
    convert = f",scale=out_color_matrix={matrix}:out_range={'full' if full else 'limited'},format={pixels}"
    strip = ",setparams=colorspace=unknown:range=unknown" if not tags else ""
    return lavfi(path, GRAPH.format(size=size) + convert + strip, "-c:v", "libx264", "-crf", "3", *tags)


@pytest.mark.parametrize("matrix", ["bt709", "bt601", "bt2020"])
@pytest.mark.parametrize("full", [False, True])
def test_a_named_matrix_and_range_are_undone(lavfi, tmp_path, matrix, full):
    """FAULTS 26: full range and any matrix, small pictures too."""
    tag = {"bt709": "bt709", "bt601": "smpte170m", "bt2020": "bt2020nc"}[matrix]
    tags = ("-colorspace", tag, "-color_range", "pc" if full else "tv")
    video = written(lavfi, tmp_path / "x.mkv", matrix, full, "yuv444p", "64x64", *tags)
    _, info = frames_of(video)
    assert info.colour == f"{matrix} {'full' if full else 'limited'}"
    assert np.abs(first_picture(video) - RED).max() <= 6


@pytest.mark.parametrize(
    ("size", "matrix"), [("64x64", "bt601"), ("720x576", "bt601"), ("720x578", "bt709"), ("1026x400", "bt709")]
)
def test_an_unnamed_matrix_follows_the_size(lavfi, tmp_path, size, matrix):
    video = written(lavfi, tmp_path / "x.avi", matrix, False, "yuv420p", size)
    _, info = frames_of(video)
    assert info.colour == f"{matrix} limited, assumed"
    assert np.abs(first_picture(video) - RED).max() <= 6


def test_ten_and_twelve_bits_become_eight(lavfi, tmp_path):
    """FAULTS 26: more than 8 bits."""
    for codec, pixels in (("libx264", "yuv420p10le"), ("ffv1", "yuv422p12le"), ("prores_ks", "yuv444p10le")):
        video = lavfi(tmp_path / f"{pixels}.mov", GRAPH.format(size="64x64"), "-c:v", codec, "-pix_fmt", pixels)
        assert np.abs(first_picture(video) - RED).max() <= 4, pixels


@pytest.mark.parametrize(("codec", "pixels"), [("ffv1", "bgr0"), ("libx264rgb", "bgr24"), ("png", "pal8")])
def test_rgb_and_palettes_pass(lavfi, tmp_path, codec, pixels):
    palette = ",split[a][b];[a]palettegen[p];[b][p]paletteuse" if pixels == "pal8" else ""
    video = lavfi(tmp_path / "x.mkv", GRAPH.format(size="64x64") + palette, "-c:v", codec, "-pix_fmt", pixels)
    _, info = frames_of(video)
    assert info.colour == "rgb"
    assert np.abs(first_picture(video) - RED).max() <= 4


@pytest.mark.parametrize("limited", [False, True])
def test_grey_is_neither_washed_out_nor_crushed(lavfi, tmp_path, limited):
    """FAULTS 26: grey of either range."""
    values = "16+X*219/63" if limited else "X*255/63"
    graph = f"nullsrc=size=64x64:rate=8:duration=0.5,format=gray,geq=lum='{values}'"
    tags = ("-color_range", "tv" if limited else "pc")
    if limited:
        graph += ",setparams=range=limited"
    video = lavfi(tmp_path / "x.mkv", graph, "-c:v", "ffv1", "-pix_fmt", "gray", *tags)
    _, info = frames_of(video)
    assert info.colour == ("grey limited" if limited else "grey full")
    picture = first_picture(video, 64, 64)
    assert np.abs(picture[32, :, 1] - np.arange(64) * 255 / 63).max() <= 2


def pq_code(nits):
    """SMPTE ST 2084, inverse EOTF, as a part of 1."""
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    power = (nits / 10_000) ** m1
    return ((c1 + c2 * power) / (1 + c3 * power)) ** m2


def hlg_code(nits):
    """ARIB STD-B67 after the inverse OOTF of BT.2100 for grey on a display of 1,000 cd/m2."""
    scene = (nits / 1000) ** (1 / 1.2)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return (3 * scene) ** 0.5 if scene <= 1 / 12 else a * np.log(12 * scene - b) + c


def shown_grey(light):
    """The documented rule for light in parts of reference white, as an 8-bit grey."""
    if light > KNEE:
        most = (PEAK / REFERENCE_WHITE - KNEE) / (1 - KNEE)
        above = min((light - KNEE) / (1 - KNEE), most)
        light = KNEE + (1 - KNEE) * above * (1 + above / most**2) / (1 + above)
    return light ** (1 / 2.4) * 255


def hdr_video(lavfi, path, code, transfer):
    level = round(64 + code * 876)
    graph = f"nullsrc=size=64x64:rate=8:duration=0.5,format=yuv420p10le,geq=lum={level}:cb=512:cr=512"
    graph += f",setparams=range=limited:color_primaries=bt2020:color_trc={transfer}:colorspace=bt2020nc"
    tags = ("-colorspace", "bt2020nc", "-color_primaries", "bt2020", "-color_trc", transfer, "-color_range", "tv")
    return lavfi(path, graph, "-c:v", "ffv1", "-pix_fmt", "yuv420p10le", *tags)


@pytest.mark.parametrize(("transfer", "code_of"), [("smpte2084", pq_code), ("arib-std-b67", hlg_code)])
def test_high_range_greys_become_those_of_a_standard_grade(lavfi, tmp_path, transfer, code_of):
    """FAULTS 26: HDR is tone-mapped, and never washed out: light below the knee keeps its place."""
    last = -1.0
    for share in (0.0, 0.02, 0.18, 0.5, 1.0, 2.0, 4.9):
        video = hdr_video(lavfi, tmp_path / f"{share}.mkv", code_of(share * REFERENCE_WHITE), transfer)
        _, info = frames_of(video)
        name = "pq" if transfer == "smpte2084" else "hlg"
        assert (info.colour, info.treatment) == (f"{name} bt2020, tone-mapped", ("tone-mapped",))
        picture = first_picture(video)
        assert np.ptp(picture) <= 1, "grey stays grey"
        assert abs(picture.mean() - shown_grey(share)) <= 2.5, share
        assert picture.mean() > last
        last = picture.mean()
    assert last > 250


def test_high_range_colours_keep_their_hue(lavfi, tmp_path):
    # BT.2020 YCbCr of PQ codes for a red of BT.709, (0.5, 0.05, 0.05) of reference white.
    to_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
    red, green, blue = (pq_code(light * REFERENCE_WHITE) for light in to_2020 @ (0.5, 0.05, 0.05))
    luma = 0.2627 * red + 0.6780 * green + 0.0593 * blue
    cb, cr = (blue - luma) / 1.8814, (red - luma) / 1.4746
    y, u, v = round(64 + luma * 876), round(512 + cb * 896), round(512 + cr * 896)
    graph = f"nullsrc=size=64x64:rate=8:duration=0.5,format=yuv444p10le,geq=lum={y}:cb={u}:cr={v}"
    graph += ",setparams=range=limited:color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc"
    tags = ("-colorspace", "bt2020nc", "-color_primaries", "bt2020", "-color_trc", "smpte2084", "-color_range", "tv")
    video = lavfi(tmp_path / "x.mkv", graph, "-c:v", "ffv1", "-pix_fmt", "yuv444p10le", *tags)
    expected = np.array([0.5, 0.05, 0.05]) ** (1 / 2.4) * 255
    assert np.abs(first_picture(video) - expected).max() <= 4


def test_a_matrix_that_cannot_be_undone_is_refused(lavfi, tmp_path):
    graph = GRAPH.format(size="64x64") + ",format=yuv444p,setparams=colorspace=ycgco"
    video = lavfi(tmp_path / "x.mkv", graph, "-c:v", "libx264", "-colorspace", "ycgco")
    with pytest.raises(VideoError, match="matrix") as caught:
        frames_of(video)
    assert caught.value.reason == "unsupported_codec"
