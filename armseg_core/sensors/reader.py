"""The contract of every raw format: one `Reader` row, made of one reading function and one content test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Reader:
    """One raw format of one sensor.

    name: short unique name, such as "dsec" or "png16-depth".
    modality: row of MODALITIES the data belongs to.
    title: human name, such as "DSEC events.h5".
    patterns: usual file names or suffixes, for help and the README table.
    matches: cheap content test (magic bytes, HDF5 keys, folder contents); it never raises and reads only a little.
    read: (path, options of the modality's group) -> EventSource | EventPicture | EventMoments | LightField |
        PolarizedImages | Stokes | Thermal | Depth | HhaImage | PointCloud. Raises FormatError for damaged data
        and MissingExtraError without its package.
    extra: the pip extra it needs, "" for none. notes: one line for the README table.
    refuse: when set, the format is recognised but not readable, and this text says what to do instead.
    """

    name: str
    modality: str
    title: str
    patterns: tuple[str, ...]
    matches: Callable[[Path], bool]
    read: Callable[[Path, Any], Any]
    extra: str = ""
    notes: str = ""
    refuse: str = ""
