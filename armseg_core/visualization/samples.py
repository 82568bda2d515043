"""A sample of a data set as a figure: RGB, every sensor, the label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from armseg_core.sensors.modalities import MODALITIES
from armseg_core.visualization.canvas import Panel, figure
from armseg_core.visualization.colors import distinct_palette
from armseg_core.visualization.masks import label_to_color, legend, overlay
from armseg_core.visualization.sensors import render_model_tensor


class SampleLike(Protocol):
    """id: name. rgb: (3, H, W) float in [0, 1]. label: (H, W) integers or None. sensors: modality -> model
    tensor (C, H, W). Arrays may be numpy or CPU torch tensors. `armseg_core.data.sample.Sample` is one."""

    @property
    def id(self) -> str: ...

    @property
    def rgb(self) -> Any: ...

    @property
    def label(self) -> Any: ...

    @property
    def sensors(self) -> Mapping[str, Any]: ...


def sample_figure(
    sample: SampleLike,
    names: Sequence[str] | None = None,
    palette: Any = None,
    *,
    alpha: float = 0.5,
    note: str = "",
) -> np.ndarray:
    """RGB, each sensor, the label and the label over the RGB, with a legend of the classes that occur.

    Args:
        names: K class names; numbers are shown when None. palette: (K, 3) colors; chosen when None.
        alpha: opacity of the label over the RGB.
        note: subtitle, such as the caption.

    Returns:
        (h, w, 3) uint8.
    """
    rgb = render_model_tensor(np.asarray(sample.rgb), "rgb")
    panels = [Panel(rgb, "RGB")]
    for name, frame in sample.sensors.items():
        caption = MODALITIES[name].title if name in MODALITIES else name
        panels.append(Panel(render_model_tensor(np.asarray(frame), name), caption))
    if sample.label is not None:
        label = np.asarray(sample.label)
        colors, labels = _classes(label, names, palette)
        panels.append(Panel(label_to_color(label, colors), "label"))
        panels.append(Panel(overlay(rgb, label, colors, alpha), "label over RGB"))
        seen = [int(i) for i in np.unique(label) if 0 <= i < len(colors)]
        if seen:
            shares = [float((label == i).mean()) for i in seen]
            key = legend([labels[i] for i in seen], colors[seen], shares)
            panels.append(Panel(key, "classes", fixed=True))
    columns = 2 if len(panels) in (2, 4) else 3 if len(panels) < 10 else 4
    return figure(f"Sample {sample.id}", note, panels, columns)


def _classes(label: np.ndarray, names: Sequence[str] | None, palette: Any) -> tuple[np.ndarray, list[str]]:
    """(colors (K, 3), K names), made up where they are not given."""
    known = np.unique(label)
    largest = int(known[(known >= 0) & (known < 255)].max(initial=0))
    colors = distinct_palette(max(len(names or ()), largest + 1)) if palette is None else np.asarray(palette)
    given = list(names or ())[: len(colors)]
    return colors, [*given, *(f"class {i}" for i in range(len(given), len(colors)))]
