"""Label maps -> colors, overlays and legends.

Shape letters: H rows, W columns, K classes. A palette is (K, 3) uint8 (or nested lists of 0..255).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from armseg_core.errors import FormatError, UsageError
from armseg_core.palette import IGNORE, checked_palette
from armseg_core.visualization.canvas import blank, draw_text, fit_width, paste, shorten, text_size
from armseg_core.visualization.colors import FAINT, INK


def label_to_color(label: np.ndarray, palette: Any) -> np.ndarray:
    """(H, W) class indices -> (H, W, 3) uint8; an index without a color (255, ignored) becomes IGNORE."""
    colors = checked_palette(palette)
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
    colors = checked_palette(palette)
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
    colors = checked_palette(colors) if len(names) else np.zeros((0, 3), np.uint8)
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
    """A picture (enlarged to at least 480 pixels) with the legend to its right, on white.

    `predict` saves its overlay so.
    """
    picture = fit_width(picture, 480, 1600)
    side = legend(names, colors, shares, max_height=max(picture.shape[0] - 20, 60))
    height = max(picture.shape[0], side.shape[0] + 20)
    canvas = blank(height, picture.shape[1] + side.shape[1] + 32)
    paste(canvas, picture, 0, 0)
    paste(canvas, side, picture.shape[1] + 16, 10)
    return canvas
