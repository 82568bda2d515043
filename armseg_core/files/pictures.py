"""The one decoder of pictures: PNG, TIFF, JPEG, PFM, PGM and what else OpenCV reads; labels by their indices.

Samples stay as the file holds them (8, 16 bit or float); an EXIF orientation is applied to all of them alike,
so that a photo and a sensor picture of one device lie on each other.

Shape letters: H rows, W columns, K classes.
"""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from armseg_core.errors import ArmsegError, ArmsegWarning, FormatError, InputError
from armseg_core.files.atomic import atomic_path
from armseg_core.files.facts import refuse_special, special_kind
from armseg_core.files.image_headers import PNG_MAGIC, refuse_oversized
from armseg_core.files.libraries import caught_stderr
from armseg_core.files.npy import read_npy
from armseg_core.files.ownership import sealed_png
from armseg_core.files.tiff import read_bands
from armseg_core.palette import IGNORE, checked_palette

if TYPE_CHECKING:
    from PIL import Image

_ORIENTATION = 0x0112  # tag of EXIF
_MOST_PIXELS = 1 << 30  # OpenCV's limit; Pillow's own, a twelfth of it, warns of good labels in two lines
# what libpng, libjpeg, libtiff and OpenCV print of damage -> what it means; the first that fits counts
_DAMAGE = (
    ("CRC error", "a checksum in the PNG is wrong, bytes of it were changed"),
    ("incorrect data check", "a checksum in the PNG is wrong, bytes of it were changed"),
    ("input buffer is incomplete", "the PNG ends too early"),
    ("premature end", "the JPEG data end too early"),
    ("bad Huffman code", "the JPEG data are damaged"),
    ("TIFFFetchDirectory", "the TIFF ends before its directory"),
    ("TIFFFillStrip", "the TIFF ends before its samples"),
    ("TIFF_Error", "the TIFF data are damaged"),
    ("can't read data", "the file ends before its samples"),
)
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm")  # of photos and labels
_BITS_12 = 4095  # the greatest value of the usual cameras whose 12 bits are stored in 16
# what to do with pictures that are no measurement
AS_COLORS = 'kind = "image" for it in dataset.toml, which takes its colors and is no measurement'
AS_VALUES = 'kind = "image" for it in dataset.toml, which takes any band as it is'
# in a label: a pixel whose color is no class's; no file holds such a number
UNKNOWN_COLOR = int(np.iinfo(np.int64).min)


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """The whole file.

    Raises:
        InputError: it does not exist, is a folder or may not be read. FormatError: it is empty.
    """
    refuse_special(path)
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


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """A picture as stored, upright: (H, W) or (H, W, C) in RGB(A) order, uint8, uint16 or float.

    Palettes become colors; gray with alpha becomes four channels. A TIFF may have any number of bands, and
    signed or 32-bit integers.

    Raises:
        InputError: missing or unreadable. FormatError: damaged or not a picture.
    """
    data = read_bytes(path)
    refuse_oversized(Path(path))
    try:
        bands = read_bands(data, lambda part: _decoded(part, path))
    except ValueError as error:
        what = f"the TIFF of several bands is damaged ({error})"
        raise FormatError(what, where=path, hint="copy or export the file again") from error
    if bands is not None:
        return bands
    image = _decoded(data, path)
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[..., 0]
    if image.ndim == 3 and image.shape[2] in (3, 4):  # OpenCV gives BGR(A)
        image = image[..., [2, 1, 0, 3][: image.shape[2]]]
    return np.ascontiguousarray(_upright(image, _exif_orientation(data)))


