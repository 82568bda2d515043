"""Charts of a run: confusion matrix and training curves, drawn with OpenCV lines and Pillow text.

Shape letters: K classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from armseg_core.errors import FormatError
from armseg_core.visualization.canvas import (
    MARGIN,
    Panel,
    blank,
    color_bar,
    draw_text,
    figure,
    format_number,
    nice_ticks,
    paste,
    shorten,
    text_size,
)
from armseg_core.visualization.colors import FAINT, INK, PAPER, color_table

# free choices: a grid fainter than text, lines that differ in hue
_GRID, _ABSENT = (230, 230, 234), (240, 240, 240)
_LINES = (
    (33, 113, 181),
    (214, 96, 24),
    (44, 140, 80),
    (130, 70, 160),
    (200, 40, 90),
    (120, 100, 60),
    (20, 160, 190),
    (90, 90, 90),
)


def confusion_figure(matrix: np.ndarray, names: Sequence[str], title: str = "Confusion matrix") -> np.ndarray:
    """Where each class went, as a table with the IoU of each class at the right.

    Rows are labels, columns predictions, cells the share of the row in percent.

    Args:
        matrix: (K, K) counts, row = label, column = prediction. names: K class names.

    Returns:
        (h, w, 3) uint8. Classes that occur nowhere have gray rows and no IoU.
    """
    matrix = np.asarray(matrix)
    k = len(names)
    if matrix.shape != (k, k) or not k:
        raise FormatError(
            f"the confusion matrix has shape {matrix.shape}", expected=f"({k}, {k}) for {k} class names"
        )
    total = matrix.sum(1, dtype=np.float64)
    share = np.divide(matrix, total[:, None], out=np.zeros((k, k)), where=total[:, None] > 0)
    union = matrix.sum(0) + matrix.sum(1) - np.diag(matrix)
    cell = int(np.clip(640 // k, 14, 56))  # about 640 pixels wide; below 14 the names overlap
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
        center = i * cell + cell / 2
        draw_text(canvas, x0 - 6, y0 + center, texts[i], size, INK, "rm")
        draw_text(canvas, x0 + center, y0 - 5, texts[i], size, INK, "mb", upright=True)
        iou = f"{100 * matrix[i, i] / union[i]:.1f}" if union[i] else "-"
        draw_text(canvas, x0 + side + 54, y0 + center, iou, size, INK if union[i] else FAINT, "rm")
        _draw_row(canvas, share[i], bool(total[i]), x0, y0 + i * cell, cell)
    paste(canvas, color_bar(max(min(side, 300), 100), "blues", 0, 100, "%"), x0 + side + 10 + 58, y0)
    return canvas


def _draw_row(canvas: np.ndarray, share: np.ndarray, labeled: bool, x0: int, y: int, cell: int) -> None:
    table = color_table("blues")
    for j, value in enumerate(share):
        area = canvas[y : y + cell - 1, x0 + j * cell : x0 + (j + 1) * cell - 1]
        area[:] = table[round(255 * value)] if labeled else _ABSENT
        if labeled and cell >= 20 and value >= 0.005:  # two digits fit, and do not round to 0
            color = PAPER if value > 0.5 else INK
            size = 13 if cell >= 32 else 10
            draw_text(canvas, x0 + (j + 0.5) * cell, y + cell / 2, f"{100 * value:.0f}", size, color, "mm")


def _series(rows: Sequence[dict[str, Any]], key: str, x_key: str) -> tuple[np.ndarray, np.ndarray]:
    """(x, y) of the rows that hold finite numbers under both keys."""
    pairs = [
        (row[x_key], row[key])
        for row in rows
        if all(isinstance(row.get(k), int | float) and math.isfinite(row[k]) for k in (key, x_key))
    ]
    array = np.asarray(sorted(pairs), np.float64).reshape(-1, 2)
    return array[:, 0], array[:, 1]


def smooth(values: np.ndarray, strength: float = 0.9) -> np.ndarray:
    """Exponential moving average, corrected for its start (as in Adam): it begins at the first value."""
    result, average = np.empty(len(values)), 0.0
    for i, value in enumerate(values):
        average = strength * average + (1 - strength) * value
        result[i] = average / (1 - strength ** (i + 1))
    return result


def line_chart(
    series: Sequence[tuple[str, np.ndarray, np.ndarray]],
    x_label: str,
    *,
    width: int = 560,
    height: int = 320,
    smoothed: bool = False,
) -> np.ndarray:
    """Lines over a common x axis.

    Args:
        series: (name, x, y) with at least one point each; names go into a key when there are several.
        smoothed: draw the raw line faint and its moving average strong.
    """
    xs, ys = (np.concatenate([s[i] for s in series]) for i in (1, 2))
    x_range, y_range = (float(xs.min()), max(float(xs.max()), float(xs.min()) + 1)), _y_range(ys, smoothed)
    key = max(text_size(s[0], 12)[0] for s in series) + 40 if len(series) > 1 else 0
    left = max(text_size(format_number(t), 12)[0] for t in nice_ticks(*y_range)) + 10
    box = (left, 8, width - 14 - key, height - 40)
    canvas = blank(height, width)
    x_place = _draw_axis(canvas, box, x_range, horizontal=True)
    y_place = _draw_axis(canvas, box, y_range, horizontal=False)
    draw_text(canvas, (box[0] + box[2]) / 2, height - 18, x_label, 12, FAINT, "mt")
    canvas[box[3], box[0] : box[2]] = FAINT
    for i, (name, x, y) in enumerate(series):
        color = _LINES[i % len(_LINES)]
        if smoothed and len(y) > 20:  # twice the 10 points an average of strength 0.9 reaches back
            faint = tuple((c + 2 * 255) // 3 for c in color)
            _draw_line(canvas, x_place(x), y_place(y), faint, 1, box)
            y = smooth(y)
        _draw_line(canvas, x_place(x), y_place(y), color, 2, box)
        if key:
            row = box[1] + 12 + 20 * i
            canvas[row - 1 : row + 2, box[2] + 14 : box[2] + 34] = color
            draw_text(canvas, box[2] + 40, row, name, 12, INK, "lm")
    return canvas


def _y_range(values: np.ndarray, smoothed: bool) -> tuple[float, float]:
    """A little more than the values span; from 0 when they are positive and 0 is near.

    Rare peaks of a noisy line are cut off.
    """
    low, high = float(values.min()), float(np.percentile(values, 99.5) if smoothed else values.max())
    pad = (high - low) * 0.06 or max(abs(low) * 0.1, 1e-6)
    return 0.0 if low >= 0 and low - pad < 0.25 * (high + pad) else low - pad, high + pad


def _draw_axis(
    canvas: np.ndarray, box: tuple[int, int, int, int], limits: tuple[float, float], *, horizontal: bool
) -> Callable[[Any], Any]:
    """Grid lines and numbers of one axis; gives the function from values to pixels."""
    start, end = (box[0], box[2]) if horizontal else (box[3], box[1])

    def place(value: Any) -> Any:
        return start + (value - limits[0]) / (limits[1] - limits[0]) * (end - start)

    for tick in nice_ticks(*limits):
        at = round(place(tick))
        if horizontal:
            canvas[box[1] : box[3], at] = _GRID
            draw_text(canvas, at, box[3] + 4, format_number(tick), 12, FAINT, "mt")
        else:
            canvas[at, box[0] : box[2]] = _GRID
            draw_text(canvas, box[0] - 5, at, format_number(tick), 12, FAINT, "rm")
    return place


def _draw_line(
    canvas: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    color: Any,
    thickness: int,
    box: tuple[int, int, int, int],
) -> None:
    import cv2

    y = np.clip(y, box[1], box[3])
    points = np.rint(np.stack([x, y], -1) * 16).astype(np.int32)  # shift=4: OpenCV takes sixteenths
    cv2.polylines(canvas, [points], False, color, thickness, cv2.LINE_AA, shift=4)
    if len(points) <= 40 and thickness > 1:  # more dots would run together
        for px, py in points:
            cv2.circle(canvas, (int(px), int(py)), 3 * 16, color, -1, cv2.LINE_AA, shift=4)


_CHARTS = (  # caption, key, smoothed
    ("loss", "loss", True),
    ("learning rate", "lr", False),
    ("images per second", "images_per_s", True),
)


def _miou_series(rows: Sequence[dict[str, Any]], x_key: str) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Validation mIoU as lines (name, steps, values).

    One line for each choice of inputs, a mean over the data sets, where the rows say it in `val`
    ({data set: {inputs: mIoU}}); else the mean of the sensors and RGB only.
    """
    flat = []
    for row in rows:
        by_inputs: dict[str, list[float]] = {}
        for table in (row.get("val") or {}).values():
            for inputs, value in table.items():
                if isinstance(value, int | float):
                    by_inputs.setdefault(inputs, []).append(value)
        means = {inputs: sum(values) / len(values) for inputs, values in by_inputs.items()}
        flat.append({x_key: row.get(x_key), **means})
    names = dict.fromkeys(key for row in flat for key in row if key != x_key)
    if not names:
        flat, names = list(rows), dict.fromkeys(("miou", "miou_rgb_only"))
    titles = {"miou": "rgb+sensor", "miou_rgb_only": "rgb only", "rgb": "rgb only"}
    return [(titles.get(name, name), *_series(flat, name, x_key)) for name in names]


def training_curves(rows: Sequence[dict[str, Any]], title: str = "Training") -> np.ndarray:
    """Loss, mIoU, learning rate and speed of a run.

    Args:
        rows: of metrics.jsonl; each may hold step, epoch, loss, miou, miou_rgb_only, val, lr, images_per_s. A
            key that no row holds gives no chart.

    Returns:
        (h, w, 3) uint8.

    Raises:
        FormatError: no row holds any of these numbers.
    """
    x_key = "step" if any("step" in row for row in rows) else "epoch"
    charts = [(caption, [(caption, *_series(rows, key, x_key))], noisy) for caption, key, noisy in _CHARTS]
    charts.insert(1, ("mIoU on the validation split", _miou_series(rows, x_key), False))
    panels = []
    for caption, lines, noisy in charts:
        drawn = [line for line in lines if len(line[1])]
        if drawn:
            if len(drawn) == 1:
                caption += f": {format_number(drawn[0][2][-1])} at the end"
            panels.append(Panel(line_chart(drawn, x_key, smoothed=noisy), caption, fixed=True))
    if not panels:
        raise FormatError("no training numbers to draw", expected="rows with step and loss or miou")
    return figure(title, f"{len(rows)} rows", panels, columns=min(2, len(panels)))
