"""TIFF files of many bands, of which OpenCV reads none or the wrong samples: strips or tiles -> (H, W, C).

Classic TIFF 6.0 as satellites' and cameras' tools write it: 8 to 64 bits, integers or floats, bands side by
side or one after the other, with horizontal or floating-point prediction. A strip or tile in LZW is
decompressed by OpenCV, as a small gray TIFF of its own.

Shape letters: H rows, W columns, C bands.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

_CODES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 16: "Q"}  # types of numbers (TIFF 6.0, section 2)
_KINDS = {1: "u", 2: "i", 3: "f"}  # SampleFormat
_RGB, _GRAY = 2, (0, 1)  # PhotometricInterpretation: colors; white is zero, black is zero
_UNCOMPRESSED, _DEFLATE, _BY_OPENCV = 1, (8, 32946), (5, 32773)  # Compression; the last are LZW and PackBits

Decode = Callable[[bytes], np.ndarray | None]  # a gray 8-bit TIFF -> (H, W) uint8, None: it cannot be read


@dataclass(frozen=True)
class _Layout:
    """What the first directory of a file says: tag -> numbers. order: "<" or ">"."""

    tags: dict[int, tuple[int, ...]]
    order: str

    def one(self, tag: int, default: int | None = None) -> int:
        values = self.tags.get(tag)
        if values is None and default is None:
            raise ValueError(f"no tag {tag}")
        return int(values[0] if values else default or 0)

    @property
    def size(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        return self.one(257), self.one(256), self.one(277, 1)

    @property
    def planar(self) -> bool:
        """Bands one after the other."""
        return self.one(284, 1) == 2

    @property
    def dtype(self) -> np.dtype:
        """Of a sample, in the byte order of the file."""
        return np.dtype(f"{self.order}{_KINDS[self.one(339, 1)]}{self.one(258, 1) // 8}")

    @property
    def is_ours(self) -> bool:
        """Bands that OpenCV misreads: not as many as a color has, one after the other, or not called RGB."""
        bands, photometric = self.size[2], self.one(262, 1)
        bits = self.tags.get(258, (1,))
        known = (
            bits[0] in (8, 16, 32, 64)
            and len(set(bits)) == 1
            and self.one(339, 1) in _KINDS
            and self.one(259, 1) in (_UNCOMPRESSED, *_DEFLATE, *_BY_OPENCV)
            and photometric in (*_GRAY, _RGB)
            and self.one(274, 1) == 1  # upright
        )
        return known and bands > 1 and (self.planar or photometric != _RGB or bands > 4)


def read_bands(data: bytes, decode: Decode) -> np.ndarray | None:
    """(H, W, C) of a TIFF whose bands OpenCV does not read as they are; None for every other file.

    Args:
        data: the whole file. decode: decompresses a gray TIFF.

    Raises:
        ValueError: it is such a file, and damaged.
    """
    if data[:4] not in (b"II*\0", b"MM\0*"):
        return None
    try:
        layout = _layout(data)
    except (struct.error, KeyError, ValueError):
        return None  # OpenCV says what is wrong with it
    if not layout.is_ours:
        return None
    try:
        return _assembled(data, layout, decode)
    except (struct.error, KeyError, IndexError, zlib.error) as error:
        raise ValueError(str(error)) from error


def _layout(data: bytes) -> _Layout:
    order = "<" if data[:1] == b"I" else ">"
    (at,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, at)
    tags: dict[int, tuple[int, ...]] = {}
    for i in range(count):
        place = at + 2 + 12 * i
        tag, kind, n = struct.unpack_from(order + "HHI", data, place)
        if kind in _CODES:
            form = f"{order}{n}{_CODES[kind]}"
            inline = struct.calcsize(form) <= 4
            start = place + 8 if inline else struct.unpack_from(order + "I", data, place + 8)[0]
            tags[tag] = struct.unpack_from(form, data, start)
    return _Layout(tags, order)


def _assembled(data: bytes, layout: _Layout, decode: Decode) -> np.ndarray:
    """Every strip or tile in its place. A strip is a tile as wide as the picture."""
    h, w, c = layout.size
    tiled = 322 in layout.tags
    rows = layout.one(323) if tiled else min(layout.one(278, h), h)
    columns = layout.one(322) if tiled else w
    offsets, lengths = (layout.tags[tag] for tag in ((324, 325) if tiled else (273, 279)))
    down, across = -(-h // rows), -(-w // columns)
    planes, depth = (c, 1) if layout.planar else (1, c)
    if len(offsets) != planes * down * across or len(lengths) != len(offsets):
        raise ValueError(f"{len(offsets)} pieces instead of {planes * down * across}")
    out = np.empty((h, w, c), layout.dtype.newbyteorder("="))
    for number, (offset, length) in enumerate(zip(offsets, lengths, strict=True)):
        plane, place = divmod(number, down * across)
        y, x = place // across * rows, place % across * columns
        have = rows if tiled else min(rows, h - y)
        piece = _piece(data[offset : offset + length], layout, (have, columns, depth), decode)
        part = piece[: h - y, : w - x]
        band = slice(plane, plane + 1) if layout.planar else slice(None)
        out[y : y + rows, x : x + columns, band] = part
    return out


def _piece(data: bytes, layout: _Layout, shape: tuple[int, int, int], decode: Decode) -> np.ndarray:
    """The samples (rows, columns, bands) of one strip or tile."""
    rows, row = shape[0], shape[1] * shape[2] * layout.dtype.itemsize
    compression = layout.one(259, 1)
    if compression in _BY_OPENCV:
        decoded = decode(_gray_tiff(data, rows, row, compression))
        if decoded is None or decoded.shape != (rows, row):
            raise ValueError("a strip or tile cannot be decompressed")
        raw = decoded
    else:
        plain = zlib.decompress(data) if compression in _DEFLATE else data
        raw = np.frombuffer(plain, np.uint8, rows * row).reshape(rows, row)
    predictor = layout.one(317, 1)
    if predictor == 3:  # Adobe Photoshop TIFF technical note 3: bytes of a row sorted by significance
        flat = np.cumsum(raw.reshape(rows, -1, shape[2]), axis=1, dtype=np.uint8).reshape(rows, row)
        ordered = flat.reshape(rows, layout.dtype.itemsize, -1).transpose(0, 2, 1)
        big = np.ascontiguousarray(ordered).view(layout.dtype.newbyteorder(">"))
        return big.reshape(shape).astype(layout.dtype.newbyteorder("="))
    samples = (
        np.ascontiguousarray(raw).view(layout.dtype).reshape(shape).astype(layout.dtype.newbyteorder("="))
    )
    if predictor == 2:  # TIFF 6.0, section 14: differences to the left neighbor, modulo the type
        samples = np.cumsum(samples, axis=1, dtype=samples.dtype)
    elif predictor != 1:
        raise ValueError(f"predictor {predictor}")
    return samples


def _gray_tiff(data: bytes, rows: int, columns: int, compression: int) -> bytes:
    """Compressed bytes as a gray 8-bit TIFF of one strip."""
    entries = (
        (256, columns),
        (257, rows),
        (258, 8),
        (259, compression),
        (262, 1),
        (273, 8),
        (277, 1),
        (278, rows),
        (279, len(data)),
    )
    padded = data + b"\0" * (len(data) % 2)  # a directory begins at a word
    directory = struct.pack("<H", len(entries)) + b"".join(
        struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries
    )
    return b"II*\0" + struct.pack("<I", 8 + len(padded)) + padded + directory + b"\0\0\0\0"
