"""PNG, TIFF and PFM written byte by byte, so that no test reads a picture with the library that wrote it."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np


def png(path: Path, image: np.ndarray) -> Path:
    """uint8 or uint16, (H, W) or (H, W, 2 | 3 | 4) in gray / gray + alpha / RGB / RGBA order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = 1 if image.ndim == 2 else image.shape[2]
    bits = 8 * image.dtype.itemsize
    color = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = image.astype(f">u{image.dtype.itemsize}").reshape(len(image), -1)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", image.shape[1], image.shape[0], bits, color, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(raw))
        + chunk(b"IEND", b"")
    )
    return path


def tiff(path: Path, image: np.ndarray, order: str = "<") -> Path:
    """One uncompressed strip; uint8, uint16 or float32 (H, W)."""
    data = image.astype(image.dtype.newbyteorder(order)).tobytes()
    size = image.dtype.itemsize
    entries = [
        (256, 4, image.shape[1]),
        (257, 4, image.shape[0]),
        (258, 3, 8 * size),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 8),
        (277, 3, 1),
        (278, 4, image.shape[0]),
        (279, 4, len(data)),
        (339, 3, 3 if image.dtype.kind == "f" else 1),
    ]
    directory = struct.pack(order + "H", len(entries))
    for tag, kind, value in entries:
        field = struct.pack(order + ("HH" if kind == 3 else "I"), *((value, 0) if kind == 3 else (value,)))
        directory += struct.pack(order + "HHI", tag, kind, 1) + field
    magic = b"II" if order == "<" else b"MM"
    path.write_bytes(magic + struct.pack(order + "HI", 42, 8 + len(data)) + data + directory + bytes(4))
    return path


def pfm(path: Path, image: np.ndarray, big_endian: bool = False) -> Path:
    """float32 (H, W); rows from bottom to top, a negative scale means little-endian."""
    order, scale = (">", "1.0") if big_endian else ("<", "-1.0")
    header = f"Pf\n{image.shape[1]} {image.shape[0]}\n{scale}\n".encode()
    path.write_bytes(header + image[::-1].astype(order + "f4").tobytes())
    return path
