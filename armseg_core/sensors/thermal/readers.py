"""Readers of thermal frames: 8 / 16-bit and float pictures, MFNet 4-channel PNG, npy, FLIR R-JPEG and FFF."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from armseg_core.arrays import Thermal
from armseg_core.errors import FormatError
from armseg_core.files.facts import head_of, must_be_file
from armseg_core.files.image_headers import image_header, is_jpeg, jpeg_segments
from armseg_core.files.npy import is_plane, npy_header, npz_names, read_npy
from armseg_core.files.pictures import read_image, single_channel
from armseg_core.sensors.reader import Reader, quiet
from armseg_core.sensors.thermal import flir
from armseg_core.sensors.thermal.nodata import cut_rows, without_nodata
from armseg_core.sensors.thermal.options import ThermalOptions
from armseg_core.sensors.thermal.units import UNITS, doubt

_JPEG_TOLERANCE = 8  # gray JPEGs saved in color come back with channels a few counts apart
_DJI = (
    "convert it with DJI's Thermal SDK (dji_irp) or Thermal Analysis Tool, and give armseg the "
    "16-bit or float TIFF"
)
_SEQUENCE = (
    "export the frames as radiometric TIFF or CSV with FLIR Thermal Studio, ResearchIR or Thermimage, and "
    "give armseg the 16-bit or float TIFF"
)


def read_picture(path: Path, options: ThermalOptions) -> Thermal:
    """PNG, TIFF or JPEG of one channel, or of three equal ones: 8 bit, 16 bit or float, values as stored.

    Raises:
        FormatError: damaged, or a color-mapped rendering.
    """
    image = read_image(path)
    return _thermal(single_channel(image, path, _JPEG_TOLERANCE if is_jpeg(path) else 0), path, options)


def read_mfnet(path: Path, options: ThermalOptions) -> Thermal:
    """The fourth channel of a 4-channel PNG (MFNet, Ha et al., IROS 2017): RGB + thermal.

    Raises:
        FormatError: the fourth channel is constant, as the alpha channel of an ordinary picture is.
    """
    image = read_image(path)
    if image.ndim != 3 or image.shape[2] != 4:
        raise FormatError(
            f"the picture has shape {image.shape}", where=path, expected="4 channels, RGB + thermal"
        )
    thermal = image[..., 3]
    if thermal.min() == thermal.max():
        gray = (image[..., :1] == image[..., 1:3]).all()
        if not gray:
            raise FormatError(
                f"the fourth channel is {thermal.flat[0]} everywhere: an alpha channel",
                where=path,
                expected="thermal in the fourth channel",
            )
        thermal = image[..., 0]
    return _thermal(np.ascontiguousarray(thermal), path, options)


def read_array(path: Path, options: ThermalOptions) -> Thermal:
    """npy / npz of (H, W), (H, W, 1) or (1, H, W)."""
    array = read_npy(path)
    if array.ndim == 3 and 1 in (array.shape[0], array.shape[2]):
        array = array[0] if array.shape[0] == 1 else array[..., 0]
    return _thermal(array, path, options)


def read_flir(path: Path, options: ThermalOptions) -> Thermal:
    """FLIR radiometric JPEG or .fff file of one frame -> degrees Celsius, by the camera's own constants.

    Raises:
        FormatError: no radiometric data in it.
    """
    must_be_file(path)
    return Thermal(flir.celsius(flir.flir_data(path), path), "celsius")


def _thermal(array: np.ndarray, path: Path, options: ThermalOptions) -> Thermal:
    if array.ndim != 2 or 0 in array.shape:
        raise FormatError(f"the frame has shape {array.shape}", where=path, expected="(H, W)")
    if array.dtype.kind == "f":
        if not np.isfinite(array).any():
            raise FormatError("no finite value in the frame", where=path)
        return _frame(array, 32, path, options)
    if array.dtype not in (np.uint8, np.uint16):
        if array.dtype.kind not in "ui" or array.min() < 0 or array.max() > 65535:
            raise FormatError(f"the values are {array.dtype}", where=path, expected="uint8, uint16 or float")
        array = array.astype(np.uint16)
    return _frame(array, 8 * array.dtype.itemsize, path, options)


def _frame(array: np.ndarray, bits: int, path: Path, options: ThermalOptions) -> Thermal:
    """The frame (H, W) with NaN where nothing was measured, and what its values mean."""
    is_float, scale = array.dtype.kind == "f", options.to_celsius
    values = without_nodata(cut_rows(array, path, options), path, options)
    if not np.isfinite(values).any():
        raise FormatError("no measurement in the frame", where=path)
    if scale is not None:
        doubt(values, *scale, is_float, path)
    unit = "celsius" if is_float and scale == UNITS["celsius"] else "counts"
    return Thermal(values, unit, bits, None if unit == "celsius" else scale)


def _refuse(reason: str, advice: str) -> Callable[[Path, ThermalOptions], Thermal]:
    def read(path: Path, options: ThermalOptions) -> Thermal:
        raise FormatError(reason, where=path, hint=advice)

    return read


def _has_flir_segment(head: bytes) -> bool:
    return head.startswith(b"\xff\xd8\xff") and b"\xff\xe1" in head and b"FLIR\0" in head


@quiet
def _is_flir(path: Path) -> bool:
    return _has_flir_segment(head_of(path))


@quiet
def _is_one_fff(path: Path) -> bool:
    return path.is_file() and flir.is_one_frame(path)


@quiet
def _is_dji(path: Path) -> bool:
    """A picture of DJI with raw values in APP3; their ordinary photos have none."""
    head = head_of(path)
    if not is_jpeg(path) or b"DJI" not in head or _has_flir_segment(head):
        return False
    return any(marker == 0xE3 for marker, _, _ in jpeg_segments(path))


@quiet
def _is_sequence(path: Path) -> bool:
    return path.is_file() and (
        path.suffix.lower() in (".seq", ".csq", ".ats", ".fcf") or head_of(path, 4) in flir.MAGIC
    )


@quiet
def _is_picture(path: Path) -> bool:
    header = image_header(path)
    if header is None or header.kind == "indexed":
        return False
    if header.kind == "jpeg" and (_is_flir(path) or _is_dji(path)):
        return False
    return header.channels in (1, 2, 3) and (header.floating or header.bits in (8, 16))


@quiet
def _is_mfnet(path: Path) -> bool:
    header = image_header(path)
    return header is not None and header.kind == "png" and header.channels == 4


@quiet
def _is_array(path: Path) -> bool:
    if (header := npy_header(path)) is not None:
        return is_plane(*header)
    return not {"thermal", "temperature"}.isdisjoint(npz_names(path))


THERMAL_READERS: tuple[Reader, ...] = (
    Reader(
        "flir-rjpeg",
        "thermal",
        "FLIR radiometric JPEG",
        ("*.jpg",),
        _is_flir,
        read_flir,
        notes="degrees Celsius by the camera's own constants",
    ),
    Reader(
        "flir-fff",
        "thermal",
        "FLIR FFF file of one frame",
        ("*.fff",),
        _is_one_fff,
        read_flir,
        notes="degrees Celsius by the camera's own constants",
    ),
    Reader(
        "dji-rjpeg",
        "thermal",
        "DJI radiometric JPEG",
        ("*_T.JPG",),
        _is_dji,
        _refuse("a DJI thermal JPEG: its radiometric data can only be read by DJI's own library", _DJI),
        refuse=_DJI,
    ),
    Reader(
        "flir-seq",
        "thermal",
        "FLIR SEQ / CSQ / ATS recording",
        ("*.seq", "*.csq", "*.ats"),
        _is_sequence,
        _refuse("a FLIR sequence, a proprietary container", _SEQUENCE),
        refuse=_SEQUENCE,
    ),
    Reader(
        "mfnet",
        "thermal",
        "MFNet 4-channel PNG",
        ("*.png",),
        _is_mfnet,
        read_mfnet,
        notes="thermal in the fourth channel",
    ),
    Reader(
        "thermal-picture",
        "thermal",
        "thermal PNG, TIFF or JPEG",
        ("*.png", "*.tiff", "*.jpg"),
        _is_picture,
        read_picture,
        notes="8 / 16-bit or float, one channel or equal channels",
    ),
    Reader(
        "thermal-npy",
        "thermal",
        "thermal npy / npz",
        ("*.npy", "*.npz"),
        _is_array,
        read_array,
        notes="(H, W), integer counts or float",
    ),
)