def _decoded(data: bytes, path: str | os.PathLike[str]) -> np.ndarray:
    """The samples as OpenCV gives them; what its libraries print about damage decides or becomes a note."""
    import cv2

    image: np.ndarray | None = None
    with caught_stderr() as said, contextlib.suppress(cv2.error):
        # UNCHANGED leaves the EXIF orientation to us; the one of a TIFF it applies
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    text = " ".join(said)
    damage = next((words for mark, words in _DAMAGE if mark in text), "")
    if image is None or "JPEG" in damage:  # libjpeg goes on after damage, with gray or with noise
        raise FormatError(
            f"not a readable image: {damage or 'its data are truncated or damaged'}",
            where=path,
            expected="a whole PNG, JPEG, TIFF, PFM or PGM file, or another that OpenCV reads",
        )
    if "Corrupt JPEG data" in text:  # bytes between two parts: some cameras leave them, and so does damage
        what = "the JPEG data hold bytes that do not belong there: parts of the picture may be wrong"
        warnings.warn(ArmsegWarning(f"{path}: {what}"), stacklevel=4)
    elif damage:
        warnings.warn(ArmsegWarning(f"{path}: its decoder found damage: {damage}"), stacklevel=4)
    return image


def _exif_orientation(data: bytes) -> int:
    """The EXIF orientation (1 to 8) of a PNG, JPEG or WebP; 1, as it is, of anything else."""
    if not any(mark in data for mark in (b"Exif", b"eXIf", b"EXIF")) or data[:2] in (b"II", b"MM"):
        return 1
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged metadata: Pillow raises what it likes, and the samples were decoded
        return 1


def _upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """The stored rows and columns as they are to be seen (CIPA DC-008, Exif 2.3, Orientation)."""
    if orientation in (5, 6, 7, 8):  # rows are stored as columns
        image = image.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return image


def read_rgb(path: str | os.PathLike[str]) -> np.ndarray:
    """A picture as RGB, (H, W, 3) uint8 or uint16, whichever the file holds.

    Gray becomes three equal channels, alpha is dropped, palettes are read. Where 16 bits hold no value above
    12 bits (or 8), they are stretched to the whole range, and that is said: it would be nearly black.

    Raises:
        InputError: the file is missing or may not be read.
        FormatError: it is not an image, is truncated, or is not 8 or 16 bit.
    """
    image = read_image(path)
    if image.dtype not in (np.uint8, np.uint16):
        raise FormatError(f"the image is {image.dtype}", where=path, expected="8 or 16 bits per channel")
    if image.ndim == 3 and image.shape[2] > 4:
        raise FormatError(
            f"the picture has {image.shape[2]} bands", where=path, expected="red, green and blue"
        )
    if image.ndim == 2 or image.shape[2] == 2:
        image = np.repeat((image if image.ndim == 2 else image[..., 0])[..., None], 3, axis=2)
    return np.ascontiguousarray(_whole_range(image[..., :3], path))


def _whole_range(image: np.ndarray, path: str | os.PathLike[str]) -> np.ndarray:
    """16-bit samples that use 8 or 12 bits only, brought to 16; others as they are."""
    greatest = int(image.max(initial=0))
    if image.dtype != np.uint16 or not 0 < greatest <= _BITS_12:
        return image
    bits = 8 if greatest <= 255 else 12
    text = f"{path}: {bits} bits in 16 (no value above {greatest}): brought to the whole range"
    warnings.warn(ArmsegWarning(text), stacklevel=4)
    whole: np.ndarray = np.rint(image * (65535 / (2**bits - 1))).astype(np.uint16)
    return whole


def picture_format(path: str | os.PathLike[str]) -> tuple[str, tuple[int, int]] | None:
    """("16 bit, 1 channel", (H, W)) of a picture; None when it cannot be read."""
    try:
        image = read_image(path)
    except ArmsegError:
        return None
    channels = 1 if image.ndim == 2 else image.shape[2]
    text = f"{8 * image.itemsize} bit, {channels} channel{'s' * (channels > 1)}"
    return text, (image.shape[0], image.shape[1])


