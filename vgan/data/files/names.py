"""File names as text that JSON can hold, whatever bytes they are made of."""

from __future__ import annotations

import re
import unicodedata


def text_of(path: str) -> str:
    r"""A path as valid Unicode: a byte that is not UTF-8 becomes the six characters `\udcXX`.

    A name that holds such six characters itself gets `\udc5c` for their backslash, so no two names give one text.
    """
    if path.isascii() and "\\" not in path:
        return path
    plain = re.sub(r"\\(?=udc(?:[89a-f][0-9a-f]|5c))", r"\\udc5c", path)
    return re.sub("[\udc80-\udcff]", lambda match: f"\\u{ord(match[0]):04x}", plain)


def path_of(text: str) -> str:
    """The path that `text_of` was given."""

    def byte(match: re.Match[str]) -> str:
        return "\\" if match[1] == "dc5c" else chr(int(match[1], 16))

    return re.sub(r"\\u(dc[89a-f][0-9a-f]|dc5c)", byte, text)


def has_controls(text: str) -> bool:
    """Whether a text holds control characters, line separators or half characters; spaces of all kinds are none."""
    return not text.isprintable() and any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in text)
