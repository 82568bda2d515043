"""Arrays -> pictures: uint8 RGB (H, W, 3), drawn with OpenCV, numpy and Pillow's own font. No file is read
here except sensor-tensor files; no array that is passed in is written to."""

from __future__ import annotations

from armseg_core.visualization.canvas import Panel, color_bar, figure, fit_width, stack
from armseg_core.visualization.charts import confusion_figure, line_chart, training_curves
from armseg_core.visualization.colors import (
    IGNORE,
    INVALID,
    apply_color_map,
    distinct_palette,
    robust_range,
)
from armseg_core.visualization.frames import render_frame, render_tensor_file
from armseg_core.visualization.masks import (
    label_to_color,
    legend,
    overlay,
    save_indexed_png,
    save_png,
    with_legend,
)
from armseg_core.visualization.panels import contact_sheet
from armseg_core.visualization.samples import sample_figure
from armseg_core.visualization.sensors import hue_wheel, render_aolp, render_model_tensor

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
    "hue_wheel",
    "label_to_color",
    "legend",
    "line_chart",
    "overlay",
    "render_aolp",
    "render_frame",
    "render_model_tensor",
    "render_tensor_file",
    "robust_range",
    "sample_figure",
    "save_indexed_png",
    "save_png",
    "stack",
    "training_curves",
    "with_legend",
]
