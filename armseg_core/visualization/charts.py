"""Charts of a run: confusion matrix and training curves, drawn with OpenCV lines and Pillow text.

Shape letters: K classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from armseg_core.errors import FormatError
from armseg_core.visualization.canvas import (
    MARGIN,
    Panel,
    blank,
    colour_bar,
    draw_text,
    figure,
    format_number,
    nice_ticks,
    paste,
    shorten,
    text_size,
)
from armseg_core.visualization.colours import FAINT, INK, PAPER, colour_table

_GRID, _ABSENT = (230, 230, 234), (240, 240, 240)
_LINES = ((33, 113, 181), (214, 96, 24), (44, 140, 80), (130, 70, 160))


def confusion_figure(matrix: np.ndarray, names: Sequence[str], title: str = "Confusion matrix") -> np.ndarray:
    """Where each class went: rows are labels, columns predictions, cells the share of the row in percent, and
    the IoU of each class at the right.

    Args:
        matrix: (K, K) counts, row = label, column = prediction. names: K class names.

    Returns:
        (h, w, 3) uint8. Classes that occur nowhere have grey rows and no IoU.
    """
    matrix = np.asarray(matrix)
    k = len(names)
    if matrix.shape != (k, k) or not k:
        raise FormatError(f"the confusion matrix has shape {matrix.shape}",
                          expected=f"({k}, {k}) for {k} class names")
    total = matrix.sum(1, dtype=np.float64)
    share = np.divide(matrix, total[:, None], out=np.zeros((k, k)), where=total[:, None] > 0)
    union = matrix.sum(0) + matrix.sum(1) - np.diag(matrix)
    cell = int(np.clip(640 // k, 14, 56))
    size = 13 if cell >= 20 else 11
    texts = [shorten(name, size, 150) for name in names]
    left = max(text_size(t, size)[0] for t in texts) + 34
    head, top = 52 if title else 12, max(text_size(t, size)[0] for t in texts) + 10
    y0, x0, side = head + top + 18, MARGIN + left, cell * k
    canvas = blank(y0 + max(side, 110) + MARGIN, max(x0 + side + 10 + 58 + 10 + 56 + MARGIN, 420))
    draw_text(canvas, MARGIN, MARGIN - 4, title, 20)
    draw_text(canvas, x0 + side / 2, head, "prediction", 12, FAINT, "mt")
    draw_text(canvas, MARGIN, y0 + side / 2, "label", 12, FAINT, "lm", upright=True)
    draw_text(canvas, x0 + side + 34, y0 - 4, "IoU", 13, INK, "mb")
    for i in range(k):
        centre = i * cell + cell / 2
        draw_text(canvas, x0 - 6, y0 + centre, texts[i], size, INK, "rm")
        draw_text(canvas, x0 + centre, y0 - 5, texts[i], size, INK, "mb", upright=True)
        iou = f"{100 * matrix[i, i] / union[i]:.1f}" if union[i] else "-"
        draw_text(canvas, x0 + side + 54, y0 + centre, iou, size, INK if union[i] else FAINT, "rm")
        _draw_row(canvas, share[i], bool(total[i]), x0, y0 + i * cell, cell)
    paste(canvas, colour_bar(max(min(side, 300), 100), "blues", 0, 100, "%"), x0 + side + 10 + 58, y0)
    return canvas


def _draw_row(canvas: np.ndarray, share: np.ndarray, labelled: bool, x0: int, y: int, cell: int) -> None:
    table = colour_table("blues")
    for j, value in enumerate(share):
        area = canvas[y:y + cell - 1, x0 + j * cell:x0 + (j + 1) * cell - 1]
        area[:] = table[round(255 * value)] if labelled else _ABSENT
        if labelled and cell >= 20 and value >= 0.005:
            colour = PAPER if value > 0.5 else INK
            size = 13 if cell >= 32 else 10
            draw_text(canvas, x0 + (j + 0.5) * cell, y + cell / 2, f"{100 * value:.0f}", size, colour, "mm")


def _series(rows: Sequence[dict[str, Any]], key: str, x_key: str) -> tuple[np.ndarray, np.ndarray]:
    """(x, y) of the rows that hold finite numbers under both keys."""
    pairs = [(row[x_key], row[key]) for row in rows
             if all(isinstance(row.get(k), int | float) and math.isfinite(row[k]) for k in (key, x_key))]
    array = np.asarray(sorted(pairs), np.float64).reshape(-1, 2)
    return array[:, 0], array[:, 1]


def smooth(values: np.ndarray, strength: float = 0.9) -> np.ndarray:
    """Exponential moving average, corrected for its start (as in Adam): it begins at the first value."""
    result, average = np.empty(len(values)), 0.0
    for i, value in enumerate(values):
        average = strength * average + (1 - strength) * value
        result[i] = average / (1 - strength ** (i + 1))
    return result


def line_chart(series: Sequence[tuple[str, np.ndarray, np.ndarray]], x_label: str, *, width: int = 560,
               height: int = 320, smoothed: bool = False) -> np.ndarray:
    """Lines over a common x axis.

    Args:
        series: (name, x, y) with at least one point each; names go into the legend when there are several.
        smoothed: draw the raw line faint and its moving average strong.
    """
    xs, ys = (np.concatenate([s[i] for s in series]) for i in (1, 2))
    x_low, x_high = float(xs.min()), float(xs.max())
    x_high = x_high if x_high > x_low else x_low + 1
    shown = np.percentile(ys, (0, 99.5)) if smoothed else (ys.min(), ys.max())
    pad = (float(shown[1]) - float(shown[0])) * 0.06 or max(abs(float(shown[0])) * 0.1, 1e-6)
    y_low, y_high = float(shown[0]) - pad, float(shown[1]) + pad
    y_low = 0.0 if ys.min() >= 0 and y_low < 0.25 * y_high else y_low
    ticks = nice_ticks(y_low, y_high, 5)
    left = max(text_size(format_number(t), 12)[0] for t in ticks) + 10
    box = (left, 8, width - 14, height - 40)
    canvas = blank(height, width)
    place = (lambda x: box[0] + (x - x_low) / (x_high - x_low) * (box[2] - box[0]),
             lambda y: box[3] - (y - y_low) / (y_high - y_low) * (box[3] - box[1]))
    for tick in ticks:
        y = round(place[1](tick))
        canvas[y, box[0]:box[2]] = _GRID
        draw_text(canvas, left - 5, y, format_number(tick), 12, FAINT, "rm")
    for tick in nice_ticks(x_low, x_high, 6):
        x = round(place[0](tick))
        canvas[box[1]:box[3], min(x, width - 1)] = _GRID
        draw_text(canvas, x, box[3] + 4, format_number(tick), 12, FAINT, "mt")
    draw_text(canvas, (box[0] + box[2]) / 2, height - 18, x_label, 12, FAINT, "mt")
    canvas[box[3], box[0]:box[2]] = FAINT
    for i, (_, x, y) in enumerate(series):
        colour = _LINES[i % len(_LINES)]
        if smoothed and len(y) > 20:
            _draw_line(canvas, place[0](x), place[1](y), tuple((c + 2 * 255) // 3 for c in colour), 1, box)
            y = smooth(y)
        _draw_line(canvas, place[0](x), place[1](y), colour, 2, box)
    if len(series) > 1:
        _draw_key(canvas, [s[0] for s in series], box)
    return canvas


def _draw_line(canvas: np.ndarray, x: np.ndarray, y: np.ndarray, colour: Any, thickness: int,
               box: tuple[int, int, int, int]) -> None:
    y = np.clip(y, box[1], box[3])
    points = np.rint(np.stack([x, y], -1) * 16).astype(np.int32)
    cv2.polylines(canvas, [points], False, colour, thickness, cv2.LINE_AA, shift=4)
    if len(points) <= 40 and thickness > 1:
        for px, py in points:
            cv2.circle(canvas, (int(px), int(py)), 3 * 16, colour, -1, cv2.LINE_AA, shift=4)


def _draw_key(canvas: np.ndarray, names: Sequence[str], box: tuple[int, int, int, int]) -> None:
    width = max(text_size(name, 12)[0] for name in names) + 40
    x, y = box[2] - width - 8, box[3] - 12 - 20 * len(names)
    canvas[y - 6:box[3] - 8, x:box[2] - 4] = PAPER
    for i, name in enumerate(names):
        row = y + 20 * i + 8
        canvas[row - 1:row + 2, x + 8:x + 28] = _LINES[i % len(_LINES)]
        draw_text(canvas, x + 34, row, name, 12, INK, "lm")


_MIOU_NAMES = {"miou": "RGB+X", "miou_rgb_only": "RGB only"}
_CHARTS = (  # caption, keys of the lines, smoothed
    ("loss", ("loss",), True), ("mIoU on the validation split", tuple(_MIOU_NAMES), False),
    ("learning rate", ("lr",), False), ("images per second", ("images_per_s",), True))


def training_curves(rows: Sequence[dict[str, Any]], title: str = "Training") -> np.ndarray:
    """Loss, mIoU, learning rate and speed of a run.

    Args:
        rows: of metrics.jsonl; each may hold step, epoch, loss, miou, miou_rgb_only, lr, images_per_s. A key
            that no row holds gives no chart.

    Returns:
        (h, w, 3) uint8.

    Raises:
        FormatError: no row holds any of these numbers.
    """
    x_key = "step" if any("step" in row for row in rows) else "epoch"
    panels = []
    for caption, keys, smoothed in _CHARTS:
        series = [(_MIOU_NAMES.get(key, key), *_series(rows, key, x_key)) for key in keys]
        series = [s for s in series if len(s[1])]
        if series:
            caption += f": {format_number(series[0][2][-1])} at the end"
            panels.append(Panel(line_chart(series, x_key, smoothed=smoothed), caption, fixed=True))
    if not panels:
        raise FormatError("no training numbers to draw", expected="rows with step and loss or miou")
    return figure(title, f"{len(rows)} rows", panels, columns=min(2, len(panels)))
