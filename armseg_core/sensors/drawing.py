"""Whatever a sensor gives as a picture: model tensors, frames of sensor-tensor files, samples.

How a sensor is drawn stands in its own row (`Modality.picture`, `Modality.panels`).

Shape letters: C channels, H rows, W columns.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from armseg_core.errors import FormatError, UsageError
from armseg_core.files.tensor_file import TensorFile, TensorInfo
from armseg_core.sensors.modalities import MODALITIES, RGB, get_modality
from armseg_core.visualization.canvas import Panel, figure
from armseg_core.visualization.colors import distinct_palette
from armseg_core.visualization.masks import label_to_color, legend, overlay
from armseg_core.visualization.panels import MAX_CHANNELS, channels, pictures, render_channel


def render_model_tensor(frame: np.ndarray, modality: str) -> np.ndarray:
    """The model tensor of a sensor as one RGB picture.

    The row of the modality says how (`Modality.picture`); one that does not shows its first channel.

    Args:
        frame: (C, H, W) float with the channels of `MODALITIES[modality]`, in that order.

    Returns:
        (H, W, 3) uint8.

    Raises:
        FormatError: the frame does not have those channels.
    """
    row = get_modality(modality)
    frame = np.asarray(frame)
    if frame.ndim != 3 or len(frame) != row.num_channels:
        raise FormatError(
            f"a {row.title} frame has shape {frame.shape}", expected=f"({row.num_channels}, H, W)"
        )
    frame = frame.astype(np.float32)  # float16 files overflow in sums
    return row.picture(frame) if row.picture else render_channel(frame[0])


def panels_of(frame: np.ndarray, info: TensorInfo) -> list[Panel]:
    """The panels of a frame (C, H, W): those of its sensor, else pictures, else a grid of the channels."""
    row = MODALITIES.get(info.modality)
    return (
        (row.panels(frame, info) if row and row.panels else None)
        or pictures(frame, info.channels, info.value_range)
        or channels(frame.astype(np.float32), info.channels, info.units)
    )


def describe(frame: np.ndarray, info: TensorInfo, t_us: int = 0, note: str = "") -> tuple[str, str]:
    """(title, subtitle) of a frame's figure."""
    title = MODALITIES[info.modality].title if info.modality in MODALITIES else info.modality
    title = f"{title[:1].upper()}{title[1:]}: {info.representation.replace('_', ' ')}"
    c, h, w = frame.shape
    parts = [f"{c} x {h} x {w} {frame.dtype}"]
    if t_us:
        parts.append(f"ends at t = {t_us / 1e6:.6f} s")
    if info.source_name:
        parts.append(f"from {info.source_name}")
    return title, " · ".join([*parts, *([note] if note else [])])


def render_frame(frame: np.ndarray, info: TensorInfo, t_us: int = 0, note: str = "") -> np.ndarray:
    """One frame of a sensor-tensor file as a figure.

    Args:
        frame: (C, H, W). info: of the file. t_us: end time of the frame, 0 for sensors without a clock.
        note: further text for the subtitle.

    Returns:
        (h, w, 3) uint8.

    Raises:
        FormatError: the frame does not have the channels of `info`, or has no pixels.
    """
    if frame.ndim != 3 or len(frame) != len(info.channels) or not frame.size:
        raise FormatError(f"the frame has shape {frame.shape}", expected=f"({len(info.channels)}, H, W)")
    title, subtitle = describe(frame, info, t_us, note)
    drawn = panels_of(frame, info)
    if MAX_CHANNELS in (len(drawn), len(drawn) - 1) and len(frame) > MAX_CHANNELS:
        subtitle += f" · only the first {MAX_CHANNELS}"
    return figure(title, subtitle, drawn)


def frame_note(index: int, count: int) -> str:
    """'frame 3 (of 0 to 19)', "" for the only frame of a file."""
    return f"frame {index} (of 0 to {count - 1})" if count > 1 else ""


def render_tensor_file(path: str | os.PathLike[str], frame: int = -1) -> np.ndarray:
    """Frame number `frame` (negative: from the end) of a sensor-tensor file as a figure.

    Raises:
        InputError, FormatError: the file cannot be used.
        UsageError: it has no such frame.
    """
    with TensorFile(path) as file:
        count = len(file)
        if not -count <= frame < count:
            raise UsageError(
                f"no frame {frame}" if count else "holds no frames",
                where=file.path,
                expected=f"0 to {count - 1}" if count else None,
            )
        index = range(count)[frame]
        return render_frame(file.frame(index), file.info, int(file.t_us[index]), frame_note(index, count))


class SampleLike(Protocol):
    """What is drawn of a sample; `armseg_core.data.sample.Sample` is one.

    id: name. rgb: (3, H, W) float in [0, 1]. label: (H, W) integers or None. sensors: modality -> model
    tensor (C, H, W). Arrays may be numpy or CPU torch tensors.
    """

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
    rgb = render_model_tensor(np.asarray(sample.rgb), RGB.name)
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
