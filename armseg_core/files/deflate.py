"""A frame compressed as HDF5's own shuffle and deflate filters do it, which every HDF5 library reads.

HDF5's filter spends most of its time on the low bytes of floats, which are noise and do not get smaller, and
it holds the interpreter's lock meanwhile. Here such pieces are stored as they are and the work is done in
threads; the result is an ordinary zlib stream (RFC 1950), written as a finished chunk.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from concurrent.futures import Executor

import numpy as np

# Large enough to compress well, small enough to stay in the cache and to be shared out to threads.
_PIECE = 1 << 18
_RUNS, _RUN = 16, 256  # the sample of a piece that tells whether it gets smaller: 4 KiB from all over it
_WORTH = 0.9  # of its size: a piece whose sample stays above is stored
_SPARSE = 0.95  # share of zero bytes above which runs of zeros are found as long matches: quicker to read
_HEADER = b"\x78\x01"  # deflate with a window of 32 KiB, fastest level
_ZIP: dict[str, tuple[int, int]] = {
    "stored": (0, zlib.Z_DEFAULT_STRATEGY),
    "runs": (1, zlib.Z_RLE),  # of dense floats smaller than level 1, and twice as fast
    "matches": (1, zlib.Z_DEFAULT_STRATEGY),
}

Pieces = Iterator[tuple[bytes, bytes]]


def start(frame: np.ndarray, pool: Executor) -> Pieces:
    """Hand a frame to the threads of `pool`.

    Args:
        frame: any array that is not empty; its values are copied, it may change afterwards.

    Returns:
        what `finish` takes.
    """
    values = np.ascontiguousarray(frame).reshape(-1)
    rows = values.view(np.uint8).reshape(len(values), frame.itemsize)
    planes = range(frame.itemsize)  # byte shuffling: all first bytes, then all second ones, ...
    pieces = [rows[i : i + _PIECE, b].tobytes() for b in planes for i in range(0, len(rows), _PIECE)]
    last = [False] * (len(pieces) - 1) + [True]
    return iter(pool.map(_compressed, pieces, last))


def finish(pieces: Pieces) -> bytes:
    """The compressed chunk of a frame that was started."""
    parts, check = [_HEADER], 1  # 1: Adler-32 of nothing
    for plain, part in pieces:
        check = zlib.adler32(plain, check)
        parts.append(part)
    return b"".join(parts) + check.to_bytes(4, "big")


def _compressed(piece: bytes, last: bool) -> tuple[bytes, bytes]:
    level, strategy = _ZIP[_way(piece)]
    stream = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS, 9, strategy)
    part = stream.compress(piece) + stream.flush(zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH)
    return piece, part


def _way(piece: bytes) -> str:
    values = np.frombuffer(piece, np.uint8)
    if len(values) - np.count_nonzero(values) > _SPARSE * len(values):
        return "matches"
    runs = values[: len(values) // _RUNS * _RUNS].reshape(_RUNS, -1)[:, :_RUN]
    sample = runs.tobytes()
    smaller = zlib.compress(sample, 1)
    return "runs" if len(smaller) < _WORTH * len(sample) or not sample else "stored"
