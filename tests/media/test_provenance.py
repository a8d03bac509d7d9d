import numpy as np
import pytest

from vgan.errors import BadInputError
from vgan.media.encode import write_mp4
from vgan.media.provenance import SYNTHETIC, read_marking, synthetic_metadata

FRAMES = np.zeros((4, 32, 32, 3), np.uint8)


def test_a_generated_video_says_so_and_names_its_model(tmp_path):
    write_mp4(tmp_path / "x.mp4", FRAMES, 8, synthetic_metadata("shapes", "version 3", 42))
    assert read_marking(tmp_path / "x.mp4") == {
        "digitalSourceType": SYNTHETIC,
        "vgan_model": "shapes",
        "vgan_run": "version 3",
        "vgan_seed": "42",
    }
    assert SYNTHETIC.encode() in (tmp_path / "x.mp4").read_bytes(), "any tool that looks for the code finds it"


@pytest.mark.parametrize("name", ["copy.mp4", "copy.mkv", "copy.mov"])
def test_the_marking_survives_a_change_of_container(make_video, tmp_path, name):
    marking = synthetic_metadata("a;b=c\\d#e\nf", "run", 1)
    write_mp4(tmp_path / "x.mp4", FRAMES, 8, marking)
    copy = make_video(tmp_path / name, "-i", tmp_path / "x.mp4", "-c", "copy")
    assert read_marking(copy) == {key: value for key, value in marking.items() if key != "comment"}


def test_a_camera_video_has_no_marking(plain_video, make_video, tmp_path):
    assert read_marking(plain_video) == {}
    odd = make_video(tmp_path / "odd.mp4", "-i", plain_video, "-c", "copy", "-metadata", 'comment=["not", "ours"]')
    assert read_marking(odd) == {}


def test_a_file_that_is_no_video_is_refused(tmp_path):
    (tmp_path / "x.mp4").write_text("no")
    with pytest.raises(BadInputError, match=r"x\.mp4"):
        read_marking(tmp_path / "x.mp4")
