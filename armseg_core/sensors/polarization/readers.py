"""Readers of polarization: DoFP mosaics, sets of one picture per angle, Stokes and AoLP / DoLP arrays.

Shape letters: A angles, H rows, W columns.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from armseg_core.arrays import PolarizedImages, Stokes
from armseg_core.errors import ArmsegWarning, FormatError
from armseg_core.files.image_headers import image_header
from armseg_core.files.npy import npy_header, read_npy
from armseg_core.files.pictures import read_image, single_channel
from armseg_core.sensors.polarization.angle_sets import PICTURES, find_aolp, find_set
from armseg_core.sensors.polarization.demosaic import ANGLES, demosaic_bayer, demosaic_polarizers
from armseg_core.sensors.polarization.options import PolarizationOptions
from armseg_core.sensors.reader import Reader, quiet

_SENSOR_BITS = 12  # of the polarization sensors in use (IMX250MZR / MYR, IMX264MZR)
_MCUBES = ("polL_aolp_sin", "polL_aolp_cos", "polL_dolp")


def _finite_or_zero(values: np.ndarray) -> np.ndarray:
    """float32 copy with NaN and infinities as 0."""
    out = values.astype(np.float32)
    out[~np.isfinite(out)] = 0.0
    return out


def read_mosaic(path: Path, options: PolarizationOptions) -> PolarizedImages:
    """A DoFP (division of focal plane) mosaic, gray or quad-Bayer color (`bayer`), cell order `pattern`.

    Raises:
        FormatError: odd size, color picture, or values that do not fit `bits`.
    """
    raw = read_npy(path) if path.suffix.lower() == ".npy" else read_image(path)
    raw = single_channel(raw, path)
    step = 2 if options.bayer == "none" else 4
    if raw.shape[0] % step or raw.shape[1] % step or 0 in raw.shape:
        raise FormatError(
            f"a mosaic of {raw.shape[1]}x{raw.shape[0]} pixels cuts a {step}x{step} cell in two",
            where=path,
            expected=f"width and height that are multiples of {step}",
            hint="a region of interest that keeps whole cells (and --pattern if it moved them)",
        )
    if "pattern" not in options.model_fields_set:
        text = f"assumed cell {options.pattern} (Sony IMX250MZR); other cameras differ: --pattern"
        warnings.warn(ArmsegWarning(text), stacklevel=2)
    values, clipped = _linear(raw, path, options)
    half = options.demosaic == "half"
    intensity = demosaic_polarizers(values, options.cell, options.bayer, half=half)
    spread = demosaic_polarizers(clipped.astype(np.float32), options.cell, options.bayer, half=half) > 0
    saturated = np.asarray(spread.any(axis=0) if spread.ndim == 3 else spread.any(axis=(0, 3)))
    return PolarizedImages(_calibrated(intensity, options), tuple(map(float, ANGLES)), saturated)


def read_angle_set(path: Path, options: PolarizationOptions) -> PolarizedImages:
    """One picture per polarizer angle (0, 45, 90, 135 or 0, 60, 120): gray, behind a Bayer filter, or RGB.

    `path` is a folder of them, any one of them, or one in a folder `0`, `45`, ... beside the other folders.

    Raises:
        FormatError: a picture of the set is missing, or sizes or bit depths differ.
    """
    files = find_set(path)
    if files is None:
        raise FormatError(
            "no complete set of polarizer angles",
            where=path,
            expected="one picture each whose name ends in 0, 45, 90 and 135 (or 0, 60, 120)",
        )
    pictures, clipped = [], []
    first: np.ndarray | None = None
    for file in files.values():
        raw = read_npy(file) if file.suffix.lower() == ".npy" else read_image(file)
        raw = raw[..., :3] if raw.ndim == 3 and raw.shape[2] == 4 else raw
        first = raw if first is None else first
        if (raw.shape, raw.dtype) != (first.shape, first.dtype):
            raise FormatError(
                f"the picture is {raw.shape} {raw.dtype}",
                where=file,
                expected=f"{first.shape} {first.dtype} as {next(iter(files.values())).name}",
            )
        pictures.append(raw)
    values, mask = _linear(np.stack(pictures), path, options)
    if options.bayer != "none" and values.ndim == 3:
        values = np.stack([demosaic_bayer(picture, options.bayer) for picture in values])
        clipped = [(demosaic_bayer(m.astype(np.float32), options.bayer) > 0).any(axis=-1) for m in mask]
    else:
        clipped = [m if m.ndim == 2 else m.any(axis=-1) for m in mask]
    angles = tuple(map(float, files))
    if options.calibration is not None and len(angles) != 4:
        raise FormatError(
            "a calibration matrix fits four angles only", where=path, hint="leave --calibration out"
        )
    return PolarizedImages(_calibrated(values, options), angles, np.any(clipped, axis=0))


def read_stokes(path: Path, options: PolarizationOptions) -> Stokes:
    """npy of Stokes parameters: (H, W, 3 or 4), (3 or 4, H, W), (H, W, 4, colors) or (H, W, colors, 4).

    S3 is left out, colors are averaged.

    Raises:
        FormatError: another shape, or no positive S0.
    """
    array = read_npy(path)
    if array.dtype.kind not in "fiu":
        raise FormatError(f"the array holds {array.dtype}", where=path, expected="numbers")
    if array.ndim == 4 and array.shape[2] == 4 and array.shape[3] in (1, 3):
        array = array.astype(np.float32).mean(axis=3)
    elif array.ndim == 4 and array.shape[3] == 4 and array.shape[2] in (1, 3):
        array = array.astype(np.float32).mean(axis=2)
    if array.ndim == 3 and array.shape[2] in (3, 4):
        array = np.moveaxis(array, 2, 0)
    if array.ndim != 3 or array.shape[0] not in (3, 4):
        raise FormatError(
            f"the array has shape {array.shape}",
            where=path,
            expected="(H, W, 3 or 4), (H, W, 4, colors) or (H, W, colors, 4)",
        )
    s = _finite_or_zero(array[:3])
    if not (s[0] > 0).any():
        raise FormatError("S0 is nowhere positive", where=path, expected="S0, S1, S2 in this order")
    return Stokes(s, np.zeros(s.shape[1:], bool))


def _mcubes_files(path: Path) -> tuple[Path, ...]:
    """The arrays of `_MCUBES` of a sample, then its picture in polL_color, which need not exist."""
    root, stem = path.parent.parent, path.stem
    pictures = [root / "polL_color" / f"{stem}{suffix}" for suffix in (".png", ".tif", ".tiff")]
    planes = (root / folder / f"{stem}.npy" for folder in _MCUBES)
    return (*planes, next((file for file in pictures if file.is_file()), pictures[0]))


def read_mcubes(path: Path, options: PolarizationOptions) -> Stokes:
    """MCubeS: polL_aolp_sin, polL_aolp_cos and polL_dolp npy of one name, S0 from polL_color (else 1).

    DoLP is cut to [0, 1]. S0 is the ITU-R BT.601 luma of the picture, of full scale 1: degree and angle are
    one plane for all colors here, so Stokes parameters cannot be averaged over the colors as for mosaics.

    Raises:
        FormatError: an array is not (H, W) numbers, or sizes differ.
    """
    *planes, color = _mcubes_files(path)
    sine, cosine, dolp = (_plane(file) for file in planes)
    _same_shape({"polL_aolp_sin": sine, "polL_aolp_cos": cosine, "polL_dolp": dolp}, path)
    sine, cosine = _doubled(sine, cosine)
    s0 = np.ones_like(dolp)
    if color.is_file():
        s0 = _luma(read_image(color))
        _same_shape({"polL_color": s0, "polL_dolp": dolp}, path)
    return _stokes_from(s0, np.clip(dolp, 0, 1), sine, cosine)


def _doubled(sine: np.ndarray, cosine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(sin 2A, cos 2A), of unit length, from MCubeS's arrays, and a note of what they were taken for.

    They hold sine and cosine of the angle A by the data set's README; some users read them as those of 2A.
    A in [0, 180) or (-90, 90] degrees leaves sine or cosine without negative values; where both have them in
    more than 1 % of the pixels (the rest is noise) the arrays are taken as those of 2A. Not verified on real
    files.
    """
    is_single = min((sine < -1e-3).mean(), (cosine < -1e-3).mean()) <= 0.01
    text = f"polL_aolp_sin and polL_aolp_cos are taken as sine and cosine of {'A' if is_single else '2A'} "
    why = "hardly ever" if is_single else "often"
    warnings.warn(ArmsegWarning(f"{text}(A = angle of polarization): both are {why} negative"), stacklevel=3)
    if is_single:
        sine, cosine = 2 * sine * cosine, cosine**2 - sine**2
    length = np.hypot(sine, cosine)
    safe = np.where(length > 0, length, 1)
    return sine / safe, cosine / safe


