"""XMP, the metadata that other people's tools look for, put into finished files and read out of them.

mp4 and mov carry it in a "uuid" box (XMP specification, part 3), gif in an application extension, png in an
iTXt chunk. This module travels in the packaged model: it needs the standard library only.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Mapping
from html import unescape
from pathlib import Path
from uuid import UUID
from xml.sax.saxutils import quoteattr

XMP_BOX = UUID("be7acfcb-97a9-42e8-9c71-999491e3afac").bytes
GIF_APPLICATION = b"\x21\xff\x0bXMP DataXMP"
GIF_TRAILER = b"\x01" + bytes(range(255, -1, -1)) + b"\0"  # lets readers of sub-blocks find the end of the packet
PNG_KEYWORD = b"XML:com.adobe.xmp"
PNG_HEAD = 33  # bytes of the signature and of IHDR, which comes first
MOST_BYTES = 16 << 20  # of a file, in which its packet is sought
_OURS = re.compile(r"\bvgan:(\w+)=\"([^\"]*)\"")
_SOURCE = re.compile(r"\bIptc4xmpExt:DigitalSourceType=\"([^\"]*)\"")
_NAMESPACES = (
    'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
    'xmlns:vgan="urn:vgan:"'
)


def packet(tags: Mapping[str, str]) -> bytes:
    """The XMP packet that says what `tags`, those of `provenance.synthetic_metadata`, say."""
    said = {"Iptc4xmpExt:DigitalSourceType": tags["digitalSourceType"], "xmp:CreatorTool": "vgan"}
    said |= {f"vgan:{key.removeprefix('vgan_')}": value for key, value in tags.items() if key.startswith("vgan_")}
    attributes = " ".join(f"{key}={quoteattr(value)}" for key, value in said.items())
    return (
        '<?xpacket begin="\N{ZERO WIDTH NO-BREAK SPACE}" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" {_NAMESPACES} {attributes}/></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode("utf-8", "xmlcharrefreplace")


def with_xmp(content: bytes, suffix: str, tags: Mapping[str, str]) -> bytes:
    """A finished file of kind ".mp4", ".mov", ".gif" or ".png" with the packet of `tags` in it."""
    told = packet(tags)
    if suffix in (".mp4", ".mov"):  # at the end, where it moves nothing
        return content + struct.pack(">I", 24 + len(told)) + b"uuid" + XMP_BOX + told
    if suffix == ".gif":
        head, rest = content[:-1], content[-1:]  # before the trailer
        return b"GIF89a" + head[6:] + GIF_APPLICATION + told + GIF_TRAILER + rest
    chunk = b"iTXt" + PNG_KEYWORD + b"\0\0\0\0\0" + told
    whole = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return content[:PNG_HEAD] + whole + content[PNG_HEAD:]


def read_xmp(path: Path, kind: str) -> str:
    """The packet in the first bytes of a "gif" or "png"; "" when there is none; raises OSError."""
    with path.open("rb") as file:
        content = file.read(MOST_BYTES)
    if kind == "gif":
        _, _, after = content.partition(GIF_APPLICATION)
        return after.partition(GIF_TRAILER[:3])[0].decode(errors="replace")
    place = PNG_HEAD - 25  # behind the signature
    while place + 12 <= len(content):
        size = int.from_bytes(content[place : place + 4], "big")
        chunk = content[place + 8 : place + 8 + size]
        if content[place + 4 : place + 8] == b"iTXt" and chunk.startswith(PNG_KEYWORD + b"\0\0"):
            return chunk[len(PNG_KEYWORD) + 3 :].split(b"\0", 2)[-1].decode(errors="replace")
        place += 12 + size
    return ""


def marking_of(packet: str) -> dict[str, str]:
    """The tags that `with_xmp` put into a packet; {} for one of others."""
    ours = {f"vgan_{key}": unescape(value) for key, value in _OURS.findall(packet)}
    source = _SOURCE.search(packet)
    return {"digitalSourceType": unescape(source[1]), **ours} if source and ours else {}