def to_unit(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 or uint16 -> float32 (3, H, W) in [0, 1]; the full range of the dtype maps to 1."""
    scaled = image.astype(np.float32) / np.float32(np.iinfo(image.dtype).max)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))


def decode_plane(data: bytes, path: Path) -> np.ndarray:
    """A picture inside a file, (H, W) or (H, W, C) as stored; its size should have been checked before.

    Raises:
        FormatError: damaged.
    """
    return _decoded(data, path)


def single_channel(image: np.ndarray, path: Path, tolerance: int = 0) -> np.ndarray:
    """(H, W) of a gray picture saved with 1, 2 (alpha), 3 or 4 channels.

    Raises:
        FormatError: the color channels differ by more than `tolerance`: a color-mapped picture.
    """
    if image.ndim == 2:
        return image
    color = image[..., : 1 if image.shape[2] == 2 else 3]
    spread = (color.max(axis=2).astype(np.float64) - color.min(axis=2))[np.isfinite(color).all(axis=2)]
    if spread.max(initial=0) > tolerance:
        raise FormatError(
            "the picture is in color: a color-mapped rendering does not hold the measured values",
            where=path,
            expected="one channel, or equal channels",
            hint=AS_COLORS,
        )
    return np.ascontiguousarray(color[..., 0])


def read_label(path: str | os.PathLike[str], red: bool = False) -> np.ndarray:
    """A label map, (H, W) uint8 or uint16 class indices as stored: indexed PNG, gray PNG/TIFF or .npy.

    A picture with three equal channels is a gray one.

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
    if image.mode in ("RGB", "RGBA", "LA"):
        # Pillow cuts colors of 16 bits down to 8
        wide = data.startswith(PNG_MAGIC) and data[24] == 16
        values = read_image(path) if wide else np.asarray(image)
        if red or image.mode == "LA" or (values[..., :1] == values[..., :3]).all():
            return np.ascontiguousarray(values[..., 0])
    raise FormatError(
        f"a label of mode {image.mode} holds colors, not class indices",
        where=path,
        expected="an indexed (palette) PNG or an 8- or 16-bit gray PNG whose values are class indices",
        hint='encoding = "color" under [label] in dataset.toml, if the colors are those of the classes',
    )


def _npy_label(path: str | os.PathLike[str]) -> np.ndarray:
    try:
        label = read_npy(Path(path))
    except FormatError as error:
        raise FormatError(
            "not a readable .npy label", where=path, expected="an integer array (H, W)"
        ) from error
    if label.ndim != 2 or label.dtype.kind not in "iu":
        raise FormatError(
            f"the label is {label.dtype} {label.shape}", where=path, expected="an integer array (H, W)"
        )
    return label


def read_color_label(
    path: str | os.PathLike[str], palette: np.ndarray, unknown: int = UNKNOWN_COLOR
) -> np.ndarray:
    """A label map painted in class colors, (H, W) int64.

    Args:
        palette: (K, 3) uint8, the exact color of each class.
        unknown: value for pixels whose color is no class's.

    Raises:
        InputError, FormatError: as `read_label`.
    """
    pixels = _color_codes(path)
    label = np.full(pixels.shape, unknown, np.int64)
    for index, code in enumerate(palette.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])):
        label[pixels == code] = index
    return label


def label_colors(path: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray]:
    """The colors (N, 3) uint8 of a painted label, and how many pixels (N,) have each.

    Raises:
        InputError, FormatError: as `read_label`.
    """
    codes, counts = np.unique(_color_codes(path), return_counts=True)
    return np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=1).astype(np.uint8), counts


def _color_codes(path: str | os.PathLike[str]) -> np.ndarray:
    """(H, W) int64: red, green and blue of each pixel in one number."""
    image, _ = _open(path)
    codes: np.ndarray = np.asarray(image.convert("RGB")).astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    return codes


def picture_name(path: str | os.PathLike[str]) -> str:
    """The format of a picture by its content, such as "PNG" or "JPEG"; "" when it is no picture."""
    from PIL import Image, UnidentifiedImageError

    if special_kind(path):
        return ""
    try:
        with Image.open(path) as image:
            return image.format or ""
    except (UnidentifiedImageError, OSError, ValueError):
        return ""


