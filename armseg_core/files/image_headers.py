"""Kind, size and sample format of a picture from its header, without decoding it."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from armseg_core.files.facts import Facts, facts_of

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"  # PNG specification, 5.2
JPEG_MAGIC = b"\xff\xd8\xff"  # start of image (ITU-T T.81, B.1.1.3) and the first byte of the next marker


@dataclass(frozen=True)
class ImageHeader:
    """kind: 'png' | 'indexed' (a palette PNG: labels, never a measurement) | 'tiff' | 'jpeg'.

    size: (H, W) as stored, before an EXIF orientation. bits: per channel. floating: float samples.
    """

    kind: str
    size: tuple[int, int]
    channels: int
    bits: int
    floating: bool = False


def image_header(path: Path) -> ImageHeader | None:
    """Kind, size and sample format of a PNG, TIFF or JPEG from its header; None for anything else."""
    return facts_of(path).once(_header)


def is_jpeg(path: Path) -> bool:
    """Whether a file begins as a JPEG does."""
    return facts_of(path).head.startswith(JPEG_MAGIC)


def _header(facts: Facts) -> ImageHeader | None:
    head = facts.head
    try:
        if head.startswith(PNG_MAGIC) and head[12:16] == b"IHDR":
            width, height, bits, color = struct.unpack(">IIBB", head[16:26])
            if color == 3:  # PNG specification, 11.2.2: 0 gray, 2 RGB, 3 palette, 4 gray + alpha, 6 RGBA
                return ImageHeader("indexed", (height, width), 3, 8)
            channels = {0: 1, 2: 3, 4: 2, 6: 4}[color]
            return ImageHeader("png", (height, width), channels, max(bits, 8))
        if head[:4] in (b"II*\0", b"MM\0*"):
            return _tiff_header(facts, "<" if head[:1] == b"I" else ">")
        if head.startswith(JPEG_MAGIC):
            return _jpeg_header(head)
    except (struct.error, KeyError, IndexError):
        pass
    return None


def _tiff_header(facts: Facts, order: str) -> ImageHeader:
    """The first image directory of a classic TIFF (TIFF 6.0, section 2)."""

    def number(code: str, at: int) -> int:
        value: int = struct.unpack(order + code, facts.bytes_at(at, struct.calcsize(code)))[0]
        return value

    at = number("I", 4)
    count = number("H", at)
    table = facts.bytes_at(at + 2, 12 * count)
    tags: dict[int, int] = {}
    for i in range(count):
        tag, kind, n = struct.unpack_from(order + "HHI", table, 12 * i)
        code = {1: "B", 3: "H", 4: "I"}.get(kind)  # BYTE, SHORT, LONG
        if code is None:
            continue
        if n * struct.calcsize(code) <= 4:
            tags[tag] = struct.unpack_from(order + code, table, 12 * i + 8)[0]
        else:  # an array: its first element tells enough (BitsPerSample 8, 8, 8)
            tags[tag] = number(code, struct.unpack_from(order + "I", table, 12 * i + 8)[0])
    # ImageLength, ImageWidth, SamplesPerPixel, BitsPerSample, SampleFormat (3 = IEEE floats)
    return ImageHeader(
        "tiff", (tags[257], tags[256]), tags.get(277, 1), tags.get(258, 1), tags.get(339, 1) == 3
    )


def _jpeg_header(head: bytes) -> ImageHeader:
    at = 2
    while at + 9 < len(head) and head[at] == 0xFF:
        marker, length = head[at + 1], struct.unpack_from(">H", head, at + 2)[0]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # start of frame; not DHT, JPG, DAC
            bits, height, width, channels = struct.unpack_from(">BHHB", head, at + 4)
            return ImageHeader("jpeg", (height, width), channels, bits)
        at += 2 + length
    return ImageHeader("jpeg", (0, 0), 3, 8)  # the frame header is behind large metadata blocks
