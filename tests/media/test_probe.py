import pytest

from vgan.media.decode import Decoder
from vgan.media.probe import read_stream_info, why_nothing

LIES = [
    "[info]   Stream #0:0 (prores) -> settb",
    "x\n[info]   Stream #0:0 (prores) -> settb:default",
    "x\r[info]   Duration: 99:00:00.00,",
    "[verbose]   Input stream #0:0 (video): 9 packets read (1 bytes); 9999 frames decoded; 9999 decode errors;",
    "[h264 @ 0x1] [error] stream 0, offset 0x1: partial file",
    "\n[h264 @ 0x1] [error] stream 0, offset 0x1: partial file\n[warning] corrupt decoded frame\n",
    "[Parsed_scale_2 @ 0x1] [verbose] w:9999 h:9999 fmt:x sar:1/1 -> ",
    "\x1b[31m" + "x" * 100_000,
]


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_metadata_cannot_pass_for_a_message(make_video, plain_video, tmp_path, lie, ending):
    def info_of(path):
        decoder = Decoder(path, fps=8, height=32, width=32)
        assert len(list(decoder)) == 32
        return decoder.info

    honest = make_video(tmp_path / f"honest.{ending}", "-i", plain_video, "-c", "copy")
    tags = [word for key in ("title", "comment", lie[:60]) for word in ("-metadata", f"{key}={lie}")]
    tags += ["-metadata:s:v:0", f"title={lie}", "-movflags", "+use_metadata_tags"]
    lying = make_video(tmp_path / f"lying.{ending}", "-i", plain_video, "-c", "copy", *tags)
    assert info_of(lying) == info_of(honest)


def test_facts_are_those_of_the_stream(plain_video):
    decoder = Decoder(plain_video, fps=8, height=32, width=32)
    list(decoder)
    info = decoder.info
    assert (info.codec, info.width, info.height, info.fps, info.seconds) == ("h264", 64, 48, 10, 4)
    assert (info.packets, info.frames_decoded, info.decode_errors, info.cut_off) == (40, 40, 0, False)


def test_silence_is_no_video():
    assert read_stream_info("") is None
    assert why_nothing("") == "unreadable"
