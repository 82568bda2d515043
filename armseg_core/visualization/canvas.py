"""Text, color bars and the page on which panels stand. Everything is (H, W, 3) uint8 RGB.

The only functions that write into an array they were given are those named `draw_...` and `paste`: they draw
on a canvas that this package has made itself.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from armseg_core.resizing import resize_picture
from armseg_core.visualization.colors import FAINT, FRAME, INK, PAPER, color_table

Color = tuple[int, int, int]
# Sizes of text and gaps, here and in the other drawings, are pixels and free choices, made by eye.
MARGIN = 16
# characters that the font lacks -> what is written instead
_MISSING_GLYPHS = str.maketrans("µμ×–—−²→", "uux---2>")


def blank(height: int, width: int, color: Color = PAPER) -> np.ndarray:
    """A new canvas (height, width, 3)."""
    return np.full((height, width, 3), color, np.uint8)


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)  # Aileron, part of Pillow: no font file to find


@functools.lru_cache(512)
def _text_mask(text: str, size: int) -> np.ndarray:
    """(h, w) float32 coverage in [0, 1] of one line of text; h depends on the size only."""
    font, text = _font(size), text.translate(_MISSING_GLYPHS)
    left, _, right, _ = font.getbbox(text)
    height = math.ceil(size * 1.3)  # room for descenders and accents
    image = Image.new("L", (max(1, math.ceil(max(right, font.getlength(text)) - min(0, left)) + 1), height))
    ImageDraw.Draw(image).text((-min(0, left), 0), text, fill=255, font=font)
    return np.asarray(image, np.float32) / 255


def text_size(text: str, size: int = 14) -> tuple[int, int]:
    """(width, height) in pixels of one line of text."""
    height, width = _text_mask(text, size).shape
    return width, height


def shorten(text: str, size: int, width: int) -> str:
    """The text, cut with '...' so that it fits into `width` pixels."""
    if text_size(text, size)[0] <= width:
        return text
    while text and text_size(text + "...", size)[0] > width:
        text = text[:-1]
    return text.rstrip() + "..."


def draw_text(
    canvas: np.ndarray,
    x: float,
    y: float,
    text: str,
    size: int = 14,
    color: Color = INK,
    anchor: str = "lt",
    upright: bool = False,
) -> None:
    """Write one line on the canvas; what falls outside is cut off.

    anchor: horizontal l|m|r and vertical t|m|b place of (x, y) in the text's box. upright: turned 90 degrees,
    read from bottom to top.
    """
    if not text:
        return
    mask = _text_mask(text, size)
    if upright:
        mask = np.rot90(mask)
    h, w = mask.shape
    left = round(x - {"l": 0, "m": w / 2, "r": w}[anchor[0]])
    top = round(y - {"t": 0, "m": h / 2, "b": h}[anchor[1]])
    y0, y1, x0, x1 = max(top, 0), min(top + h, canvas.shape[0]), max(left, 0), min(left + w, canvas.shape[1])
    if y0 >= y1 or x0 >= x1:
        return
    cover = mask[y0 - top : y1 - top, x0 - left : x1 - left, None]
    area = canvas[y0:y1, x0:x1]
    area[:] = np.rint(area * (1 - cover) + np.asarray(color, np.float32) * cover).astype(np.uint8)


def paste(canvas: np.ndarray, picture: np.ndarray, x: int, y: int) -> None:
    """Copy a picture onto the canvas with its top left corner at (x, y); it must fit."""
    canvas[y : y + picture.shape[0], x : x + picture.shape[1]] = picture


def fit_width(picture: np.ndarray, at_least: int = 480, at_most: int = 1280) -> np.ndarray:
    """Enlarge a small picture by whole factors (pixels stay crisp squares), shrink a large one by area.

    Returns:
        a picture of width >= at_least (less when it would get taller than 2000), and <= at_most unless
        enlarging by a whole factor passes it.
    """
    h, w = picture.shape[:2]
    if w < at_least:
        factor = max(1, min(math.ceil(at_least / w), 2000 // h))
        return picture.repeat(factor, 0).repeat(factor, 1)
    if w > at_most:
        return resize_picture(picture, (max(1, round(h * at_most / w)), at_most))
    return picture


def format_number(value: float) -> str:
    """Short decimal text: 0.25, 12, 1500, 2e+06."""
    if value and (abs(value) >= 1e6 or abs(value) < 1e-4):
        return f"{value:.0e}" if f"{value:.0e}" == f"{value:g}" else f"{value:.2g}"
    text = f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"
    return "0" if text in ("-0", "0") else text


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers inside [low, high] (steps of 1, 2 or 5 times a power of ten)."""
    if not high > low:
        return [low]
    raw = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = min((m * power for m in (1, 2, 5, 10)), key=lambda s: abs(math.log(s / raw)))
    first = math.ceil(low / step - 1e-9)  # a tick at an end is kept in spite of rounding
    return [float(f"{i * step:.12g}") for i in range(first, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers for a logarithmic scale: 1, 2, 5, 10, 20, ... and plain ones when the range is short."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [m * 10.0**p for p in powers for m in (1, 2, 5) if low <= m * 10.0**p <= high]
    if len(ticks) > 2 * count:
        ticks = [t for t in ticks if f"{t:e}"[0] == "1"]
    return ticks if len(ticks) >= 3 else [t for t in nice_ticks(low, high, count) if t > 0]


def color_bar(
    height: int, name: str, low: float, high: float, unit: str = "", *, log: bool = False, size: int = 13
) -> np.ndarray:
    """A vertical color bar with ticks: high values at the top, the unit above the bar.

    Args:
        height: of the result in pixels, at least 60.
        name: one of COLOR_MAPS. low, high, log: as given to `apply_color_map`.

    Returns:
        (height, W, 3) uint8; W depends on the longest label.
    """
    ticks = (log_ticks if log else nice_ticks)(low, high, max(2, min(6, height // 50)))
    labels = [format_number(t) for t in ticks]
    top, bottom, bar = (size + 10 if unit else size // 2 + 2), height - size // 2 - 3, 14
    widths = [bar + 8 + text_size(text, size)[0] for text in labels]
    width = max([*widths, text_size(unit, size)[0] if unit else bar])
    canvas = blank(height, width + 2)
    column = color_table(name)[np.linspace(255, 0, bottom - top).round().astype(int)]
    canvas[top:bottom, :bar] = FRAME
    canvas[top:bottom, 1 : bar - 1] = column[:, None]
    draw_text(canvas, 0, 0, unit, size, FAINT)
    place = (
        (lambda v: (math.log(v) - math.log(low)) / (math.log(high) - math.log(low)))
        if log
        else (lambda v: (v - low) / (high - low))
    )
    for tick, label in zip(ticks, labels, strict=True):
        y = round(bottom - 1 - place(tick) * (bottom - 1 - top))
        canvas[y, bar : bar + 4] = INK
        draw_text(canvas, bar + 7, y, label, size, INK, "lm")
    return canvas


@dataclass(frozen=True)
class Panel:
    """One picture of a figure.

    picture: (H, W, 3) uint8. caption: line above it. note: faint line below it.
    bar: (name, low, high, unit, log) of its color bar, if any.
    side: picture placed to its right (a hue wheel, say), if any.
    fixed: the picture is text (a legend, a chart): it is neither enlarged nor framed.
    """

    picture: np.ndarray
    caption: str = ""
    bar: tuple[str, float, float, str, bool] | None = None
    side: np.ndarray | None = None
    note: str = ""
    fixed: bool = False


def _draw_panel(panel: Panel) -> np.ndarray:
    picture, size = panel.picture, 14
    if not panel.fixed:
        framed = blank(picture.shape[0] + 2, picture.shape[1] + 2, FRAME)
        paste(framed, picture, 1, 1)
        picture = framed
    parts = [picture]
    if panel.bar:
        name, low, high, unit, log = panel.bar
        parts.append(color_bar(max(picture.shape[0], 60), name, low, high, unit, log=log))
    if panel.side is not None:
        parts.append(panel.side)
    width = sum(p.shape[1] for p in parts) + 10 * (len(parts) - 1)
    top = text_size("A", size)[1] + 5 if panel.caption else 0
    foot = text_size("A", 12)[1] + 4 if panel.note else 0
    body = max(p.shape[0] for p in parts)
    canvas = blank(top + body + foot, width)
    draw_text(canvas, 0, 0, shorten(panel.caption, size, width), size)
    x = 0
    for part in parts:
        paste(canvas, part, x, top)
        x += part.shape[1] + 10
    draw_text(canvas, 0, top + body + 3, shorten(panel.note, 12, width), 12, FAINT)
    return canvas


def figure(title: str, subtitle: str, panels: Sequence[Panel], columns: int | None = None) -> np.ndarray:
    """Panels on a white page under a title.

    Small pictures are enlarged by whole factors to a width of at least 480 pixels (320 when there are more
    than four panels).

    Args:
        columns: panels per row; chosen from their number when None.
    """
    many = len(panels) > 4
    limits = (320, 640) if many else (480, 960)
    panels = [p if p.fixed else replace(p, picture=fit_width(p.picture, *limits)) for p in panels]
    columns = columns or {1: 1, 2: 2, 3: 3, 4: 2}.get(len(panels), 3 if len(panels) <= 9 else 4)
    drawn = [_draw_panel(panel) for panel in panels]
    rows = [drawn[i : i + columns] for i in range(0, len(drawn), columns)]
    widths = [max(p.shape[1] for p in drawn[c::columns]) for c in range(min(columns, len(drawn)))]
    width = max(sum(widths) + MARGIN * (len(widths) - 1), 400) + 2 * MARGIN
    head = MARGIN + (28 if title else 0) + (22 if subtitle else 0)
    heights = [max(p.shape[0] for p in row) for row in rows]
    canvas = blank(head + sum(heights) + MARGIN * len(rows), width)
    draw_text(canvas, MARGIN, MARGIN - 4, shorten(title, 20, width - 2 * MARGIN), 20)
    draw_text(canvas, MARGIN, MARGIN + 24, shorten(subtitle, 13, width - 2 * MARGIN), 13, FAINT)
    y = head
    for row, height in zip(rows, heights, strict=True):
        x = MARGIN
        for panel, column in zip(row, widths, strict=False):
            paste(canvas, panel, x, y)
            x += column + MARGIN
        y += height + MARGIN
    return canvas


def stack(pages: Sequence[np.ndarray]) -> np.ndarray:
    """Pages below one another on white, as wide as the widest."""
    width = max(page.shape[1] for page in pages)
    return np.concatenate(
        [np.pad(page, ((0, 0), (0, width - page.shape[1]), (0, 0)), constant_values=255) for page in pages]
    )
