"""TIFF files of any number of bands come back as they were written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from band_files import write_bands

from armseg_core.errors import FormatError
from armseg_core.files.pictures import read_image, read_rgb


def numbers(dtype: str, bands: int, size: tuple[int, int] = (21, 35)) -> np.ndarray:
    values = np.random.default_rng(0).uniform(-100 if dtype[0] != "u" else 0, 100, (*size, bands))
    return values.astype(dtype)


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("bands", [2, 3, 4, 5, 12])
@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "u4", "f4", "f8"])
def test_bands_of_every_type(tmp_path: Path, dtype: str, bands: int, planar: bool) -> None:
    values = numbers(dtype, bands)
    found = read_image(write_bands(tmp_path / "x.tif", values, planar=planar))
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    "how",
    [
        {"rows_per_strip": 4},
        {"tile": 16},
        {"deflate": True},
        {"lzw": True},
        {"lzw": True, "predictor": 2, "tile": 16},
        {"deflate": True, "predictor": 2, "tile": 16},
        {"deflate": True, "predictor": 2, "planar": True, "rows_per_strip": 5},
    ],
    ids=str,
)
def test_layouts(tmp_path: Path, how: dict, order: str) -> None:
    values = numbers("i2", 10)
    path = write_bands(tmp_path / "x.tif", values, order=order, **how)
    np.testing.assert_array_equal(read_image(path), values)


@pytest.mark.parametrize("planar", [False, True])
def test_floating_point_prediction(tmp_path: Path, planar: bool) -> None:
    values = numbers("f4", 6)
    path = write_bands(tmp_path / "x.tif", values, deflate=True, predictor=3, planar=planar)
    np.testing.assert_array_equal(read_image(path), values)


def test_what_is_damaged_is_said(tmp_path: Path) -> None:
    path = write_bands(tmp_path / "x.tif", numbers("u2", 6), deflate=True)
    data = bytearray(path.read_bytes())
    data[20:200] = bytes(180)
    path.write_bytes(bytes(data))
    with pytest.raises(FormatError, match="several bands is damaged"):
        read_image(path)


def test_many_bands_are_no_photo(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"has 12 bands \(expected red, green and blue\)"):
        read_rgb(write_bands(tmp_path / "x.tif", numbers("u1", 12)))
