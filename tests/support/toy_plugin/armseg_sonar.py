"""A sensor from outside: everything armseg needs to know of a sonar, in one module and one row.

A recording is `SONAR1`, two little-endian uint32 (rows, columns) and as many float32 echoes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydantic import Field

from armseg_core.arrays import Frame
from armseg_core.config.base import Options
from armseg_core.errors import FormatError
from armseg_core.files.tensor_file import TensorInfo
from armseg_core.sensors.modality import Modality
from armseg_core.sensors.reader import Reader
from armseg_core.sensors.representation import Representation
from armseg_core.visualization.canvas import Panel
from armseg_core.visualization.colors import apply_color_map
from armseg_core.visualization.panels import mapped

MAGIC = b"SONAR1"


class SonarOptions(Options):
    """How echoes are read."""

    gain: float = Field(1.0, gt=0, description="Factor on the echoes.")


def write(path: Path, values: np.ndarray) -> Path:
    """values: (H, W) echoes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(MAGIC + np.array(values.shape, "<u4").tobytes() + values.astype("<f4").tobytes())
    return path


def matches(path: Path) -> bool:
    """True for a file that begins as a sonar dump does."""
    if not path.is_file():
        return False
    with open(path, "rb") as stream:
        return stream.read(len(MAGIC)) == MAGIC


def read(path: Path, options: SonarOptions) -> np.ndarray:
    """(H, W) float32 echoes.

    Raises:
        FormatError: the file is not as long as its size says.
    """
    data = path.read_bytes()[len(MAGIC) :]
    h, w = (int(n) for n in np.frombuffer(data[:8], "<u4"))
    if len(data) != 8 + 4 * h * w:
        raise FormatError("the sonar file is truncated", where=path, expected=f"{8 + 4 * h * w} bytes")
    return np.frombuffer(data[8:], "<f4").reshape(h, w) * np.float32(options.gain)


def echo(values: np.ndarray, options: SonarOptions) -> Frame:
    """Echoes as they are, and how they change from row to row."""
    slope = np.diff(values, axis=0, prepend=values[:1])
    return Frame(np.stack([values, slope]).astype(np.float32), ("echo", "slope"), ("dB", "dB"), (0.0, 1.0))


def picture(frame: np.ndarray) -> np.ndarray:
    """The model tensor (2, H, W) as RGB: echoes from 0 to 1 in magma."""
    return apply_color_map(frame[0], 0.0, 1.0, "magma")


def panels(frame: np.ndarray, info: TensorInfo) -> list[Panel] | None:
    """The echoes alone."""
    return [mapped(frame[0], "magma", "dB", "echo")] if info.channels == SENSOR.channels else None


SENSOR = Modality(
    name="sonar",
    title="sonar",
    prompt="sonar image",
    channels=("echo", "slope"),
    value_range=(0.0, 1.0),
    representation="echo",
    pseudo_rgb=((1.0, 1.0, 1.0), (0.0, 0.0, 0.5)),
    options=SonarOptions,
    readers=(Reader("sonar1", "sonar", "sonar dump", ("*.sonar",), matches, read, notes="a toy"),),
    representations=(Representation("echo", "sonar", "echo", "the echoes", echo),),
    aliases=("echosounder",),
    picture=picture,
    panels=panels,
)
