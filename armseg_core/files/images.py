"""What the image readers share: pictures and npy arrays read whole, and headers read cheaply.

Pictures come back as the file holds them (8, 16 bit or float, 1 to 4 channels in RGB order), never converted.
"""

from __future__ import annotations

import functools
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from armseg_core.errors import FormatError, InputError

_HEAD = 65536  # bytes read by a header test: enough for every IHDR / IFD / EXIF block armseg looks at


@dataclass(frozen=True)
class ImageHeader:
    """kind: 'png' | 'indexed' (a palette PNG: labels, never a measurement) | 'tiff' | 'jpeg'.

    size: (H, W). bits: per channel. floating: float samples.
    """

    kind: str
    size: tuple[int, int]
    channels: int
    bits: int
    floating: bool = False


def quiet(test: Callable[[Path], bool]) -> Callable[[Path], bool]:
    """Make a content test that never raises: whatever goes wrong inside means 'not this format'."""

    @functools.wraps(test)
    def wrapped(path: Path) -> bool:
        try:
            return bool(test(Path(path)))
        except Exception:  # the contract of Reader.matches: any damage is a plain no
            return False

    return wrapped


def head_of(path: Path, count: int = _HEAD) -> bytes:
    """The first bytes of a file, b"" when it is a folder."""
    if path.is_dir():
        return b""
    with path.open("rb") as file:
        return file.read(count)


def image_header(path: Path) -> ImageHeader | None:
    """Kind, size and sample format of a PNG, TIFF or JPEG from its header; None for anything else."""
    head = head_of(path)
    try:
        if head.startswith(b"\x89PNG\r\n\x1a\n") and head[12:16] == b"IHDR":
            width, height, bits, color = struct.unpack(">IIBB", head[16:26])
            if color == 3:
                return ImageHeader("indexed", (height, width), 3, 8)
            channels = {0: 1, 2: 3, 4: 2, 6: 4}[color]
            return ImageHeader("png", (height, width), channels, max(bits, 8))
        if head[:4] in (b"II*\0", b"MM\0*"):
            return _tiff_header(path, "<" if head[:1] == b"I" else ">")
        if head.startswith(b"\xff\xd8\xff"):
            return _jpeg_header(head)
    except (struct.error, KeyError, IndexError):
        pass
    return None


def _tiff_header(path: Path, order: str) -> ImageHeader:
    """The first image directory of a classic TIFF (TIFF 6.0, section 2)."""
    with path.open("rb") as file:
        file.seek(4)
        file.seek(struct.unpack(order + "I", file.read(4))[0])
        count = struct.unpack(order + "H", file.read(2))[0]
        table = file.read(12 * count)
        tags: dict[int, int] = {}
        for i in range(count):
            tag, kind, n = struct.unpack_from(order + "HHI", table, 12 * i)
            code = {1: "B", 3: "H", 4: "I"}.get(kind)
            if code is None:
                continue
            if n * struct.calcsize(code) <= 4:
                tags[tag] = struct.unpack_from(order + code, table, 12 * i + 8)[0]
            else:  # an array: its first element tells enough (BitsPerSample 8, 8, 8)
                file.seek(struct.unpack_from(order + "I", table, 12 * i + 8)[0])
                tags[tag] = struct.unpack(order + code, file.read(struct.calcsize(code)))[0]
    return ImageHeader(
        "tiff", (tags[257], tags[256]), tags.get(277, 1), tags.get(258, 1), tags.get(339, 1) == 3
    )


def _jpeg_header(head: bytes) -> ImageHeader:
    at = 2
    while at + 9 < len(head) and head[at] == 0xFF:
        marker, length = head[at + 1], struct.unpack_from(">H", head, at + 2)[0]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # start of frame
            bits, height, width, channels = struct.unpack_from(">BHHB", head, at + 4)
            return ImageHeader("jpeg", (height, width), channels, bits)
        at += 2 + length
    return ImageHeader("jpeg", (0, 0), 3, 8)  # the frame header is behind large metadata blocks


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise InputError("no such file", where=path) from error
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", where=path) from error


def read_image(path: Path) -> np.ndarray:
    """A PNG, TIFF, JPEG, PFM or PGM picture: (H, W) or (H, W, C) in RGB(A) order, samples as stored.

    Raises:
        InputError: missing or unreadable. FormatError: damaged or not a picture.
    """
    import cv2

    data = _read_bytes(path)
    if not data:
        raise FormatError("the file is empty", where=path)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    if image is None:
        raise FormatError(
            "the picture cannot be decoded: damaged, truncated or not a picture",
            where=path,
            expected="a whole PNG, TIFF, JPEG, PFM or PGM file",
        )
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[..., 0]
    if image.ndim == 3 and image.shape[2] in (3, 4):  # OpenCV gives BGR(A)
        image = image[..., [2, 1, 0, 3][: image.shape[2]]]
    return np.ascontiguousarray(image)


