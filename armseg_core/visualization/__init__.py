"""Arrays -> pictures: uint8 RGB (H, W, 3), drawn with OpenCV, numpy and Pillow's own font.

No sensor is known here and no file is read; no array that is passed in is written to.
"""

from __future__ import annotations

from armseg_core.palette import IGNORE
from armseg_core.visualization.canvas import Panel, color_bar, figure, fit_width, stack
from armseg_core.visualization.charts import confusion_figure, line_chart, training_curves
from armseg_core.visualization.colors import (
    INVALID,
    apply_color_map,
    distinct_palette,
    robust_range,
)
from armseg_core.visualization.masks import (
    label_to_color,
    legend,
    overlay,
    with_legend,
)
from armseg_core.visualization.panels import contact_sheet

__all__ = [
    "IGNORE",
    "INVALID",
    "Panel",
    "apply_color_map",
    "color_bar",
    "confusion_figure",
    "contact_sheet",
    "distinct_palette",
    "figure",
    "fit_width",
    "label_to_color",
    "legend",
    "line_chart",
    "overlay",
    "robust_range",
    "stack",
    "training_curves",
    "with_legend",
]
