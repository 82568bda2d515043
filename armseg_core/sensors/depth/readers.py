"""Readers of depth pictures: PNG / TIFF with a declared unit, PFM, npy, MATLAB v7.3, EXR, HHA.

Nothing in a depth picture says what its numbers mean; `depth_unit` does. When it is not given, 16-bit
pictures are taken as millimeters and float ones as meters, and a warning says so, with the unit that is more
likely where the numbers tell. What is no distance from a camera (elevation, normals, renderings in color) is
refused by name.

Shape letters: H rows, W columns.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from armseg_core.arrays import Depth, HhaImage, RelativeDepth
from armseg_core.errors import ArmsegWarning, FormatError, InputError, UsageError, require_extra
from armseg_core.files.facts import head_of, must_be_file
from armseg_core.files.hdf5 import hdf5_keys, is_matlab, read_hdf5
from armseg_core.files.image_headers import image_header, is_jpeg, refuse_oversized
from armseg_core.files.json_text import read_json
from armseg_core.files.libraries import LibraryError, library_call
from armseg_core.files.npy import is_plane, npy_header, npz_names, read_npy
from armseg_core.files.pictures import read_image, single_channel
from armseg_core.sensors.depth.options import DepthOptions
from armseg_core.sensors.depth.refusals import in_color, refuse_disparity, refuse_elevation
from armseg_core.sensors.depth.units import (
    UNIT_HINT,
    WIDE_UNITS,
    is_kinect11,
    likely_unit,
    relative,
    swapped,
    to_meters,
)
from armseg_core.sensors.reader import Reader, quiet

# A median depth outside is a wrong unit: no depth camera measures 1 cm, and 1000 m is the far plane of CARLA.
_PLAUSIBLE_M = (0.01, 1000.0)
_KEYS = ("depths", "depth", "Depth", "depthMap", "depth_map")
_HYPERSIM_KEY = "dataset"  # the only thing in a file of Hypersim (Roberts et al., ICCV 2021)
_JPEG_TOLERANCE = 8  # gray JPEGs saved in color come back with channels a few counts apart


def read_picture(path: Path, options: DepthOptions) -> Depth | RelativeDepth:
    """PNG, TIFF, PGM or JPEG of one or equal channels; 16 bit or float, 8 bit only with an explicit unit.

    A PGM whose bytes are in the other order than the format says (the raw dump of NYU Depth V2) is read in
    the order that gives a picture, and that is said.

    Raises:
        FormatError: 8-bit without a unit, a color-mapped rendering, or damaged.
    """
    values = single_channel(read_image(path), path, _JPEG_TOLERANCE if is_jpeg(path) else 0)
    exchanged = swapped(values) if head_of(path, 2) == b"P5" else None
    if exchanged is None:
        return _depth(values, path, options, "m" if values.dtype.kind == "f" else "mm")
    raw = is_kinect11(exchanged) and options.depth_unit is None and options.depth_scale is None
    text = f"{path}: its bytes are in the other order than PGM says, and are read so"
    text += "; taken as kinect11, the raw disparity of NYU Depth V2 (2047 = none)" if raw else ""
    warnings.warn(ArmsegWarning(text), stacklevel=2)
    return _depth(exchanged, path, options, "kinect11" if raw else "mm", say=not raw)


def read_color_coded(path: Path, options: DepthOptions) -> Depth | RelativeDepth | HhaImage:
    """8-bit RGB(A) PNG: 24-bit CARLA depth (`depth_unit` carla) or HHA (`depth_unit` hha; also JPEG).

    Raises:
        FormatError: no unit given and the name does not say HHA, or another unit.
    """
    unit = options.depth_unit
    if unit is None and _named_hha(path):
        unit = "hha"
        warnings.warn(
            ArmsegWarning(f"{path}: taken as HHA, by its name (--depth-unit says otherwise)"), stacklevel=2
        )
    image = read_image(path)
    if unit not in ("carla", "hha"):
        tolerance = _JPEG_TOLERANCE if is_jpeg(path) else 0
        if image.ndim == 2 or np.ptp(image[..., :3], axis=2).max(initial=0) <= tolerance:
            return read_picture(path, options)  # a gray picture saved in color
        raise in_color(image, path)
    if image.ndim != 3 or image.dtype != np.uint8:
        raise FormatError(f"the picture is {image.dtype} {image.shape}", where=path, expected="8-bit RGB")
    if unit == "hha":
        return HhaImage(np.ascontiguousarray(np.moveaxis(image[..., :3], -1, 0)))
    return _finish(to_meters(image, "carla"), path, options)


def read_pfm(path: Path, options: DepthOptions) -> Depth | RelativeDepth:
    """Portable float map, one channel."""
    return _depth(single_channel(read_image(path), path), path, options, "m")


def read_array(path: Path, options: DepthOptions) -> Depth | RelativeDepth:
    """npy / npz of (H, W), (H, W, 1) or (1, H, W): integers are mm, float m, unless `depth_unit` is given."""
    array = read_npy(path)
    if array.ndim == 3 and 1 in (array.shape[0], array.shape[2]):
        array = array[0] if array.shape[0] == 1 else array[..., 0]
    return _depth(array, path, options, "m" if array.dtype.kind == "f" else "mm")


def read_mat(path: Path, options: DepthOptions) -> Depth | RelativeDepth:
    """Data set `depths` or `depth` of an HDF5 or MATLAB v7.3 file; `frame` picks one of many.

    MATLAB reverses the axes: NYUv2 labeled is (N, W, H) in HDF5, in meters.
    """
    shapes = hdf5_keys(path)
    key = next((k for k in _KEYS if k in shapes), None)
    if key is None:
        raise FormatError(
            "no depth in the file", where=path, expected="a data set named " + " / ".join(_KEYS)
        )
    shape, index = shapes[key], options.frame
    count = 1 if len(shape) == 2 else shape[0]
    if len(shape) not in (2, 3):
        raise FormatError(
            f"the data set '{key}' has shape {shape}", where=path, expected="(H, W) or (N, H, W)"
        )
    if index >= count:
        raise FormatError(f"frame {index} of {count}", where=path, expected=f"--frame 0 to {count - 1}")
    values = read_hdf5(path, key) if len(shape) == 2 else read_hdf5(path, key, (index,))
    values = values.T if is_matlab(path) else values
    return _depth(values, path, options, "m" if values.dtype.kind == "f" else "mm", say=key != "depths")


def read_hypersim(path: Path, options: DepthOptions) -> Depth:
    """Hypersim's frame.*.depth_meters.hdf5: the distance along each ray in meters becomes depth along z.

    The focal length is that of `intrinsics` or calib.json, else Hypersim's own: a field of view of 60 degrees
    across the width, the principal point in the middle.

    Raises:
        FormatError: damaged, or no plane of numbers.
    """
    distance = read_hdf5(path, _HYPERSIM_KEY).astype(np.float32)
    if distance.ndim != 2 or 0 in distance.shape:
        raise FormatError(f"the distances have shape {distance.shape}", where=path, expected="(H, W)")
    camera = _intrinsics(path, distance.shape, options)
    h, w = distance.shape
    if camera is None:
        focal = w / 2 / math.tan(math.pi / 6)
        camera = np.array([[focal, 0, (w - 1) / 2], [0, focal, (h - 1) / 2], [0, 0, 1]])
        text = f"{path}: Hypersim's distances taken with its focal length, {focal:.2f} px (--intrinsics)"
        warnings.warn(ArmsegWarning(text), stacklevel=2)
    y, x = np.mgrid[0:h, 0:w].astype(np.float64)
    rays = np.stack([(x - camera[0, 2]) / camera[0, 0], (y - camera[1, 2]) / camera[1, 1], np.ones((h, w))])
    return _finish(to_meters(distance / np.linalg.norm(rays, axis=0), "m"), path, options, camera)


def read_exr(path: Path, options: DepthOptions) -> Depth | RelativeDepth:
    """OpenEXR: channel Z, or depth, Y, R or the only one (package OpenEXR; OpenCV 5 does not read EXR).

    Raises:
        FormatError: damaged, no channel of depth, or three different ones (normals, points, colors).
    """
    exr = require_extra("OpenEXR", "exr", "reading EXR depth")
    must_be_file(path)
    refuse_oversized(path)
    try:
        with library_call(), exr.File(str(path), separate_channels=True) as file:
            channels = {name: np.array(channel.pixels) for name, channel in file.channels().items()}
    except LibraryError as error:  # OpenEXR raises RuntimeError and TypeError on damaged files
        raise FormatError(
            "the EXR file cannot be decoded: its header or its samples are truncated or damaged", where=path
        ) from error
    for three in ("RGB", "XYZ"):
        if {*three} <= {*channels}:
            first, *others = (channels[name] for name in three)
            if not all(np.array_equal(first, other, equal_nan=True) for other in others):
                what = f"three different channels {', '.join(three)}: normals, points or colors, not depth"
                raise FormatError(what, where=path, expected="one channel, such as Z, or equal ones")
    for name in ("Z", "depth.Z", "depth", "Y", "R", "V"):
        if name in channels:
            return _depth(channels[name], path, options, "m")
    if len(channels) == 1:
        return _depth(next(iter(channels.values())), path, options, "m")
    raise FormatError(f"no depth among the channels {', '.join(channels)}", where=path, expected="channel Z")


def _depth(
    values: np.ndarray, path: Path, options: DepthOptions, assumed: str, say: bool = True
) -> Depth | RelativeDepth:
    """Apply the unit; when none was given, use `assumed` and (unless `say` is off) say so."""
    if values.ndim != 2 or 0 in values.shape or values.dtype.kind not in "uif":
        raise FormatError(
            f"the depth picture is {values.dtype} {values.shape}", where=path, expected="numbers (H, W)"
        )
    refuse_elevation(path)
    refuse_disparity(path, options)
    unit: str = options.depth_unit or assumed
    is_given = options.depth_unit is not None or options.depth_scale is not None
    if values.dtype == np.uint8 and not options.depth_scale and (not is_given or unit in WIDE_UNITS):
        raise FormatError(
            "8-bit depth has only 256 levels: most such pictures are renderings, not measurements"
            + (f", and none is in {unit}" if is_given else ""),
            where=path,
            expected="16-bit or float",
            hint="--depth-unit relative, or --depth-unit cm | m or --depth-scale METERS_PER_COUNT "
            "where they are distances",
        )
    if unit == "relative":
        return _relative(values, path, options)
    if unit in ("carla", "hha"):
        raise UsageError(
            f"'{unit}' is coded in three 8-bit channels, and {path.name} has one channel",
            where="--depth-unit",
            hint=UNIT_HINT,
        )
    if not is_given and say:
        why = likely_unit(values) if unit == "mm" else ""
        text = f"{path}: depth taken as {unit}, which the file does not say ({UNIT_HINT})"
        warnings.warn(ArmsegWarning(f"{text}; {why}" if why else text), stacklevel=3)
    camera = _intrinsics(path, values.shape, options)
    focal = None if camera is None else float(camera[0, 0])
    meters = to_meters(values, unit, options.baseline, focal, options.depth_scale)
    return _finish(meters, path, options, camera)


def _relative(values: np.ndarray, path: Path, options: DepthOptions) -> RelativeDepth:
    near = options.near or "great"
    if options.near is None:
        text = f"{path}: great values taken as near, which the file does not say (--near small)"
        warnings.warn(ArmsegWarning(text), stacklevel=4)
    found = relative(values, near)
    if not found.valid.any():
        warnings.warn(ArmsegWarning(f"{path}: no valid depth in the whole picture"), stacklevel=4)
    return found


def _finish(meters: np.ndarray, path: Path, options: DepthOptions, camera: np.ndarray | None = None) -> Depth:
    valid = meters > 0
    if not valid.any():
        warnings.warn(ArmsegWarning(f"{path}: no valid depth in the whole picture"), stacklevel=3)
    else:
        median = float(np.median(meters[valid]))
        if not _PLAUSIBLE_M[0] <= median <= _PLAUSIBLE_M[1]:
            warnings.warn(
                ArmsegWarning(f"{path}: the median depth is {median:g} m; is the unit right? ({UNIT_HINT})"),
                stacklevel=3,
            )
    if camera is None:
        camera = _intrinsics(path, meters.shape, options)
    return Depth(meters, valid, camera)


def camera_file(path: Path, options: DepthOptions) -> tuple[Path, ...]:
    """The calib.json beside a picture, where no option gives the camera; it need not exist."""
    return () if options.camera is not None else (path.parent / "calib.json",)


def _intrinsics(path: Path, shape: tuple[int, ...], options: DepthOptions) -> np.ndarray | None:
    """Camera matrix from the option, else from a calib.json beside the file that is of the same size."""
    if options.camera is not None:
        fx, fy, cx, cy = options.camera
        return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    (beside,) = camera_file(path, options)
    try:
        calibration = read_json(beside)
        matrix = np.asarray(calibration["intrinsics"], np.float64)
        same = tuple(calibration["size"]) == tuple(shape[:2])
    except (InputError, ValueError, KeyError, TypeError, OverflowError):
        return None  # intrinsics are only needed by hha, normals and disparity, which ask for them
    return matrix if matrix.shape == (3, 3) and same and np.isfinite(matrix).all() else None


# --- content tests ---


@quiet
def _is_picture(path: Path) -> bool:
    header = image_header(path)
    if header is None:
        return head_of(path, 2) == b"P5"
    if header.kind == "jpeg":
        return header.channels == 1
    return header.kind in ("png", "tiff") and (header.channels == 1 or header.bits == 16)


def _named_hha(path: Path) -> bool:
    return "hha" in f"{path.absolute().parent.name}/{path.name}".lower()


@quiet
def _is_color_coded(path: Path) -> bool:
    header = image_header(path)
    if header is None or header.channels not in (3, 4) or header.bits != 8:
        return False
    # a photo too, which is refused in our words; not the pictures of thermal cameras
    return header.kind == "png" or (header.kind == "jpeg" and not _is_radiometric(path))


def _is_radiometric(path: Path) -> bool:
    head = head_of(path)
    return b"FLIR\0" in head or b"DJI" in head


@quiet
def _is_array(path: Path) -> bool:
    if (header := npy_header(path)) is not None:
        return is_plane(*header)
    return "depth" in npz_names(path)


@quiet
def _is_hypersim(path: Path) -> bool:
    shapes = hdf5_keys(path)
    return "depth_meters" in path.name and set(shapes) == {_HYPERSIM_KEY} and len(shapes[_HYPERSIM_KEY]) == 2


@quiet
def _is_mat(path: Path) -> bool:
    return any(key in _KEYS and len(shape) in (2, 3) for key, shape in hdf5_keys(path).items())


def _starts(*magics: bytes) -> Callable[[Path], bool]:
    @quiet
    def test(path: Path) -> bool:
        return head_of(path, 4).startswith(magics)

    return test


DEPTH_READERS: tuple[Reader, ...] = (
    Reader(
        "depth-picture",
        "depth",
        "depth PNG / TIFF / PGM",
        ("*.png", "*.tiff", "*.pgm"),
        _is_picture,
        read_picture,
        notes="16-bit or float; --depth-unit or --depth-scale (mm when not given, and said)",
        beside=camera_file,
    ),
    Reader(
        "depth-rgb",
        "depth",
        "CARLA 24-bit depth or HHA picture",
        ("*.png", "*.jpg"),
        _is_color_coded,
        read_color_coded,
        notes="--depth-unit carla | hha; other colors are refused",
        beside=camera_file,
    ),
    Reader(
        "pfm",
        "depth",
        "portable float map",
        ("*.pfm",),
        _starts(b"Pf", b"PF"),
        read_pfm,
        notes="meters, or --depth-unit disparity",
        beside=camera_file,
    ),
    Reader(
        "depth-npy",
        "depth",
        "depth npy / npz",
        ("*.npy", "*.npz"),
        _is_array,
        read_array,
        notes="(H, W); float meters, integer mm",
        beside=camera_file,
    ),
    Reader(
        "depth-mat",
        "depth",
        "HDF5 or MATLAB v7.3 file with depth",
        ("*.mat", "*.h5"),
        _is_mat,
        read_mat,
        notes="NYUv2 labeled; --frame N",
        beside=camera_file,
        frames=True,
    ),
    Reader(
        "hypersim",
        "depth",
        "Hypersim distance",
        ("*.depth_meters.hdf5",),
        _is_hypersim,
        read_hypersim,
        notes="distance along the ray becomes depth along z",
        beside=camera_file,
    ),
    Reader(
        "exr",
        "depth",
        "OpenEXR depth",
        ("*.exr",),
        _starts(b"\x76\x2f\x31\x01"),
        read_exr,
        extra="exr",
        notes="channel Z",
        beside=camera_file,
    ),
)
