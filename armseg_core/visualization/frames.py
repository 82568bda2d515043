"""A frame of a sensor-tensor file as a figure: title, panels, color bars with units.

The channels decide what is drawn: the model tensor of a sensor gets the figure of that sensor, the other
representations get theirs by name, and everything else a grid of its channels.

Shape letters: C channels, H rows, W columns.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np

from armseg_core.errors import FormatError, UsageError
from armseg_core.files.tensor_file import TensorFile, TensorInfo
from armseg_core.sensors.modalities import MODALITIES
from armseg_core.visualization import panels
from armseg_core.visualization.canvas import Panel, figure

MakePanels = Callable[[np.ndarray, TensorInfo], list[Panel]]

_MODEL_TENSORS: dict[str, MakePanels] = {  # modality -> panels of its model tensor
    "event": panels.voxel_grid,
    "thermal": panels.thermal,
    "depth": panels.depth,
    "lidar": panels.lidar,
    "polarization": panels.polarization,
    "light_field": panels.light_field,
}
_REPRESENTATIONS: dict[tuple[str, str, int], MakePanels] = {  # modality, representation, channels -> panels
    ("event", "event_frame", 1): panels.voxel_grid,
    ("depth", "inverse", 1): panels.inverse_depth,
    ("depth", "hha", 3): panels.three_as_colors,
    ("depth", "normals", 3): panels.three_as_colors,
    ("polarization", "aolp_dolp", 3): panels.aolp_dolp,
}
_SUMS_OF_EVENTS = ("voxel_grid", "histogram", "stacked_histogram")


def choose(frame: np.ndarray, info: TensorInfo) -> MakePanels:
    """The function that draws a frame."""
    modality, names = info.modality, info.channels
    if panels.view_names(names):
        return panels.views
    if info.representation == "epi" and panels.picture_names(names):
        return panels.epi
    if panels.picture_names(names) or names == ("red", "green", "blue"):
        return panels.pictures
    if modality in _MODEL_TENSORS and names == MODALITIES[modality].channels:
        return _MODEL_TENSORS[modality]
    if (modality, info.representation, len(names)) in _REPRESENTATIONS:
        return _REPRESENTATIONS[modality, info.representation, len(names)]
    if modality == "thermal" and len(names) == 1:
        return panels.thermal
    if modality == "event" and info.representation.startswith(_SUMS_OF_EVENTS):
        polarities = {panels.polarity_of(name) for name in names}
        if polarities == {0}:
            return panels.voxel_grid
        if polarities == {-1, 1} and frame.min() >= 0:  # not normalized
            return panels.counts
    return panels.channels


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
    values = frame
    if info.modality == "event":
        values = np.nan_to_num(frame.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    make = choose(values, info)
    if make not in (panels.views, panels.pictures, panels.epi):
        values = values.astype(np.float32)
    title, subtitle = describe(frame, info, t_us, note)
    drawn = make(values, info)
    if panels.MAX_CHANNELS in (len(drawn), len(drawn) - 1) and len(frame) > panels.MAX_CHANNELS:
        subtitle += f" · only the first {panels.MAX_CHANNELS}"
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