def read_npy(path: Path) -> np.ndarray:
    """An array of a .npy file, or the only (or the best known) array of a .npz file; pickles are refused.

    Raises:
        InputError: missing. FormatError: damaged, pickled, or several arrays and none with a usual name.
    """
    if not path.is_file():
        raise InputError("no such file", where=path)
    try:
        with path.open("rb") as file:  # np.load leaves a file it opened itself open when it is damaged
            loaded = np.load(file, allow_pickle=False)
            return loaded if isinstance(loaded, np.ndarray) else _only_array(loaded, path)
    except FormatError:
        raise
    except ValueError as error:
        what = (
            "the array is pickled, which can run code"
            if "pickle" in str(error)
            else "not a whole npy/npz file"
        )
        raise FormatError(
            what, where=path, hint="np.save(path, np.asarray(data)) of a plain numeric array"
        ) from error
    except Exception as error:  # zipfile.BadZipFile, EOFError, zlib.error, OSError of damaged files
        raise FormatError(f"not a whole npy/npz file ({type(error).__name__})", where=path) from error


def _only_array(archive: np.lib.npyio.NpzFile, path: Path) -> np.ndarray:
    names = archive.files
    if not names:
        raise FormatError("the archive holds no array", where=path)
    known = [name for name in names if name.lower() in _KNOWN_NAMES]
    if len(names) > 1 and len(known) != 1:
        raise FormatError(
            f"the archive holds {len(names)} arrays ({', '.join(names[:6])})",
            where=path,
            expected="one array, or one named " + " / ".join(_KNOWN_NAMES),
        )
    return archive[known[0] if known else names[0]]


_KNOWN_NAMES = ("depth", "thermal", "temperature", "lf", "light_field", "views", "stokes", "arr_0", "data")


def npz_names(path: Path) -> tuple[str, ...]:
    """Names of the arrays in a .npz file, in lower case; () for anything else."""
    if path.is_dir() or not zipfile.is_zipfile(path):
        return ()
    with zipfile.ZipFile(path) as archive:
        return tuple(name.removesuffix(".npy").lower() for name in archive.namelist())


def npy_header(path: Path) -> tuple[tuple[int, ...], np.dtype] | None:
    """(shape, dtype) of a .npy file without reading its data; None for anything else or object arrays."""
    if path.is_dir():
        return None
    with path.open("rb") as file:
        if file.read(6) != b"\x93NUMPY":
            return None
        file.seek(0)
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read(file)
    return None if dtype.hasobject else (shape, dtype)


def is_plane(shape: tuple[int, ...], dtype: np.dtype) -> bool:
    """Whether an array can be one picture of one channel: (H, W), (H, W, 1) or (1, H, W) numbers, W above 8
    (below, it is rather a table of points)."""
    flat = len(shape) == 2 or (len(shape) == 3 and 1 in (shape[0], shape[2]))
    return flat and dtype.kind in "uif" and min(shape[-2:]) > 0 and shape[1] > 8


def hdf5_keys(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the data sets at the top of an HDF5 or MATLAB v7.3 file; {} when it is neither.

    Raises:
        FormatError: damaged.
    """
    import h5py

    if not path.is_file() or not h5py.is_hdf5(path):
        return {}
    try:
        with h5py.File(path, "r") as file:
            return {name: item.shape for name, item in file.items() if isinstance(item, h5py.Dataset)}
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:  # what h5py makes of damage
        raise FormatError(f"the HDF5 file is damaged ({error})", where=path) from error


def read_hdf5(path: Path, key: str, index: tuple | slice = slice(None)) -> np.ndarray:
    """One data set (or a part) of an HDF5 or MATLAB v7.3 file.

    Raises:
        FormatError: damaged, or the data set is absent or not numeric.
    """
    import h5py
    import hdf5plugin  # noqa: F401  registers the blosc / zstd filters

    try:
        with h5py.File(path, "r") as file:
            array = np.asarray(file[key][index])
    except (OSError, KeyError, ValueError, TypeError, IndexError, RuntimeError, AttributeError) as error:
        raise FormatError(
            f"the data set '{key}' cannot be read ({error})",
            where=path,
            expected="a whole HDF5 or MATLAB v7.3 file",
        ) from error
    if array.dtype.kind not in "uif":
        raise FormatError(f"the data set '{key}' holds {array.dtype}", where=path, expected="numbers")
    return array


def single_channel(image: np.ndarray, path: Path, tolerance: int = 0) -> np.ndarray:
    """(H, W) of a gray picture saved with 1, 2 (alpha), 3 or 4 channels.

    Raises:
        FormatError: the color channels differ by more than `tolerance`: a color-mapped picture.
    """
    if image.ndim == 2:
        return image
    color = image[..., : 1 if image.shape[2] == 2 else 3]
    spread = color.max(axis=2).astype(np.int64) - color.min(axis=2)
    if color.dtype.kind != "f" and spread.max(initial=0) > tolerance:
        raise FormatError(
            "the picture is in color: a color-mapped rendering does not hold the measured values",
            where=path,
            expected="one channel, or equal channels",
        )
    return np.ascontiguousarray(color[..., 0])


def full_scale(dtype: np.dtype) -> float:
    """Largest value of an integer sample type; 1.0 for float."""
    return float(np.iinfo(dtype).max) if dtype.kind in "ui" else 1.0


def finite_or_zero(values: np.ndarray) -> np.ndarray:
    """float32 copy with NaN and infinities as 0."""
    out = values.astype(np.float32)
    out[~np.isfinite(out)] = 0.0
    return out
