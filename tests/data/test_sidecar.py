import logging
from pathlib import Path

import pytest

from vgan.data.files.sidecar import Said, read_sidecar
from vgan.errors import ConfigError
from vgan.remote import RemoteFolder


def write(folder: Path, content: str | bytes, name: str = "sidecar.csv") -> str:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def test_a_csv_may_have_its_columns_in_any_order(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    text = (
        "\ufeffLicense,rating,Path , label\r\n"
        "CC-BY-4.0,5,a/x.mp4, dance \r\n"
        '"MIT, or so",,"line\nbreak,""quoted"".mp4",\r\n'
        "\r\n"
        ",,./b.mp4,sing\r\n"
    )
    assert read_sidecar(write(tmp_path, text)).rows == {
        "a/x.mp4": Said("dance", "CC-BY-4.0", None),
        'line\nbreak,"quoted".mp4': Said(None, "MIT, or so", None),
        "b.mp4": Said("sing", None, None),
    }
    assert "not read: 'rating'" in caplog.text


def test_json_lines_say_the_same(tmp_path):
    lines = [
        r'{"path": "a/x.mp4", "label": "dance", "licence": null, "consent": "yes", "more": [1]}',
        "",
        r'{"label": 3, "path": "\udcff\\udcfe.mp4"}',
        r'{"path": "\u4e2d.mp4", "label": "\u3000"}',
    ]
    for name in ("sidecar.jsonl", "sidecar.ndjson"):
        assert read_sidecar(write(tmp_path, "\n".join(lines), name)).rows == {
            "a/x.mp4": Said("dance", None, "yes"),
            r"\udcff\udcfe.mp4": Said("3", None, None),
            "\u4e2d.mp4": Said(None, None, None),
        }


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("s.csv", "name,label\nx,y\n", "line 1 of .*no column 'path'"),
        ("s.csv", "path,label,label\nx,y,z\n", "line 1 of .*a column stands there twice"),
        ("s.csv", "path,licence,license\nx,y,z\n", "line 1 of .*a column stands there twice"),
        ("s.csv", "path,label\nx,y\nz,y\nx,y\n", "line 4 of .*'x' stands there twice"),
        ("s.csv", 'path,label\n"x\ny",y\nx\n', "line 4 of .*has 1 cells, the header 2"),
        ("s.csv", 'path,label\nx,"y\n', "line 2 of .*not CSV"),
        ("s.csv", b"path,label\nx,y\nz,\xff\n", "line 3 of .*not UTF-8"),
        ("s.csv", "path,label\nx,a\x1b[31mb\n", "line 2 of .*control characters"),
        ("s.csv", "path,consent\nx," + "y" * 1001 + "\n", r"line 2 of .*consent has 1,001 characters"),
        ("s.csv", "path,label\n,y\n", "line 2 of .*has no path"),
        ("s.csv", "path,label\n" + "x" * 5000 + ",y\n", "line 2 of .*no path"),
        ("s.csv", "path,label\n" + "x" * (1 << 21), "line 2 of .*more than"),
        ("s.csv", "path,label\n", "holds no row"),
        ("s.csv", "", "holds no row"),
        ("s.jsonl", '{"path": "x"}\n{"path": "y"', "line 2 of .*not JSON"),
        ("s.jsonl", "[" * 100_000, "line 1 of .*not JSON"),
        ("s.jsonl", '["x"]', "line 1 of .*no JSON object"),
        ("s.jsonl", '{"path": ["x"]}', "line 1 of .*path is not one text"),
        ("s.jsonl", '{"path": "x", "label": true}', "line 1 of .*label is not one text"),
        ("s.jsonl", r'{"path": "\ud800"}', "line 1 of .*no path"),
        ("s.jsonl", r'{"path": "x", "label": "\ud800"}', "line 1 of .*control characters"),
        ("s.jsonl", '{"label": "x"}', "line 1 of .*has no path"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(tmp_path, name, content, message):
    with pytest.raises(ConfigError, match=message) as caught:
        read_sidecar(write(tmp_path, content, name))
    assert name in caught.value.message and "\x1b" not in str(caught.value)


def test_an_absent_sidecar_is_a_configuration_error(tmp_path):
    with pytest.raises(ConfigError, match="there is no sidecar"):
        read_sidecar(str(tmp_path / "absent.csv"))


def test_a_sidecar_may_lie_in_a_bucket(bucket):
    RemoteFolder(bucket).put_bytes(b"path,label\na.mp4,x\n", "in/side car.csv")
    RemoteFolder(bucket).put_bytes(b"path,label\na.mp4\n", "bad.csv")
    assert read_sidecar(f"{bucket}/in/side car.csv").rows == {"a.mp4": Said("x", None, None)}
    with pytest.raises(ConfigError, match=f"there is no sidecar {bucket}/absent.csv"):
        read_sidecar(f"{bucket}/absent.csv")
    with pytest.raises(ConfigError, match=f"line 2 of the sidecar {bucket}/bad.csv"):
        read_sidecar(f"{bucket}/bad.csv")


def test_the_first_name_that_says_something_is_heard(tmp_path):
    sidecar = read_sidecar(write(tmp_path, "path,label,licence\na,,MIT\nb,x,CC0\nc,y,\n"))
    assert sidecar.of(("a",)) == Said(None, "MIT", None)
    assert sidecar.of(("a", "b", "c")) == Said("x", "MIT", None)
    assert sidecar.of(("d",)) is None


def test_rows_that_name_no_video_are_counted(tmp_path, caplog):
    sidecar = read_sidecar(write(tmp_path, "path,label\na,x\nb,x\nc,x\n"))
    assert sidecar.log_unused(["b", "d"]) == 2
    assert "2 of 3 rows" in caplog.text and "'a'" in caplog.text
    caplog.clear()
    assert sidecar.log_unused(["a", "b", "c"]) == 0 and not caplog.text
