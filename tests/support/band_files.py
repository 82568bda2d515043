"""Writes TIFF files of many bands (LZW by OpenCV), in the layouts that GDAL and cameras write."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np

_KINDS = {"u": 1, "i": 2, "f": 3}


def write_bands(
    path: Path,
    bands: np.ndarray,
    *,
    planar: bool = False,
    deflate: bool = False,
    lzw: bool = False,
    predictor: int = 1,
    tile: int | None = None,
    rows_per_strip: int | None = None,
    order: str = "<",
) -> Path:
    """A TIFF of (H, W, C) numbers. tile: side of square tiles, in place of strips."""
    h, w, c = bands.shape
    planes = [bands[..., i : i + 1] for i in range(c)] if planar else [bands]
    pieces = [piece for plane in planes for piece in _cut(plane, tile, rows_per_strip or h)]
    stored = [_stored(piece.astype(bands.dtype.newbyteorder(order)), predictor) for piece in pieces]
    stored = [zlib.compress(data) if deflate else data for data in stored]
    if lzw:
        stored = [_lzw(data, len(piece)) for data, piece in zip(stored, pieces, strict=True)]
    blob, offsets = b"", []
    for data in stored:
        offsets.append(8 + len(blob))
        blob += data + b"\0" * (len(data) % 2)
    bits, kind = 8 * bands.dtype.itemsize, _KINDS[bands.dtype.kind]
    tags = {
        256: (w,),
        257: (h,),
        258: (bits,) * c,
        259: (8 if deflate else 5 if lzw else 1,),
        262: (1,),
        277: (c,),
        284: (2 if planar else 1,),
        317: (predictor,),
        338: (0,) * (c - 1),
        339: (kind,) * c,
    }
    where, lengths = tuple(offsets), tuple(map(len, stored))
    tags |= {322: (tile,), 323: (tile,), 324: where, 325: lengths} if tile else {273: where, 279: lengths}
    tags |= {} if tile else {278: (rows_per_strip or h,)}
    entries = b""
    for tag, values in sorted(tags.items()):
        data = struct.pack(f"{order}{len(values)}I", *values)
        inline = data if len(data) == 4 else struct.pack(order + "I", 8 + len(blob))
        if len(data) > 4:
            blob += data
        if values:
            entries += struct.pack(order + "HHI", tag, 4, len(values)) + inline
    count = struct.pack(order + "H", len(entries) // 12)
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8 + len(blob))
    path.write_bytes(start + blob + count + entries + b"\0\0\0\0")
    return path


def _cut(plane: np.ndarray, tile: int | None, rows: int) -> list[np.ndarray]:
    h, w, c = plane.shape
    if tile is None:
        return [plane[y : y + rows] for y in range(0, h, rows)]
    padded = np.zeros((-(-h // tile) * tile, -(-w // tile) * tile, c), plane.dtype)
    padded[:h, :w] = plane
    return [
        padded[y : y + tile, x : x + tile]
        for y in range(0, padded.shape[0], tile)
        for x in range(0, padded.shape[1], tile)
    ]


def _stored(piece: np.ndarray, predictor: int) -> bytes:
    rows, columns, c = piece.shape
    if predictor == 2:
        piece = np.concatenate([piece[:, :1], piece[:, 1:] - piece[:, :-1]], axis=1).astype(piece.dtype)
    data = piece.tobytes()
    if predictor == 3:  # bytes of a row by significance, then differences of bytes
        big = np.ascontiguousarray(piece.astype(piece.dtype.newbyteorder(">"))).view(np.uint8)
        by_place = big.reshape(rows, columns * c, -1).transpose(0, 2, 1).reshape(rows, -1, c)
        data = np.concatenate([by_place[:, :1], by_place[:, 1:] - by_place[:, :-1]], axis=1).tobytes()
    return data


def _lzw(data: bytes, rows: int) -> bytes:
    """What OpenCV writes as the strip of a gray picture of these bytes: it stands before the directory."""
    picture = np.frombuffer(data, np.uint8).reshape(rows, -1)
    how = [cv2.IMWRITE_TIFF_COMPRESSION, 5, cv2.IMWRITE_TIFF_PREDICTOR, 1]
    how += [cv2.IMWRITE_TIFF_ROWSPERSTRIP, rows]
    file = cv2.imencode(".tiff", picture, how)[1].tobytes()
    return file[8 : struct.unpack_from("<I", file, 4)[0]]
