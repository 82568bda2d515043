"""Label maps -> colors, overlays, legends and PNG files.

Shape letters: H rows, W columns, K classes. A palette is (K, 3) uint8 (or nested lists of 0..255).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from armseg_core.errors import FormatError, UsageError
from armseg_core.files.tensor_file import atomic_path
from armseg_core.visualization.canvas import blank, draw_text, fit_width, paste, shorten, text_size
from armseg_core.visualization.colors import FAINT, IGNORE, INK


def _palette(palette: Any) -> np.ndarray:
    colors = np.asarray(palette)
    if colors.ndim != 2 or colors.shape[1] != 3 or not 1 <= len(colors) <= 256:
        raise UsageError(f"the palette has shape {colors.shape}", expected="(K, 3) with K from 1 to 256")
    if colors.dtype.kind not in "iu" or colors.min() < 0 or colors.max() > 255:
        raise UsageError(
            "the palette holds values that are not colors", expected="whole numbers from 0 to 255"
        )
    return colors.astype(np.uint8)


def label_to_color(label: np.ndarray, palette: Any) -> np.ndarray:
    """(H, W) class indices -> (H, W, 3) uint8; an index without a color (255, ignored) becomes IGNORE."""
    colors = _palette(palette)
    table = np.concatenate([colors, np.asarray([IGNORE], np.uint8)])
    label = np.asarray(label)
    return table[np.where((label >= 0) & (label < len(colors)), label, len(colors))]


def overlay(rgb: np.ndarray, label: np.ndarray, palette: Any, alpha: float = 0.5) -> np.ndarray:
    """Class colors over a photo.

    Args:
        rgb: (H, W, 3) uint8. label: (H, W) class indices; pixels whose index has no color keep the photo.
        alpha: opacity of the colors, 0 (photo only) to 1 (colors only).

    Returns:
        (H, W, 3) uint8; the inputs stay as they are.
    """
    if not 0 <= alpha <= 1:
        raise UsageError(f"alpha is {alpha}", expected="a number from 0 to 1")
    if rgb.shape != (*label.shape, 3) or rgb.dtype != np.uint8:
        raise FormatError(f"the photo is {rgb.dtype} {rgb.shape}", expected=f"uint8 {(*label.shape, 3)}")
    colors = _palette(palette)
    label = np.asarray(label)
    mixed = rgb * (1 - alpha) + label_to_color(label, colors).astype(np.float32) * alpha
    known = (label >= 0) & (label < len(colors))
    return np.where(known[..., None], np.rint(mixed).astype(np.uint8), rgb)


def legend(
    names: Sequence[str],
    colors: Any,
    shares: Sequence[float] | None = None,
    *,
    size: int = 14,
    max_height: int | None = None,
) -> np.ndarray:
    """A list of classes: swatch, name and, when given, its share of the pixels.

    Args:
        names: K names. colors: (K, 3). shares: K numbers in [0, 1], or None.
        size: text height in pixels. max_height: start a new column when the list gets taller than this.

    Returns:
        (h, w, 3) uint8 on white.
    """
    colors = _palette(colors) if len(names) else np.zeros((0, 3), np.uint8)
    if len(names) != len(colors) or (shares is not None and len(shares) != len(names)):
        shared = f", {len(shares)} shares" if shares is not None else ""
        raise UsageError(f"{len(names)} names, {len(colors)} colors{shared}", expected="as many of each")
    line, swatch = round(size * 1.6), size
    texts = [shorten(name, size, 220) for name in names]
    numbers = ["" if shares is None else f"{100 * share:.1f}%" for share in (shares or [0.0] * len(names))]
    name_width = max([text_size(t, size)[0] for t in texts], default=0)
    number_width = max([text_size(t, size)[0] for t in numbers], default=0) if shares is not None else 0
    column = swatch + 8 + name_width + (10 + number_width if number_width else 0)
    per_column = len(names) if max_height is None else max(1, (max_height - 2) // line)
    columns = max(1, -(-len(names) // max(per_column, 1)))
    canvas = blank(max(1, min(len(names), per_column)) * line + 2, columns * column + (columns - 1) * 18 + 2)
    for i, (text, number, color) in enumerate(zip(texts, numbers, colors, strict=True)):
        x, y = i // per_column * (column + 18), i % per_column * line
        canvas[y + 2 : y + 2 + swatch, x : x + swatch] = FAINT
        canvas[y + 3 : y + 1 + swatch, x + 1 : x - 1 + swatch] = color
        draw_text(canvas, x + swatch + 8, y + 2 + swatch / 2, text, size, INK, "lm")
        draw_text(canvas, x + column, y + 2 + swatch / 2, number, size, FAINT, "rm")
    return canvas


def with_legend(
    picture: np.ndarray, names: Sequence[str], colors: Any, shares: Sequence[float] | None = None
) -> np.ndarray:
    """A picture (enlarged to at least 480 pixels) with the legend to its right, on white. `predict` saves its
    overlay so."""
    picture = fit_width(picture, 480, 1600)
    side = legend(names, colors, shares, max_height=max(picture.shape[0] - 20, 60))
    height = max(picture.shape[0], side.shape[0] + 20)
    canvas = blank(height, picture.shape[1] + side.shape[1] + 32)
    paste(canvas, picture, 0, 0)
    paste(canvas, side, picture.shape[1] + 16, 10)
    return canvas


def save_png(path: str | os.PathLike[str], picture: np.ndarray) -> None:
    """Write an RGB picture (H, W, 3) uint8 as PNG; the file appears when it is whole.

    Raises:
        OutputError: it cannot be written there.
    """
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise FormatError(f"the picture is {picture.dtype} {picture.shape}", expected="uint8 (H, W, 3)")
    with atomic_path(path) as temporary:
        Image.fromarray(np.ascontiguousarray(picture)).save(temporary, format="PNG")


def save_indexed_png(path: str | os.PathLike[str], label: np.ndarray, palette: Any) -> None:
    """Write a label map as a palette PNG: pixel values are class indices, viewers show the class colors.

    Args:
        label: (H, W) uint8 class indices; 255 = no label.
        palette: (K, 3); indices from K to 254 are black, 255 is IGNORE when K < 256.

    Raises:
        FormatError: the label map is not uint8 (a palette PNG holds 256 indices).
        OutputError: it cannot be written there.
    """
    if label.dtype != np.uint8 or label.ndim != 2:
        raise FormatError(
            f"the label map is {label.dtype} {label.shape}",
            expected="uint8 (H, W): a palette PNG holds class indices up to 255",
        )
    colors = _palette(palette)
    table = np.zeros((256, 3), np.uint8)
    table[255] = IGNORE
    table[: len(colors)] = colors
    image = Image.fromarray(np.ascontiguousarray(label))
    image.putpalette(table.reshape(-1).tolist())
    with atomic_path(path) as temporary:
        image.save(temporary, format="PNG")
