"""Kind, size and sample format of a picture from its header, without decoding it."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from armseg_core.files.facts import Facts, facts_of
from armseg_core.files.limits import refuse_bomb

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"  # PNG specification, 5.2
_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}  # bytes by type
_MAX_TEXT = 256  # of a text in a tag: enough for a number or a name
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


def jpeg_segments(path: Path) -> Iterator[tuple[int, int, int]]:
    """(marker, start and end of what is in it) of each segment of a JPEG before its picture data."""
    facts, place = facts_of(path), 2
    while True:
        head = facts.bytes_at(place, 4)
        if len(head) < 4 or head[0] != 0xFF or head[1] == 0xDA or (length := (head[2] << 8) + head[3]) < 2:
            return
        yield head[1], place + 4, place + 2 + length
        place += 2 + length


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
    tags = _tiff_numbers(facts, order)
    # ImageLength, ImageWidth, SamplesPerPixel, BitsPerSample, SampleFormat (3 = IEEE floats)
    return ImageHeader(
        "tiff", (tags[257], tags[256]), tags.get(277, 1), tags.get(258, 1), tags.get(339, 1) == 3
    )


def _tiff_entries(facts: Facts, order: str) -> dict[int, tuple[int, int, int]]:
    """Tag -> (type, count, place of the value) of the first image directory."""

    def number(code: str, at: int) -> int:
        value: int = struct.unpack(order + code, facts.bytes_at(at, struct.calcsize(code)))[0]
        return value

    at = number("I", 4)
    count = number("H", at)
    table = facts.bytes_at(at + 2, 12 * count)
    entries = {}
    for i in range(count):
        tag, kind, n, offset = struct.unpack_from(order + "HHII", table, 12 * i)
        is_inside = n * _TIFF_SIZES.get(kind, 1) <= 4
        entries[tag] = (kind, n, at + 2 + 12 * i + 8 if is_inside else offset)
    return entries


def _tiff_numbers(facts: Facts, order: str) -> dict[int, int]:
    """Tag -> the first of its whole numbers (it tells enough of an array: BitsPerSample 8, 8, 8)."""
    tags = {}
    for tag, (kind, _, place) in _tiff_entries(facts, order).items():
        code = {1: "B", 3: "H", 4: "I"}.get(kind)  # BYTE, SHORT, LONG
        if code is not None:
            size = struct.calcsize(code)
            tags[tag] = int(struct.unpack(order + code, facts.bytes_at(place, size))[0])
    return tags


def tiff_tags(path: Path) -> dict[int, str]:
    """Tag -> text of a TIFF's first directory, "" for a tag that holds numbers; {} for anything else."""
    return facts_of(path).once(_tiff_tags)


def _tiff_tags(facts: Facts) -> dict[int, str]:
    if facts.head[:4] not in (b"II*\0", b"MM\0*"):
        return {}
    try:
        entries = _tiff_entries(facts, "<" if facts.head[:1] == b"I" else ">")
        return {
            tag: facts.bytes_at(place, min(n, _MAX_TEXT)).split(b"\0")[0].decode("latin-1")
            if kind == 2
            else ""
            for tag, (kind, n, place) in entries.items()
        }
    except struct.error:
        return {}


def _jpeg_header(head: bytes) -> ImageHeader:
    at = 2
    while at + 9 < len(head) and head[at] == 0xFF:
        marker, length = head[at + 1], struct.unpack_from(">H", head, at + 2)[0]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # start of frame; not DHT, JPG, DAC
            bits, height, width, channels = struct.unpack_from(">BHHB", head, at + 4)
            return ImageHeader("jpeg", (height, width), channels, bits)
        at += 2 + length
    return ImageHeader("jpeg", (0, 0), 3, 8)  # the frame header is behind large metadata blocks
