"""Kind, size and sample format of a picture from its header, without decoding it."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path

from armseg_core.files.facts import Facts, facts_of
from armseg_core.files.limits import refuse_bomb

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"  # PNG specification, 5.2
JPEG_MAGIC = b"\xff\xd8\xff"  # start of image (ITU-T T.81, B.1.1.3) and the first byte of the next marker


# kind, width and height of a portable anymap or float map; comments stand between them
_PNM = re.compile(rb"P([1-6Ff])(?:\s|#[^\n]*\n)+(\d{1,9})(?:\s|#[^\n]*\n)+(\d{1,9})\s")
_EXR_WINDOW = b"dataWindow\0box2i\0\x10\0\0\0"  # attribute of OpenEXR: name, type, size; then 4 numbers


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


def refuse_oversized(path: Path) -> None:
    """Raise FormatError, before it is decoded, for a picture whose header declares far more than it holds."""
    facts = facts_of(path)
    declared = facts.once(_declared)
    if declared is not None:
        (height, width), size = declared
        refuse_bomb(path, f"a picture of {width} x {height} pixels", size, facts.size)


def _declared(facts: Facts) -> tuple[tuple[int, int], int] | None:
    """(H, W) and bytes of the decoded picture; None where the header is of no known kind."""
    header, head = facts.once(_header), facts.head
    if header is not None:
        (height, width), each = header.size, header.channels * -(-header.bits // 8)
    elif head.startswith(b"BM") and len(head) >= 30:  # DIB header: width, height (negative: top down), bits
        width, height, _, bits = struct.unpack_from("<iiHH", head, 18)
        width, height, each = abs(width), abs(height), -(-bits // 8)
    elif (match := _PNM.match(head)) is not None:
        width, height = int(match[2]), int(match[3])
        each = (3 if match[1] in b"36F" else 1) * (4 if match[1] in b"Ff" else 2)
    elif (at := head.find(_EXR_WINDOW)) >= 0 and head.startswith(b"\x76\x2f\x31\x01"):
        left, top, right, bottom = struct.unpack_from("<4i", head, at + len(_EXR_WINDOW))
        width, height, each = right - left + 1, bottom - top + 1, 4
    else:
        return None
    return (height, width), height * width * each


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
