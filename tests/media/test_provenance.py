from xml.etree import ElementTree as xml

import av
import numpy as np
import pytest

from vgan.errors import BadInputError
from vgan.media.encode import write_mp4, write_png
from vgan.media.provenance import C2PA_BOX, SYNTHETIC, read_marking, read_marks, synthetic_metadata
from vgan.media.xmp import XMP_BOX, marking_of, read_xmp, with_xmp

FRAMES = np.zeros((4, 32, 32, 3), np.uint8)


def test_a_generated_video_says_so_and_names_its_model(tmp_path):
    write_mp4(tmp_path / "x.mp4", FRAMES, 8, synthetic_metadata("shapes", "shapes-1f0c", 42, version="3"))
    assert read_marking(tmp_path / "x.mp4") == {
        "digitalSourceType": SYNTHETIC,
        "vgan_model": "shapes",
        "vgan_model_version": "3",
        "vgan_run": "shapes-1f0c",
        "vgan_seed": "42",
    }
    assert SYNTHETIC.encode() in (tmp_path / "x.mp4").read_bytes(), "any tool that looks for the code finds it"


@pytest.mark.parametrize("name", ["copy.mp4", "copy.mkv", "copy.mov"])
def test_the_marking_survives_a_change_of_container(make_video, tmp_path, name):
    marking = synthetic_metadata("a;b=c\\d#e\nf", "run", 1)
    write_mp4(tmp_path / "x.mp4", FRAMES, 8, marking)
    copy = make_video(tmp_path / name, "-i", tmp_path / "x.mp4", "-c", "copy")
    assert read_marking(copy) == {key: value for key, value in marking.items() if key != "comment"}


def test_a_model_that_is_not_registered_has_no_version():
    assert "vgan_model_version" not in synthetic_metadata("shapes", "shapes-1f0c", 42)


def test_xmp_says_what_the_tags_say_whatever_the_names(make_video, tmp_path):
    tags = synthetic_metadata("<a> & \"b\" 'c' \N{SNOWMAN}\n", "run", 1, "3")
    told = {key: value for key, value in tags.items() if key != "comment"}
    write_mp4(tmp_path / "x.mp4", FRAMES, 8, tags)
    make_video(tmp_path / "x.gif", "-i", tmp_path / "x.mp4")
    write_png(tmp_path / "x.png", FRAMES[0])
    for kind in ("gif", "png"):
        path = tmp_path / f"x.{kind}"
        path.write_bytes(with_xmp(path.read_bytes(), f".{kind}", tags))
        xml.fromstring(read_xmp(path, kind).partition("?>")[2].rpartition("<?")[0])
        assert marking_of(read_xmp(path, kind)) == told
        assert read_marks(path, {"xmp": read_xmp(path, kind)}) == ("iptc-ai",)
    marked = with_xmp((tmp_path / "x.mp4").read_bytes(), ".mp4", tags)
    (tmp_path / "x.mp4").write_bytes(marked)
    assert read_marks(tmp_path / "x.mp4", {}) == ("iptc-ai",), "others find it without vgan's own tags"
    assert len(list(av.open(str(tmp_path / "x.mp4")).decode(video=0))) == len(FRAMES)


def test_xmp_of_others_is_not_taken_for_vgans():
    assert marking_of(TRAINED.decode()) == {} == marking_of("") == marking_of('<vgan:model="x"')


@pytest.mark.parametrize("kind", ["gif", "png"])
def test_files_that_are_cut_off_or_lie_have_no_xmp(kind, tmp_path):
    path = tmp_path / "x"
    start = {"gif": b"GIF89a", "png": b"\x89PNG\r\n\x1a\n"}[kind]
    for rest in (b"", b"\0\0", b"\xff" * 50, b"\xff\xff\xff\xffiTXtXML:com.adobe.xmp\0\0", bytes(5000)):
        path.write_bytes(start + rest)
        assert read_xmp(path, kind) == ""


def test_a_camera_video_has_no_marking(plain_video, make_video, tmp_path):
    assert read_marking(plain_video) == {}
    odd = make_video(tmp_path / "odd.mp4", "-i", plain_video, "-c", "copy", "-metadata", 'comment=["not", "ours"]')
    assert read_marking(odd) == {}


def test_a_file_that_is_no_video_is_refused(tmp_path):
    (tmp_path / "x.mp4").write_text("no")
    with pytest.raises(BadInputError, match=r"x\.mp4"):
        read_marking(tmp_path / "x.mp4")


def tags_of(path):
    with av.open(str(path)) as video:
        return {**video.streams.video[0].metadata, **video.metadata}


def box(kind: bytes, content: bytes, *, long: bool = False) -> bytes:
    if long:
        return (1).to_bytes(4, "big") + kind + (16 + len(content)).to_bytes(8, "big") + content
    return (8 + len(content)).to_bytes(4, "big") + kind + content