def _luma(image: np.ndarray) -> np.ndarray:
    """(H, W) float32, full scale 1, of a gray picture or the BT.601 luma of an RGB(A) one."""
    import cv2

    full = np.iinfo(image.dtype).max if image.dtype.kind in "ui" else 1
    unit = image.astype(np.float32) / np.float32(full)
    return unit if unit.ndim == 2 else np.asarray(cv2.cvtColor(unit[..., :3], cv2.COLOR_RGB2GRAY))


def read_aolp_dolp(path: Path, options: PolarizationOptions) -> Stokes:
    """`aolp` and `dolp` npy (and `s0`, 1 where absent) of one folder or one name; AoLP in `aolp_unit`.

    Raises:
        FormatError: shapes differ, DoLP outside [0, 1], or AoLP too large for radians.
    """
    files = find_aolp(path)
    if files is None:
        raise FormatError("no pair of AoLP and DoLP arrays", where=path, expected="aolp.npy and dolp.npy")
    aolp, dolp = _plane(files["aolp"]), _plane(files["dolp"])
    s0 = _plane(files["s0"]) if "s0" in files else np.ones_like(dolp)
    _same_shape({"aolp": aolp, "dolp": dolp, "s0": s0}, path)
    # 1e-3 (a free choice): rounding of whoever computed them is no error
    if dolp.min(initial=0) < 0 or dolp.max(initial=0) > 1 + 1e-3:
        raise FormatError(
            f"DoLP reaches from {dolp.min():g} to {dolp.max():g}", where=files["dolp"], expected="[0, 1]"
        )
    if options.aolp_unit == "rad" and np.abs(aolp).max(initial=0) > 2 * np.pi + 1e-3:
        raise FormatError(
            f"AoLP reaches {np.abs(aolp).max():g}",
            where=files["aolp"],
            expected="radians",
            hint="--aolp-unit deg",
        )
    double = 2 * (np.deg2rad(aolp) if options.aolp_unit == "deg" else aolp)
    return _stokes_from(s0, dolp, np.sin(double), np.cos(double))


