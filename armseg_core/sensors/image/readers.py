"""Reader of aligned pictures: PNG, TIFF of any number of bands, JPEG, npy; values as stored.

Shape letters: C channels, H rows, W columns.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from armseg_core.arrays import Bands
from armseg_core.errors import FormatError
from armseg_core.files.image_headers import image_header, is_jpeg
from armseg_core.files.npy import npy_header, npz_names, read_npy
from armseg_core.files.pictures import read_image, single_channel
from armseg_core.sensors.image.options import ImageOptions
from armseg_core.sensors.reader import Reader, quiet

_JPEG_TOLERANCE = 8  # gray JPEGs saved in color come back with channels a few counts apart
_GRAY_ALPHA, _COLOR, _COLOR_ALPHA = 2, 3, 4  # channels of PNG pictures


def read_picture(path: Path, options: ImageOptions, channels: int | None = None) -> Bands:
    """The bands of a picture or array, (C, H, W).

    Args:
        channels: how many there have to be; None takes the file as it is. One channel may be saved as gray
            colors, and pixels of a PNG whose alpha is 0 have no value.

    Raises:
        FormatError: damaged, other channels, or values that are no real numbers.
    """
    is_array = path.suffix.lower() in (".npy", ".npz")
    image = _array(path, channels if options.bands is None else None) if is_array else read_image(path)
    image = image[..., None] if image.ndim == 2 else image
    shown = np.ones(image.shape[:2], bool)
    alpha = image.shape[2] in (_GRAY_ALPHA, _COLOR_ALPHA) and options.bands is None and _is_png(path)
    if alpha and channels != image.shape[2]:
        shown, image = image[..., -1] > 0, image[..., :-1]
    if channels == 1 and options.bands is None and image.shape[2] == _COLOR and not is_array:
        image = _gray(image, path)
    planes = _chosen(image, path, options.bands, channels)
    if planes.dtype == bool:
        planes = planes.astype(np.uint8)
    if planes.dtype.kind not in "uif" or not planes.size:
        raise FormatError(
            f"the values are {planes.dtype} {planes.shape}",
            where=path,
            expected="real numbers",
            hint="np.abs(...) of complex values" if planes.dtype.kind == "c" else None,
        )
    full = float(np.iinfo(planes.dtype).max) if planes.dtype in (np.uint8, np.uint16) else None
    return Bands(planes, _valid(planes, options.nodata) & shown, full)


def _is_png(path: Path) -> bool:
    header = image_header(path)
    return header is not None and header.kind in ("png", "indexed")


def _gray(image: np.ndarray, path: Path) -> np.ndarray:
    """(H, W, 1) of gray that was saved in color."""
    try:
        return single_channel(image, path, _JPEG_TOLERANCE if is_jpeg(path) else 0)[..., None]
    except FormatError as error:
        raise FormatError(
            "the picture is in color",
            where=path,
            expected="one channel, or equal channels",
            hint="channels = 3 in dataset.toml for a picture in false colors",
        ) from error


def _array(path: Path, channels: int | None) -> np.ndarray:
    """(H, W) or (H, W, C) of an npy or npz file of (H, W), (H, W, C) or (C, H, W).

    The axis of the channels is the first or last one, whichever has their number; else the shorter one.
    """
    array = read_npy(path)
    if array.ndim not in (2, 3):
        raise FormatError(
            f"the array has shape {array.shape}", where=path, expected="(H, W), (H, W, C) or (C, H, W)"
        )
    if array.ndim == 2:
        return array
    first, last = array.shape[0], array.shape[2]
    leads = (
        first < last if channels is None or (first == channels) == (last == channels) else first == channels
    )
    return array.transpose(1, 2, 0) if leads else array


def _chosen(image: np.ndarray, path: Path, bands: tuple[int, ...] | None, channels: int | None) -> np.ndarray:
    """(C, H, W): the wanted bands of (H, W, all)."""
    have = image.shape[2]
    if bands is not None and max(bands) > have:
        raise FormatError(
            f"has no band {max(bands)}: it holds {have} band{'s' * (have != 1)}",
            where=path,
            expected=f"bands 1 to {have}",
        )
    if bands is None and channels not in (None, have):
        raise FormatError(
            f"holds {have} band{'s' * (have != 1)}",
            where=path,
            expected=f"{channels}, as declared",
            hint=f"channels = {have} in dataset.toml"
            + (
                f", or bands = {list(range(1, (channels or 0) + 1))} to choose some"
                if have > (channels or 0)
                else ""
            ),
        )
    chosen = image if bands is None else image[..., [band - 1 for band in bands]]
    return np.ascontiguousarray(chosen.transpose(2, 0, 1))


def _valid(planes: np.ndarray, nodata: float | None) -> np.ndarray:
    valid: np.ndarray = np.isfinite(planes)
    if nodata is None or not np.isfinite(nodata):
        return valid
    # a float that stands for no data was rounded to the file's type, as 3.4028235e38 often is
    is_float = planes.dtype.kind == "f"
    with np.errstate(over="ignore"):
        marker = np.asarray(nodata, planes.dtype) if is_float else np.float64(nodata)
    known: np.ndarray = valid & (planes != marker)
    return known


@quiet
def _is_picture(path: Path) -> bool:
    header = image_header(path)
    if header is not None:
        return header.bits >= 8
    return npy_header(path) is not None or bool(npz_names(path))


def reader(sensor: str, words: str, channels: int | None) -> Reader:
    """The one format of a declared sensor. Arguments as in `read_picture`."""
    return Reader(
        f"{sensor}-picture",
        sensor,
        f"{words} picture",
        ("*.png", "*.tiff", "*.jpg", "*.npy", "*.npz"),
        _is_picture,
        partial(read_picture, channels=channels),
        notes="any bands; 8, 16, 32 bit or float",
    )