FTYP = box(b"ftyp", b"isom\0\0\0\0isom")
XMP = b'<x:xmpmeta><rdf:Description Iptc4xmpExt:DigitalSourceType="%s"/></x:xmpmeta>'
TRAINED, CAMERA = XMP % SYNTHETIC.encode(), XMP % b"http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"
MANIFEST = bytes(4) + b"manifest\0" + bytes(8) + b"jumb c2pa ... "


@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv"])
def test_what_this_program_made_is_recognised(make_video, tmp_path, ending):
    write_mp4(tmp_path / "x.mp4", FRAMES, 8, synthetic_metadata("shapes", "version 3", 42))
    assert read_marks(tmp_path / "x.mp4", tags_of(tmp_path / "x.mp4")) == ("iptc-ai",)
    copy = make_video(tmp_path / f"copy.{ending}", "-i", tmp_path / "x.mp4", "-c", "copy")
    assert read_marks(copy, tags_of(copy)) == ("iptc-ai",)


@pytest.mark.parametrize(
    ("content", "marks"),
    [
        (FTYP + box(b"uuid", XMP_BOX + TRAINED), ("iptc-ai",)),
        (FTYP + box(b"uuid", XMP_BOX + TRAINED.replace(b"trained", b"compositeWithTrained")), ("iptc-ai",)),
        (FTYP + box(b"uuid", XMP_BOX + CAMERA), ()),
        (FTYP + box(b"uuid", XMP_BOX + b"a film about trainedAlgorithmicMedia"), ()),
        (FTYP + box(b"moov", box(b"udta", box(b"XMP_", TRAINED))), ("iptc-ai",)),
        (FTYP + box(b"moov", box(b"uuid", XMP_BOX + TRAINED)), ("iptc-ai",)),
        (FTYP + box(b"uuid", C2PA_BOX + MANIFEST), ("c2pa",)),
        (FTYP + box(b"uuid", C2PA_BOX + MANIFEST + SYNTHETIC.encode()), ("c2pa", "c2pa-ai")),
        (FTYP + box(b"mdat", bytes(99), long=True) + box(b"uuid", C2PA_BOX + MANIFEST, long=True), ("c2pa",)),
        (
            FTYP + box(b"uuid", C2PA_BOX + SYNTHETIC.encode()) + box(b"uuid", XMP_BOX + TRAINED),
            ("c2pa", "c2pa-ai", "iptc-ai"),
        ),
        (FTYP + box(b"mdat", box(b"uuid", C2PA_BOX + MANIFEST)), ()),
        (FTYP + b"\0\0\0\0mdat" + box(b"uuid", C2PA_BOX + MANIFEST), ()),
    ],
)
def test_marks_are_read_from_the_boxes_where_others_put_them(tmp_path, content, marks):
    path = tmp_path / "x.mp4"
    path.write_bytes(content)
    assert read_marks(path, {}) == marks


@pytest.mark.parametrize(
    ("tags", "marks"),
    [
        ({"DIGITALSOURCETYPE": "trainedAlgorithmicMedia"}, ("iptc-ai",)),
        ({"Iptc4xmpExt:DigitalSourceType": "compositeWithTrainedAlgorithmicMedia"}, ("iptc-ai",)),
        ({"xmp": TRAINED.decode()}, ("iptc-ai",)),
        ({"digitalSourceType": "digitalCapture"}, ()),
        ({"title": "trainedAlgorithmicMedia, a film", "comment": '{"a": 1}'}, ()),
        ({"title": "\udcff"}, ()),
    ],
)
def test_marks_are_read_from_tags(plain_video, tags, marks):
    assert read_marks(plain_video, tags) == marks


def test_sizes_that_lie_are_not_followed(tmp_path):
    """FAULTS 46: hostile structure in metadata ends the search, and costs nothing."""
    path = tmp_path / "x.mp4"
    deep = box(b"uuid", XMP_BOX + TRAINED)
    for _ in range(2000):
        deep = box(b"moov", deep)
    lies = [
        b"",
        b"\0\0\0",
        FTYP[:10],
        FTYP + b"\xff\xff\xff\xffmoov",
        FTYP + b"\0\0\0\7moov" + bytes(50),
        FTYP + b"\0\0\0\1uuid" + b"\xff" * 8 + C2PA_BOX,
        FTYP + b"\0\0\0\1uuid" + bytes(8) + C2PA_BOX,
        FTYP + b"\0\0\0\x10uuid" + C2PA_BOX,
        box(b"free", b"") * 50_000,
        np.random.default_rng(0).bytes(10_000),
    ]
    for content in lies:
        path.write_bytes(content)
        assert set(read_marks(path, {})) <= {"c2pa"}
    path.write_bytes(deep)
    assert read_marks(path, {}) == ("iptc-ai",)


def test_a_camera_video_says_nothing(plain_video):
    assert read_marks(plain_video, tags_of(plain_video)) == ()
