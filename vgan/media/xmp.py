"""XMP, the metadata that other people's tools look for, put into finished files and read out of them.

mp4 and mov carry it in a "uuid" box (XMP specification, part 3), gif in an application extension, png in an
iTXt chunk. This module travels in the packaged model: it needs the standard library only.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from uuid import UUID
from xml.sax.saxutils import quoteattr

XMP_BOX = UUID("be7acfcb-97a9-42e8-9c71-999491e3afac").bytes
GIF_APPLICATION = b"\x21\xff\x0bXMP DataXMP"
GIF_TRAILER = b"\x01" + bytes(range(255, -1, -1)) + b"\0"  # lets readers of sub-blocks find the end of the packet
PNG_KEYWORD = b"XML:com.adobe.xmp"
PNG_HEAD = 33  # bytes of the signature and of IHDR, which comes first
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