def _stokes_from(s0: np.ndarray, dolp: np.ndarray, sine: np.ndarray, cosine: np.ndarray) -> Stokes:
    linear = s0 * dolp
    s = np.stack([s0, linear * cosine, linear * sine]).astype(np.float32)
    return Stokes(s, np.zeros(s0.shape, bool))


def _plane(path: Path) -> np.ndarray:
    array = read_npy(path)
    array = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise FormatError(f"the array is {array.dtype} {array.shape}", where=path, expected="numbers (H, W)")
    return _finite_or_zero(array)


def _same_shape(arrays: dict[str, np.ndarray], path: Path) -> None:
    if len({array.shape for array in arrays.values()}) > 1:
        text = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise FormatError(f"sizes differ: {text}", where=path, expected="one size")


def _linear(raw: np.ndarray, path: Path, options: PolarizationOptions) -> tuple[np.ndarray, np.ndarray]:
    """(linear intensity float32 with full scale 1, mask of clipped samples)."""
    if raw.dtype.kind == "f":
        if not np.isfinite(raw).all() or raw.min(initial=0) < 0 or raw.max(initial=0) > 1:
            raise FormatError(
                "float intensities outside [0, 1]", where=path, expected="[0, 1], uint8 or uint16"
            )
        full, values = 1.0, raw.astype(np.float32)
    elif raw.dtype in (np.uint8, np.uint16):
        full = _full_code(raw, path, options.bits)
        values = raw.astype(np.float32) / np.float32(full)
    else:
        raise FormatError(f"the samples are {raw.dtype}", where=path, expected="uint8, uint16 or float")
    clipped = raw >= full
    return (values if options.gamma == 1 else values ** np.float32(options.gamma)), clipped


def _full_code(raw: np.ndarray, path: Path, bits: int | None) -> int:
    """The largest code the camera can write, whichever end of the 16 bits its samples are aligned to."""
    top = int(raw.max(initial=0))
    used = int(np.bitwise_or.reduce(raw, axis=None))
    zeros = (used & -used).bit_length() - 1 if used else 0  # low bits that no sample ever sets
    if raw.dtype == np.uint8:
        if bits not in (None, 8):
            raise FormatError(
                "the picture has 8-bit samples", where=path, expected=f"--bits {bits} in a 16-bit file"
            )
        return 255
    if bits is not None:
        full: int = 2**bits - 1
        if top <= full:
            return full
        if zeros >= 16 - bits:
            return full << (16 - bits)
        raise FormatError(
            f"a value of {top} does not fit {bits} bits", where=path, hint="another --bits, or none"
        )
    if top < 2**_SENSOR_BITS:
        warnings.warn(
            ArmsegWarning(
                f"{path}: no value above {top}: taken as {_SENSOR_BITS}-bit samples (--bits says otherwise)"
            ),
            stacklevel=2,
        )
        return (1 << _SENSOR_BITS) - 1
    if zeros >= 2:
        warnings.warn(
            ArmsegWarning(
                f"{path}: the low {zeros} bits are never set: taken as {16 - zeros}-bit samples "
                "shifted up (--bits 16 says otherwise)"
            ),
            stacklevel=2,
        )
        return (65535 >> zeros) << zeros
    return 65535


