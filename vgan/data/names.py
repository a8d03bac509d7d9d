"""File names as text that JSON can hold, whatever bytes they are made of."""

from __future__ import annotations

import re


def text_of(path: str) -> str:
    r"""A path as valid Unicode: a byte that is not UTF-8 becomes the six characters `\udcXX`."""
    return re.sub("[\udc80-\udcff]", lambda match: f"\\u{ord(match[0]):04x}", path)


def path_of(text: str) -> str:
    """The path that `text_of` was given."""
    return re.sub(r"\\u(dc[89a-f][0-9a-f])", lambda match: chr(int(match[1], 16)), text)
