"""Rows of one-dimensional HDF5 data sets with Blosc compression, their chunks decompressed in threads.

HDF5 decompresses one chunk after the other and h5py holds the interpreter's lock meanwhile. Here a chunk is
read as it is stored and handed to the same Blosc library, without the lock and to where the rows belong.
"""

from __future__ import annotations

import ctypes
import struct
from concurrent.futures import Executor, Future
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from armseg_core.files.hdf5 import BLOSC_FILTER, blosc_library

# Of a Blosc chunk: the size unpacked stands in bytes 4 to 7 of it, its own in bytes 12 to 15. The library
# believes the latter and reads that far.
_HEADER = struct.Struct("<4xI4xI")


class Rows(NamedTuple):
    """Rows on their way: `finish` gives them."""

    values: np.ndarray
    work: list[Future[None]]


@cache
def _decompress() -> Any:
    """The function of the library, None where it cannot be used."""
    path = blosc_library()
    try:
        function = ctypes.CDLL(str(path)).blosc_decompress_ctx if path else None
    except (OSError, AttributeError):
        return None
    if function is not None:
        # source, destination, size of the destination, threads of its own
        function.argtypes = (ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        function.restype = ctypes.c_int
    return function


def start(dataset: Any, i0: int, i1: int, pool: Executor) -> Rows | None:
    """Begin to read the rows i0 (included) to i1 (excluded).

    Args:
        dataset: of an open file. pool: the threads that decompress.

    Returns:
        what `finish` takes; None where the rows are no whole chunks of plain numbers, compressed by Blosc
        alone: they are read in the usual way.

    Raises:
        OSError: the file cannot be read.
    """
    chunk = dataset.chunks[0] if dataset.ndim == 1 and dataset.chunks else 0
    whole = chunk and not i0 % chunk and (not i1 % chunk or i1 == len(dataset))
    if not whole or i0 >= i1 or not dataset.dtype.isnative or not _blosc_alone(dataset):
        return None
    values = np.empty(-(-(i1 - i0) // chunk) * chunk, dataset.dtype)
    work = []
    for place in range(i0, i1, chunk):
        if dataset.id.get_chunk_info_by_coord((place,)).byte_offset is None:  # never written: the fill value
            return None
        skipped, data = dataset.id.read_direct_chunk((place,))
        if skipped:  # this chunk did not get smaller and is stored as it is
            return None
        target = values[place - i0 : place - i0 + chunk]
        if len(data) < _HEADER.size or _HEADER.unpack_from(data) != (target.nbytes, len(data)):
            return None  # damaged: HDF5 says so
        work.append(pool.submit(_unpack, data, target))
    return Rows(values[: i1 - i0], work)


def finish(rows: Rows) -> np.ndarray:
    """The rows. Raises ValueError for a damaged chunk."""
    for part in rows.work:
        part.result()
    return rows.values


def _unpack(data: bytes, target: np.ndarray) -> None:
    if _decompress()(data, target.ctypes.data, target.nbytes, 1) != target.nbytes:
        raise ValueError("a damaged chunk")


def _blosc_alone(dataset: Any) -> bool:
    filters = dataset.id.get_create_plist()
    alone = filters.get_nfilters() == 1 and filters.get_filter(0)[0] == BLOSC_FILTER
    return alone and _decompress() is not None
