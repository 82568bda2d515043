"""Readers of depth pictures: PNG / TIFF with a declared unit, PFM, npy, MATLAB v7.3, EXR, HHA.

Nothing in a depth picture says what its numbers mean; `depth_unit` does. When it is not given, 16-bit
pictures are taken as millimeters and float ones as meters, and a warning says so.

Shape letters: H rows, W columns.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from armseg_core.arrays import Depth, HhaImage
from armseg_core.errors import ArmsegWarning, FormatError, InputError, UsageError, require_extra
from armseg_core.files.facts import head_of, must_be_file
from armseg_core.files.hdf5 import hdf5_keys, is_matlab, read_hdf5
from armseg_core.files.image_headers import image_header, refuse_oversized
from armseg_core.files.json_text import read_json
from armseg_core.files.libraries import LibraryError, library_call
from armseg_core.files.npy import is_plane, npy_header, npz_names, read_npy
from armseg_core.files.pictures import read_image, single_channel
from armseg_core.sensors.depth.options import DepthOptions
from armseg_core.sensors.reader import Reader, quiet

# meters in one step; 256: KITTI depth (its development kit), 5000: TUM RGB-D (its file format page)
_SCALES = {"mm": 1e-3, "cm": 1e-2, "m": 1.0, "kitti256": 1 / 256, "tum5000": 1 / 5000}
# A median depth outside is a wrong unit: no depth camera measures 1 cm, and 1000 m is the far plane of CARLA.
_PLAUSIBLE_M = (0.01, 1000.0)
_KEYS = ("depths", "depth", "Depth", "depthMap", "depth_map")
_UNIT_HINT = (
    "--depth-unit mm | cm | m | kitti256 | tum5000 | sunrgbd | carla | cityscapes | disparity256 | disparity"
)


def to_meters(
    values: np.ndarray, unit: str, baseline_m: float | None = None, fx: float | None = None
) -> np.ndarray:
    """Stored values -> meters, float32; 0 where invalid, not finite or not positive.

    Args:
        values: (H, W); for "carla" (H, W, 3 or 4) uint8 RGB.
        unit: mm, cm, m; kitti256 = v / 256 m; tum5000 = v / 5000 m; sunrgbd = 16 bits rotated right by
            3, mm, at most 8 m (SUN RGB-D toolbox); carla = (R + 256 G + 65536 B) / (2^24 - 1) km;
            cityscapes = (v - 1) / 256 px of disparity; disparity256 = v / 256 px (DSEC); disparity = px.
        baseline_m, fx: stereo baseline and focal length in pixels: depth = baseline fx / disparity.

    Raises:
        UsageError: a disparity unit without baseline or focal length; sunrgbd of other than 16-bit integers.
    """
    if unit in _SCALES:
        meters = values.astype(np.float64) * _SCALES[unit]
    elif unit == "sunrgbd":
        if values.dtype.kind == "f" or values.min(initial=0) < 0 or values.max(initial=0) > 65535:
            raise UsageError(
                "depth unit 'sunrgbd' is coded in the bits of 16-bit integers",
                where="--depth-unit",
                expected="uint16 values",
                hint=_UNIT_HINT,
            )
        bits = values.astype(np.uint16)
        meters = np.minimum(((bits >> 3) | (bits << 13)) / 1000.0, 8.0)
    elif unit == "carla":
        r, g, b = (values[..., i].astype(np.float64) for i in range(3))
        meters = (r + 256 * g + 65536 * b) / (2**24 - 1) * 1000
    else:
        if baseline_m is None or fx is None:
            raise UsageError(
                f"depth unit '{unit}' is a disparity",
                where="--depth-unit",
                expected="the stereo baseline and the focal length",
                hint="--baseline METERS --intrinsics fx,fy,cx,cy",
            )
        disparity = values.astype(np.float64)
        if unit == "cityscapes":
            disparity = np.where(values > 0, (disparity - 1) / 256, 0)
        elif unit == "disparity256":
            disparity /= 256
        positive = np.isfinite(disparity) & (disparity > 0)
        meters = np.divide(baseline_m * fx, disparity, out=np.zeros_like(disparity), where=positive)
    with np.errstate(over="ignore"):
        out = meters.astype(np.float32)
    out[~(np.isfinite(out) & (out > 0))] = 0
    return out


def read_picture(path: Path, options: DepthOptions) -> Depth:
    """PNG, TIFF or PGM of one or equal channels; 16 bit or float, 8 bit only with an explicit unit.

    Raises:
        FormatError: 8-bit without a unit, a color-mapped rendering, or damaged.
    """
    values = single_channel(read_image(path), path)
    if values.dtype == np.uint8 and options.depth_unit is None:
        raise FormatError(
            "8-bit depth has only 256 levels: most such pictures are renderings, not measurements",
            where=path,
            expected="16-bit or float",
            hint=_UNIT_HINT,
        )
    return _depth(values, path, options, "m" if values.dtype.kind == "f" else "mm")


def read_color_coded(path: Path, options: DepthOptions) -> Depth | HhaImage:
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
        if image.ndim == 3 and (image[..., :1] == image[..., 1:3]).all():
            return read_picture(path, options)  # a gray picture saved in color
        raise FormatError(
            "an 8-bit color picture does not say how depth is coded in it",
            where=path,
            expected="--depth-unit carla (24-bit CARLA depth) or --depth-unit hha",
        )
    if image.ndim != 3 or image.dtype != np.uint8:
        raise FormatError(f"the picture is {image.dtype} {image.shape}", where=path, expected="8-bit RGB")
    if unit == "hha":
        return HhaImage(np.ascontiguousarray(np.moveaxis(image[..., :3], -1, 0)))
    return _finish(to_meters(image, "carla"), path, options)


def read_pfm(path: Path, options: DepthOptions) -> Depth:
    """Portable float map, one channel."""
    return _depth(single_channel(read_image(path), path), path, options, "m")


def read_array(path: Path, options: DepthOptions) -> Depth:
    """npy / npz of (H, W), (H, W, 1) or (1, H, W): integers are mm, float m, unless `depth_unit` is given."""
    array = read_npy(path)
    if array.ndim == 3 and 1 in (array.shape[0], array.shape[2]):
        array = array[0] if array.shape[0] == 1 else array[..., 0]
    return _depth(array, path, options, "m" if array.dtype.kind == "f" else "mm")


def read_mat(path: Path, options: DepthOptions) -> Depth:
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


def read_exr(path: Path, options: DepthOptions) -> Depth:
    """OpenEXR: channel Z, or depth, Y, R or the only one (package OpenEXR; OpenCV 5 does not read EXR)."""
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
    for name in ("Z", "depth.Z", "depth", "Y", "R", "V"):
        if name in channels:
            return _depth(channels[name], path, options, "m")
    if len(channels) == 1:
        return _depth(next(iter(channels.values())), path, options, "m")
    raise FormatError(f"no depth among the channels {', '.join(channels)}", where=path, expected="channel Z")


def _depth(values: np.ndarray, path: Path, options: DepthOptions, assumed: str, say: bool = True) -> Depth:
    """Apply the unit; when it was not given, use `assumed` and say so."""
    if values.ndim != 2 or 0 in values.shape or values.dtype.kind not in "uif":
        raise FormatError(
            f"the depth picture is {values.dtype} {values.shape}", where=path, expected="numbers (H, W)"
        )
    unit: str = options.depth_unit or assumed
    if options.depth_unit is None and say:
        text = f"{path}: depth taken as {unit}, which the file does not say ({_UNIT_HINT})"
        warnings.warn(ArmsegWarning(text), stacklevel=3)
    if unit in ("carla", "hha"):
        raise UsageError(
            f"'{unit}' is coded in three 8-bit channels, and {path.name} has one channel",
            where="--depth-unit",
            hint=_UNIT_HINT,
        )
    camera = _intrinsics(path, values.shape, options)
    meters = to_meters(values, unit, options.baseline, None if camera is None else float(camera[0, 0]))
    return _finish(meters, path, options, camera)


def _finish(meters: np.ndarray, path: Path, options: DepthOptions, camera: np.ndarray | None = None) -> Depth:
    valid = meters > 0
    if not valid.any():
        warnings.warn(ArmsegWarning(f"{path}: no valid depth in the whole picture"), stacklevel=3)
    else:
        median = float(np.median(meters[valid]))
        if not _PLAUSIBLE_M[0] <= median <= _PLAUSIBLE_M[1]:
            warnings.warn(
                ArmsegWarning(f"{path}: the median depth is {median:g} m; is the unit right? ({_UNIT_HINT})"),
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
    return header.kind in ("png", "tiff") and (header.channels == 1 or header.bits == 16)


def _named_hha(path: Path) -> bool:
    return "hha" in f"{path.absolute().parent.name}/{path.name}".lower()


@quiet
def _is_color_coded(path: Path) -> bool:
    header = image_header(path)
    if header is None or header.channels not in (3, 4) or header.bits != 8:
        return False
    return header.kind == "png" or (header.kind == "jpeg" and _named_hha(path))  # any photo is a JPEG


@quiet
def _is_array(path: Path) -> bool:
    if (header := npy_header(path)) is not None:
        return is_plane(*header)
    return "depth" in npz_names(path)


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
        notes="16-bit or float; --depth-unit (mm when not given, and said)",
        beside=camera_file,
    ),
    Reader(
        "depth-rgb",
        "depth",
        "CARLA 24-bit depth or HHA picture",
        ("*.png", "HHA/*.jpg"),
        _is_color_coded,
        read_color_coded,
        notes="--depth-unit carla | hha",
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
