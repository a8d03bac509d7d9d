import json
import os

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from flows.cli.app import app
from vgan.data.shapes import draw_shape, render
from vgan.errors import BadInputError, StorageError
from vgan.media.encode import mp4_bytes, png_bytes
from vgan.media.films import film_bytes
from vgan.media.marking import Marking
from vgan.media.provenance import SYNTHETIC
from vgan.media.signing import find_signer
from vgan.media.verify import kind_of, verify_media

CLIP = render(draw_shape(0, 0, 16), 64)
TOLD = {"digitalSourceType": SYNTHETIC, "vgan_model": "a & b", "vgan_model_version": "3", "vgan_run": "r-1"}
TOLD["vgan_seed"] = "42"


@pytest.fixture(scope="module")
def marking():
    return Marking("a & b", "3", "r-1", signer=find_signer())


def npy(frames_THWC, folder):
    np.save(folder / "plain.npy", frames_THWC)
    return (folder / "plain.npy").read_bytes()


def write(folder, suffix, marking, frames_THWC=CLIP):
    """A file as generation writes it."""
    marked, path = marking.watermarked(frames_THWC, 42), folder / f"clip{suffix}"
    content = {
        ".mp4": lambda: mp4_bytes(marked, 8, marking.tags(42)),
        ".webm": lambda: film_bytes(marked, 8, "webm", tags=marking.tags(42)),
        ".gif": lambda: film_bytes(marked, 8, "gif"),
        ".png": lambda: png_bytes(marked[0]),
        ".npy": lambda: npy(marked, folder),
    }[suffix]()
    path.write_bytes(marking.signed(content, suffix, 42))
    return path


def verify(*arguments):
    result = CliRunner().invoke(app, ["verify-media", *map(str, arguments)], env={"COLUMNS": "300"})
    return result.exit_code, result.output


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".gif", ".png", ".npy"])
def test_each_kind_of_file_carries_the_marks_that_it_can(marking, suffix, tmp_path):
    found = verify_media(write(tmp_path, suffix, marking))
    assert found.synthetic and found.kind == suffix[1:]
    assert found.tags == ({} if suffix == ".npy" else TOLD)
    assert found.manifest.state == ("unsupported" if suffix in (".webm", ".npy") else "development")
    generation = {"model": "a & b", "version": "3", "run": "r-1", "seed": "42"}
    assert found.manifest.generation == (None if found.manifest.state == "unsupported" else generation)
    assert found.watermark.found or suffix == ".png", "one frame that is nearly black tells too little"
    assert found.watermark.frames == (1 if suffix == ".png" else 16)


def test_marked_files_are_what_they_were_to_those_who_open_them(marking, tmp_path):
    for suffix, frames in ((".gif", 16), (".png", 1)):
        with Image.open(write(tmp_path, suffix, marking)) as image:
            assert image.size == (64, 64) and getattr(image, "n_frames", 1) == frames
            assert SYNTHETIC.encode() in (tmp_path / f"clip{suffix}").read_bytes()
            shown = np.asarray(image.convert("RGB")).astype(int)
        assert np.abs(shown - marking.watermarked(CLIP, 42)[0]).max() < 16


def test_what_cannot_carry_a_manifest_stays_as_it_was(marking):
    for suffix in (".webm", ".npy", ".json"):
        assert marking.signed(b"content", suffix, 1) == b"content"


def test_a_model_that_is_not_registered_names_no_version(tmp_path):
    plain = Marking("shapes", "", "r-1", watermark=False)
    assert "vgan_model_version" not in plain.tags(1) and plain.watermarked(CLIP, 1) is CLIP
    found = verify_media(write(tmp_path, ".mp4", plain))
    assert found.synthetic and found.manifest.state == "none" and not found.watermark.found
    signed = Marking("shapes", "", "r-1", signer=find_signer())
    assert "version" not in verify_media(write(tmp_path, ".mp4", signed)).manifest.generation


def test_the_watermark_speaks_when_the_rest_is_stripped(marking, make_video, tmp_path):
    whole = write(tmp_path, ".mp4", marking)
    again = make_video(tmp_path / "again.mp4", "-i", whole, "-crf", "28", "-pix_fmt", "yuv420p", "-map_metadata", "-1")
    found = verify_media(again)
    assert found.synthetic and found.watermark.found and not found.tags and found.manifest.state == "none"


