"""Chunks that are decompressed in threads hold what HDF5 itself reads, or are left to it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest

from armseg_core.files import blosc_chunks

VALUES = np.sort(np.random.default_rng(0).integers(0, 50, 4000))  # its chunks get smaller


def dataset(path: Path, values: np.ndarray = VALUES, **options: Any) -> Any:
    file = h5py.File(path, "w")
    file.create_dataset("x", data=values, **{"chunks": (512,), **hdf5plugin.Blosc(cname="zstd"), **options})
    file.close()
    return h5py.File(path, "r+")["x"]


def rows(data: Any, i0: int, i1: int) -> np.ndarray | None:
    with ThreadPoolExecutor(2) as pool:
        started = blosc_chunks.start(data, i0, i1, pool)
        return None if started is None else blosc_chunks.finish(started)


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i8", "f4", "f8"])
@pytest.mark.parametrize("name", ["lz4", "zstd", "blosclz", "zlib"])
def test_rows_are_those_of_hdf5(tmp_path: Path, dtype: str, name: str) -> None:
    data = dataset(tmp_path / "a.h5", VALUES.astype(dtype), **hdf5plugin.Blosc(cname=name))
    for i0, i1 in ((0, 512), (512, 2048), (512, 4000), (3584, 4000)):
        found = rows(data, i0, i1)
        assert found is not None
        np.testing.assert_array_equal(found, VALUES[i0:i1].astype(dtype))
        assert found.dtype == dtype


@pytest.mark.parametrize(
    ("values", "options", "i0", "i1"),
    [
        (VALUES, {}, 1, 512),  # no whole chunks
        (VALUES, {}, 0, 511),
        (VALUES, {}, 512, 512),
        (VALUES, {"compression": "gzip", "compression_opts": None}, 0, 512),
        (VALUES, {"shuffle": True}, 0, 512),  # two filters
        (VALUES.astype(">u4"), {}, 0, 512),
        (VALUES.reshape(400, 10), {"chunks": (10, 10)}, 0, 10),
    ],
)
def test_what_is_stored_in_another_way_is_left_to_hdf5(
    tmp_path: Path, values: np.ndarray, options: dict[str, Any], i0: int, i1: int
) -> None:
    assert rows(dataset(tmp_path / "a.h5", values, **options), i0, i1) is None


def test_chunks_that_were_never_written_or_are_not_compressed_are_left_to_hdf5(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("x", (128,), "u4", chunks=(64,), fillvalue=7, **hdf5plugin.Blosc())
        assert rows(data, 0, 128) is None
        data.id.write_direct_chunk((0,), np.arange(64, dtype="u4").tobytes(), filter_mask=1)
    with h5py.File(tmp_path / "a.h5") as file:
        assert rows(file["x"], 0, 64) is None
        assert file["x"][0:64].tolist() == list(range(64))


@pytest.mark.parametrize(
    "spoil", [lambda c: c[:10], lambda c: c[:-20], lambda c: c[:4] + b"\xff" * 4 + c[8:]]
)
def test_a_chunk_that_claims_another_size_is_left_to_hdf5(tmp_path: Path, spoil: Any) -> None:
    data = dataset(tmp_path / "a.h5")
    _, chunk = data.id.read_direct_chunk((512,))
    data.id.write_direct_chunk((512,), spoil(chunk))
    assert rows(data, 0, 1024) is None


def test_a_damaged_chunk_is_an_error(tmp_path: Path) -> None:
    data = dataset(tmp_path / "a.h5")
    _, chunk = data.id.read_direct_chunk((512,))
    data.id.write_direct_chunk((512,), chunk[:16] + b"\xff" * (len(chunk) - 16))
    with pytest.raises(ValueError, match="a damaged chunk"):
        rows(data, 0, 1024)


def test_without_the_library_hdf5_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blosc_chunks, "_decompress", lambda: None)
    assert rows(dataset(tmp_path / "a.h5"), 0, 512) is None