def _open(path: str | os.PathLike[str]) -> tuple[Image.Image, bytes]:
    """A label picture, upright, by Pillow (OpenCV gives the colors of a palette, not its indices)."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    Image.MAX_IMAGE_PIXELS = _MOST_PIXELS
    data = read_bytes(path)
    refuse_oversized(Path(path))
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
        return ImageOps.exif_transpose(image), data
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise FormatError(
            "not a readable label image (truncated or damaged?)",
            where=path,
            expected="an indexed or gray PNG",
        ) from error


def _gray_step(data: bytes) -> int:
    """Pillow stretches 1-, 2- and 4-bit gray PNG to 0..255: the factor to undo (1 for everything else)."""
    if data.startswith(PNG_MAGIC) and data[12:16] == b"IHDR" and data[24] < 8:
        return 255 // ((1 << data[24]) - 1)
    return 1


def coding_of(path: str | os.PathLike[str]) -> tuple[str, np.ndarray | None]:
    """How a picture codes its pixels, from its header.

    Returns:
        Pillow's mode ("P", "L", "RGB", "I;16", ...; "" when it is no picture), and the (K, 3) uint8 colors of
        a palette or None.
    """
    from PIL import Image, UnidentifiedImageError

    if special_kind(path):
        return "", None
    try:
        with Image.open(path) as image:
            stored = image.getpalette() if image.mode == "P" else None
            mode = image.mode
    except (UnidentifiedImageError, OSError, ValueError):
        return "", None
    return mode, None if stored is None else np.asarray(stored, np.uint8).reshape(-1, 3)


def save_png(path: str | os.PathLike[str], picture: np.ndarray, note: str = "") -> None:
    """Write an RGB picture (H, W, 3) uint8 as PNG with a seal; the file appears when it is whole.

    Args:
        note: kept in the file, see `ownership.note_of`.

    Raises:
        OutputError: it cannot be written there.
    """
    from PIL import Image

    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise FormatError(f"the picture is {picture.dtype} {picture.shape}", expected="uint8 (H, W, 3)")
    _save_sealed(path, Image.fromarray(np.ascontiguousarray(picture)), note)


def save_indexed_png(path: str | os.PathLike[str], label: np.ndarray, palette: Any, note: str = "") -> None:
    """Write a label map as a palette PNG: pixel values are class indices, viewers show the class colors.

    The file carries a seal and appears when it is whole.

    Args:
        label: (H, W) uint8 class indices; 255 = no label.
        palette: (K, 3); indices from K to 254 are black, 255 is IGNORE when K < 256.
        note: kept in the file, see `ownership.note_of`.

    Raises:
        FormatError: the label map is not uint8 (a palette PNG holds 256 indices).
        OutputError: it cannot be written there.
    """
    from PIL import Image

    if label.dtype != np.uint8 or label.ndim != 2:
        raise FormatError(
            f"the label map is {label.dtype} {label.shape}",
            expected="uint8 (H, W): a palette PNG holds class indices up to 255",
        )
    colors = checked_palette(palette)
    table = np.zeros((256, 3), np.uint8)
    table[255] = IGNORE
    table[: len(colors)] = colors
    image = Image.fromarray(np.ascontiguousarray(label))
    image.putpalette(table.reshape(-1).tolist())
    _save_sealed(path, image, note)


def _save_sealed(path: str | os.PathLike[str], image: Image.Image, note: str) -> None:
    encoded = io.BytesIO()
    image.save(encoded, format="PNG")
    with atomic_path(path) as temporary:
        temporary.write_bytes(sealed_png(encoded.getvalue(), note))


def write_png(path: Path, image: np.ndarray) -> None:
    """Write samples as PNG, in the way that is fastest for noisy ones and within a percent of the smallest.

    Args:
        image: uint8 or uint16 (H, W), or uint8 RGB (H, W, 3).
    """
    import cv2

    how = [
        cv2.IMWRITE_PNG_STRATEGY,
        cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY,
        cv2.IMWRITE_PNG_FILTER,
        cv2.IMWRITE_PNG_FILTER_PAETH,
    ]
    _write_encoded(path, ".png", image[..., ::-1] if image.ndim == 3 else image, how)


def write_tiff(path: Path, image: np.ndarray) -> None:
    """Write uint16 samples (H, W) as TIFF, LZW."""
    _write_encoded(path, ".tiff", image, [])


def _write_encoded(path: Path, suffix: str, image: np.ndarray, how: list[int]) -> None:
    import cv2

    whole, data = cv2.imencode(suffix, np.ascontiguousarray(image), how)
    assert whole, "OpenCV has no encoder for it"
    path.write_bytes(data.tobytes())