def _calibrated(intensity: np.ndarray, options: PolarizationOptions) -> np.ndarray:
    """Intensities after the per-pixel matrix of `calibration`: ideal = M measured, order 0, 45, 90, 135."""
    if options.calibration is None:
        return intensity.astype(np.float32, copy=False)
    matrix = read_npy(options.calibration)
    shapes = ((4, 4), (*intensity.shape[1:3], 4, 4))
    if matrix.shape not in shapes or matrix.dtype.kind != "f" or not np.isfinite(matrix).all():
        raise FormatError(
            f"the calibration is {matrix.dtype} {matrix.shape}",
            where=options.calibration,
            expected=f"finite floats {shapes[0]} or {shapes[1]}",
        )
    letters = "ij" if matrix.ndim == 2 else "yxij"
    channels = "c" if intensity.ndim == 4 else ""
    ideal = np.einsum(f"{letters},jyx{channels}->iyx{channels}", matrix.astype(np.float32), intensity)
    positive: np.ndarray = np.maximum(ideal, 0)
    return positive.astype(np.float32)


# --- content tests ---


@quiet
def _is_mosaic(path: Path) -> bool:
    header = image_header(path)
    if header is not None:
        return (
            header.kind in ("png", "tiff")
            and header.channels == 1
            and header.bits in (8, 16)
            and not header.floating
        )
    array = npy_header(path)
    return array is not None and len(array[0]) == 2 and array[1] in (np.uint8, np.uint16)


@quiet
def _is_set(path: Path) -> bool:
    return (path.is_dir() or path.suffix.lower() in PICTURES) and find_set(path) is not None


@quiet
def _is_stokes(path: Path) -> bool:
    header = npy_header(path)
    if header is None or header[1].kind not in "fi":
        return False
    shape = header[0]
    if len(shape) == 3:
        return (shape[2] in (3, 4) or shape[0] in (3, 4)) and shape[1] > 4
    return len(shape) == 4 and shape[2:] in ((4, 3), (3, 4), (1, 4), (4, 1))


@quiet
def _is_mcubes(path: Path) -> bool:
    *planes, _ = _mcubes_files(path)
    return path.parent.name in (*_MCUBES, "polL_color") and all(file.is_file() for file in planes)


@quiet
def _is_aolp_dolp(path: Path) -> bool:
    return find_aolp(path) is not None


POLARIZATION_READERS: tuple[Reader, ...] = (
    Reader(
        "mcubes",
        "polarization",
        "MCubeS AoLP / DoLP arrays",
        ("polL_dolp/*.npy",),
        _is_mcubes,
        read_mcubes,
        notes="any file of a sample in polL_dolp, polL_aolp_sin, polL_aolp_cos, polL_color; --crop-left",
        beside=lambda path, options: _mcubes_files(path) if _is_mcubes(path) else (),
        parts=lambda path: _mcubes_files(path) if _is_mcubes(path) else (),
    ),
    Reader(
        "aolp-dolp",
        "polarization",
        "AoLP and DoLP npy",
        ("aolp.npy", "dolp.npy"),
        _is_aolp_dolp,
        read_aolp_dolp,
        notes="folder or one of the files; --aolp-unit rad | deg; S0 from s0.npy",
        beside=lambda path, options: (find_aolp(path) or {}).values(),
        parts=lambda path: (find_aolp(path) or {}).values(),
    ),
    Reader(
        "angles",
        "polarization",
        "one picture per polarizer angle",
        ("*_0.png", "*_45.png", "*_90.png", "*_135.png"),
        _is_set,
        read_angle_set,
        notes="folder or one of the pictures; also folders 0, 45, 90, 135; linear pictures",
        beside=lambda path, options: (find_set(path) or {}).values(),
        parts=lambda path: (find_set(path) or {}).values(),
        folder="NAME_0.png, NAME_45.png, NAME_90.png and NAME_135.png",
    ),
    Reader(
        "stokes",
        "polarization",
        "Stokes npy",
        ("*.npy",),
        _is_stokes,
        read_stokes,
        notes="(H, W, 3 or 4), (H, W, 4, colors) or (H, W, colors, 4)",
    ),
    Reader(
        "dofp",
        "polarization",
        "DoFP mosaic",
        ("*.png", "*.tiff", "*.npy"),
        _is_mosaic,
        read_mosaic,
        notes="--pattern (90,45,135,0 when not given, and said), --bayer for color sensors, --bits, "
        "--demosaic bilinear | half",
    ),
)
