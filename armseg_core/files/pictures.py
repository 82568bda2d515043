"""The one place that decodes RGB images and label maps. A 16-bit file stays 16-bit; nothing is guessed.

Shape letters: H rows, W columns.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from armseg_core.errors import FormatError, InputError


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """The whole file.

    Raises:
        InputError: it does not exist, is a folder, is empty or may not be read.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise InputError("no such file", where=path) from error
    except IsADirectoryError as error:
        raise InputError("is a folder", where=path, expected="an image file") from error
    except PermissionError as error:
        raise InputError("may not be read (permission denied)", where=path) from error
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", where=path) from error
    if not data:
        raise FormatError("the file is empty", where=path)
    return data


def read_rgb(path: str | os.PathLike[str]) -> np.ndarray:
    """An image file as RGB, (H, W, 3) uint8 or uint16, whichever the file holds.

    The EXIF orientation is applied, gray becomes three equal channels, alpha is dropped, palettes are read.

    Raises:
        InputError: the file is missing or may not be read.
        FormatError: it is not an image, is truncated, or is not 8 or 16 bit.
    """
    data = np.frombuffer(read_bytes(path), np.uint8)
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error:
        image = None
    if image is None:
        raise FormatError(
            "not a readable image (truncated or damaged?)",
            where=path,
            expected="PNG, JPEG, TIFF or another format OpenCV reads",
        )
    if image.dtype not in (np.uint8, np.uint16):
        raise FormatError(f"the image is {image.dtype}", where=path, expected="8 or 16 bits per channel")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def picture_format(path: str | os.PathLike[str]) -> tuple[str, tuple[int, int]] | None:
    """("16 bit, 1 channel", (H, W)) of an image file as it is stored; None when it cannot be read."""
    try:
        image = cv2.imdecode(np.frombuffer(read_bytes(path), np.uint8), cv2.IMREAD_UNCHANGED)
    except (cv2.error, InputError):
        return None
    if image is None:
        return None
    channels = 1 if image.ndim == 2 else image.shape[2]
    text = f"{8 * image.itemsize} bit, {channels} channel{'s' * (channels > 1)}"
    return text, (image.shape[0], image.shape[1])


def to_unit(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 or uint16 -> float32 (3, H, W) in [0, 1]; the full range of the dtype maps to 1."""
    scaled = image.astype(np.float32) / np.float32(np.iinfo(image.dtype).max)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))


def read_label(path: str | os.PathLike[str], red: bool = False) -> np.ndarray:
    """A label map, (H, W) uint8 or uint16 class indices as stored: indexed PNG, gray PNG/TIFF or .npy.

    Args:
        red: the class is the red channel of a color image (CARLA's coding).

    Raises:
        InputError: the file is missing or may not be read.
        FormatError: it is truncated, or holds colors instead of indices (colors are never guessed: name
            `encoding = "color"` in dataset.toml, which uses `read_color_label`).
    """
    if Path(path).suffix.lower() == ".npy":
        return _npy_label(path)
    image, data = _open(path)
    if image.mode == "P":
        return np.asarray(image)
    if image.mode == "1":
        return np.asarray(image).astype(np.uint8)
    if image.mode == "L":
        return np.asarray(image) // _gray_step(data)
    if image.mode in ("I;16", "I;16B", "I"):
        values = np.asarray(image)
        if values.size and (values.min() < 0 or values.max() > 65535):
            raise FormatError(f"label values reach {values.max()}", where=path, expected="0 to 65535")
        return values.astype(np.uint16)
    if red and image.mode in ("RGB", "RGBA"):
        return np.asarray(image)[..., 0]
    raise FormatError(
        f"a label of mode {image.mode} holds colors, not class indices",
        where=path,
        expected="an indexed (palette) PNG or an 8- or 16-bit gray PNG whose values are class indices",
        hint='encoding = "color" under [label] in dataset.toml, if the colors are those of the classes',
    )


def read_color_label(path: str | os.PathLike[str], palette: np.ndarray, unknown: int) -> np.ndarray:
    """A label map painted in class colors, (H, W) int64.

    Args:
        palette: (K, 3) uint8, the exact color of each class.
        unknown: value for pixels whose color is no class's.

    Raises:
        InputError, FormatError: as `read_label`.
    """
    image, _ = _open(path)
    pixels = np.asarray(image.convert("RGB")).astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    label = np.full(pixels.shape, unknown, np.int64)
    for index, code in enumerate(palette.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])):
        label[pixels == code] = index
    return label


def _open(path: str | os.PathLike[str]) -> tuple[Image.Image, bytes]:
    data = read_bytes(path)
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise FormatError(
            "not a readable label image (truncated or damaged?)",
            where=path,
            expected="an indexed or gray PNG",
        ) from error
    return image, data


def _gray_step(data: bytes) -> int:
    """Pillow stretches 1-, 2- and 4-bit gray PNG to 0..255: the factor to undo (1 for everything else)."""
    if data[:8] == b"\x89PNG\r\n\x1a\n" and data[12:16] == b"IHDR" and data[24] < 8:
        return 255 // ((1 << data[24]) - 1)
    return 1


def _npy_label(path: str | os.PathLike[str]) -> np.ndarray:
    try:
        label = np.load(io.BytesIO(read_bytes(path)), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise FormatError(
            "not a readable .npy label", where=path, expected="an integer array (H, W)"
        ) from error
    if label.ndim != 2 or label.dtype.kind not in "iu":
        raise FormatError(
            f"the label is {label.dtype} {label.shape}", where=path, expected="an integer array (H, W)"
        )
    return label