def test_a_film_in_another_container_keeps_its_tags(marking, make_video, tmp_path):
    whole = write(tmp_path, ".mp4", marking)
    for name in ("copy.mov", "copy.mkv"):
        copy = verify_media(make_video(tmp_path / name, "-i", whole, "-c", "copy"))
        assert copy.tags == TOLD and copy.watermark.found


def test_the_tags_beside_an_array_are_read(marking, tmp_path):
    path = write(tmp_path, ".npy", Marking("m", "", "r", watermark=False))
    assert not verify_media(path).synthetic
    beside = tmp_path / "clip.npy.json"
    beside.write_text(json.dumps({"synthetic": True, "fps": 8, **marking.tags(42)}))
    assert verify_media(path).tags == TOLD
    for content in ("no", "[]", "{}"):
        beside.write_text(content)
        assert verify_media(path).tags == {}


def test_verify_says_in_plain_words_what_it_found(marking, tmp_path):
    code, said = verify(write(tmp_path, ".mp4", marking))
    assert code == 0
    for words in ("yes, it says so", "model a & b", "model version 3", "run r-1", "seed 42", "development certificate",
                  "proves nothing about who signed", "watermark: found"):  # fmt: skip
        assert words in said, words
    told = json.loads(verify(tmp_path / "clip.mp4", "--json")[1])
    assert told["synthetic"] and told["tags"] == TOLD and told["manifest"]["state"] == "development"
    assert told["watermark"]["found"] and told["watermark"]["score"] >= told["watermark"]["threshold"]


def test_verify_of_an_unmarked_video_ends_with_77(plain_video):
    code, said = verify(plain_video)
    assert code == 77 and "nothing in it says so, which proves nothing" in said and "there is none" in said
    code, said = verify(plain_video, "--json")
    assert code == 77 and json.loads(said)["synthetic"] is False


def test_verify_tells_that_a_file_was_altered(marking, tmp_path):
    path = write(tmp_path, ".mp4", marking)
    path.write_bytes(path.read_bytes().replace(b"r-1", b"r-2"))
    code, said = verify(path)
    assert code == 0 and "altered after signing" in said and "mismatch" in said


def test_verify_trusts_whom_it_is_told_to(marking, tmp_path):
    path = write(tmp_path, ".png", marking)
    (tmp_path / "root.pem").write_bytes(marking.signer.certificates)
    assert "valid, by a trusted certificate" in verify(path, "--trust", tmp_path / "root.pem")[1]
    assert verify(path, "--trust", tmp_path / "none.pem")[0] == 2
    (tmp_path / "no.pem").write_text("no")
    assert verify(path, "--trust", tmp_path / "no.pem")[0] == 2


def test_verify_refuses_what_is_no_media(tmp_path):
    """FAULTS 18: what is no video is refused by name, and what waits for ever is not opened."""
    (tmp_path / "text.mp4").write_text("no video at all")
    (tmp_path / "cut.png").write_bytes(png_bytes(CLIP[0])[:200])
    (tmp_path / "cut.gif").write_bytes(b"GIF89a")
    (tmp_path / "cut.mp4").write_bytes(mp4_bytes(CLIP, 8)[:900])
    np.save(tmp_path / "float.npy", np.zeros((2, 4, 4, 3)))
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object))
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "folder.mp4").mkdir()
    for path in [*sorted(tmp_path.iterdir()), tmp_path / "missing.mp4"]:
        with pytest.raises(BadInputError, match=path.name.replace(".", r"\.")):
            verify_media(path)
        code, said = verify(path)
        assert code == 65 and path.name in said, path


def test_verify_obeys_nothing_that_a_file_says(tmp_path):
    """FAULTS 46: control characters of a file's tags are shown, not sent to the terminal."""
    hostile = Marking("\x1b[2J[red]boo", "", "r", watermark=False)
    code, said = verify(write(tmp_path, ".mp4", hostile))
    assert code == 0 and "\x1b" not in said and "[red]boo" in said


def test_a_picture_that_unfolds_to_a_huge_one_is_refused(tmp_path):
    """FAULTS 28: a small file that claims a huge picture is refused before it is unfolded."""
    import struct
    import zlib

    content = bytearray(png_bytes(CLIP[0]))
    content[16:24] = struct.pack(">II", 30_000, 30_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (tmp_path / "huge.png").write_bytes(content)
    with pytest.raises(BadInputError, match="too large"):
        verify_media(tmp_path / "huge.png")


def test_what_cannot_be_read_is_told(tmp_path, monkeypatch):
    path = tmp_path / "x.mp4"
    path.write_bytes(b"")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(StorageError, match="Permission denied"):
        kind_of(path)
