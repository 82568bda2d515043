"""The contract of a sensor: one `Modality` row holds everything that differs between sensors.

Help texts, class prompts, augmentation rules, model stems, pictures and the README table are derived from
the row. A sensor is one folder with a `row.py`; a plug-in brings the same row from its own package.

Shape letters used everywhere: N frames, B batch, C channels, H rows, W columns.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from armseg_core.config.base import Options
from armseg_core.sensors.reader import Reader
from armseg_core.sensors.representation import Representation

if TYPE_CHECKING:
    from armseg_core.files.tensor_file import TensorInfo
    from armseg_core.visualization.canvas import Panel


@dataclass(frozen=True)
class Modality:
    """A sensor, as the model and the commands see it.

    The *model tensor* of a modality is float32 (C, H, W) with the channels named here, in the order named
    here.

    name: short name in small letters, as in commands, files and model folders. title: human name, for tables
        and legends. prompt: noun phrase for CLIP prompts: "a {prompt} of a street with a car".
    channels: of the model tensor. value_range: its usual range (not a hard bound for events).
    representation: name of the default one; its frames are the model tensor or become it by `model_tensor`.
    representation_for: options -> name of the default one, where the options decide it.
    options: group with every option of its recordings. readers: raw formats, in the order they are tried.
    representations: what `convert` can make of a recording.
    flip_negates: channels that change sign under a horizontal / vertical flip (AoLP is an angle:
        sin 2A -> -sin 2A for both). nearest: channels that must be resized by nearest neighbor (validity
        masks, meters).
    pseudo_rgb, pseudo_rgb_bias: linear map model tensor -> pseudo-RGB in about [0, 1], used to show the
        sensor to CLIP: one row (r, g, b) of weights per channel, plus a bias. It is also where the learned
        channel projection starts from.
    aliases: other names in commands. words: further words by which file names speak of the sensor.
    fits_any_color: any color picture fits one of its formats (a lenslet picture), so a fit says nothing.
    model_tensor: (frame (C, H, W), its channel names) of another representation -> model tensor; None or a
        FormatError where it cannot be one; no function when only the model tensor is understood.
    resize: (model tensor, (H, W)) -> model tensor of that size, where channels cannot be resized one by one.
    picture: model tensor (C, H, W) float32 -> RGB (H, W, 3) uint8; None shows the first channel.
    panels: (frame (C, H, W) of any representation, its info) -> the panels of its figure; it answers None to
        leave a frame to the general ones (pictures, or a grid of the channels).
    shown: what a reader gave -> the representations that show it where none is asked for; None: the default.
    """

    name: str
    title: str
    prompt: str
    channels: tuple[str, ...]
    value_range: tuple[float, float]
    representation: str
    pseudo_rgb: tuple[tuple[float, float, float], ...]
    options: type[Options] = Options
    readers: tuple[Reader, ...] = ()
    representations: tuple[Representation, ...] = ()
    flip_negates: tuple[str, ...] = ()
    nearest: tuple[str, ...] = ()
    pseudo_rgb_bias: tuple[float, float, float] = (0.0, 0.0, 0.0)
    aliases: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    fits_any_color: bool = False
    model_tensor: Callable[[np.ndarray, tuple[str, ...]], np.ndarray | None] | None = None
    representation_for: Callable[[Any], str] | None = None
    resize: Callable[[np.ndarray, tuple[int, int]], np.ndarray] | None = None
    picture: Callable[[np.ndarray], np.ndarray] | None = None
    panels: Callable[[np.ndarray, TensorInfo], list[Panel] | None] | None = None
    shown: Callable[[Any], tuple[str, ...]] | None = None

    @property
    def num_channels(self) -> int:
        return len(self.channels)


def row_problems(row: Modality) -> list[str]:
    """What does not fit together in the row of a sensor; empty for a good one."""
    readers, made = [part.name for part in row.readers], [part.name for part in row.representations]
    owners = {part.modality for part in row.readers} | {part.modality for part in row.representations}
    is_group = isinstance(row.options, type) and issubclass(row.options, Options)
    rules = (
        (bool(re.fullmatch(r"[a-z][a-z0-9_]*", row.name)), "its name is not of small letters, digits and _"),
        (bool(row.title and row.prompt), "title or prompt is empty"),
        (0 < len(set(row.channels)) == len(row.channels), "channels are missing or named twice"),
        (row.value_range[0] < row.value_range[1], "value_range is not low < high"),
        (
            [len(weights) for weights in row.pseudo_rgb] == [3] * len(row.channels),
            f"pseudo_rgb is not one (r, g, b) for each of {len(row.channels)} channels",
        ),
        (
            {*row.flip_negates, *row.nearest} <= {*row.channels},
            "flip_negates or nearest names other channels",
        ),
        (is_group, "options is not a group of options"),
        (0 < len(set(readers)) == len(readers), "readers are missing or named twice"),
        (len(set(made)) == len(made), "representations are named twice"),
        (row.representation in made, f"there is no representation '{row.representation}', its default"),
        (owners == {row.name}, f"readers and representations are of {', '.join(sorted(owners))}"),
    )
    return [problem for is_right, problem in rules if not is_right]
