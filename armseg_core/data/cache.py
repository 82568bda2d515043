"""Converted sensor frames kept in memory and on disk: a raw file is converted once and not every epoch."""

from __future__ import annotations

import hashlib
import json
import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import armseg_core
from armseg_core.errors import ArmsegError
from armseg_core.files.tensor_file import SensorTensor, TensorFile
from armseg_core.sensors.modalities import get_modality
from armseg_core.sensors.recognition import recording_files


class TensorCache:
    """Two levels: a bounded in-memory cache (least recently used goes first), then a folder of tensor files.

    Both hold the float32 frames unchanged, so that results do not depend on the cache. Each data-loader
    worker has its own memory level; the folder is shared (files are written atomically).

    Args:
        memory_mb: bound of the memory level in MiB; 0 switches it off.
        folder: folder of the disk level; None switches it off. It may be deleted at any time.
    """

    def __init__(self, memory_mb: float = 0, folder: str | os.PathLike[str] | None = None) -> None:
        self.limit = int(memory_mb * 2**20)
        self.folder = None if folder is None else Path(folder)
        self.used = 0
        self._entries: OrderedDict[str, np.ndarray] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        """What a data-loader worker receives: the settings, not the kept frames."""
        return {**self.__dict__, "used": 0, "_entries": OrderedDict()}

    def get(self, source: Path, parameters: dict[str, Any], make: Callable[[], SensorTensor]) -> np.ndarray:
        """The frame (C, H, W) float32 made from `source` with `parameters`; calls `make` when it is not kept.

        The array is the caller's own.
        """
        if not self.limit and self.folder is None:
            return _frame(make())
        key = cache_key(source, parameters)
        frame = self._entries.get(key)
        if frame is not None:
            self._entries.move_to_end(key)
            return frame.copy()
        frame = self._from_folder(key, make)
        if frame.nbytes <= self.limit:
            self._entries[key] = frame
            self.used += frame.nbytes
            while self.used > self.limit:
                self.used -= self._entries.popitem(last=False)[1].nbytes
            return frame.copy()
        return frame

    def _from_folder(self, key: str, make: Callable[[], SensorTensor]) -> np.ndarray:
        if self.folder is None:
            return _frame(make())
        path = self.folder / f"{key}.h5"
        if path.is_file():
            try:
                with TensorFile(path) as file:
                    return np.asarray(file.frame(0), np.float32)
            except (ArmsegError, IndexError):
                pass  # damaged: made again below
        tensor = make()
        frame = _frame(tensor)
        SensorTensor(frame[None], tensor.t_us[:1], tensor.info).save(path, "blosc")
        return frame


def _frame(tensor: SensorTensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.frames[0], dtype=np.float32)


def cache_key(source: Path, parameters: dict[str, Any]) -> str:
    """A name that changes when a file the recording consists of, the parameters or armseg change.

    Args:
        source: recording or sensor-tensor file.
        parameters: "modality", "options" (fields of its group) and whatever else the frame depends on.

    Raises:
        UsageError: options that the sensor does not have, or bad values.
    """
    modality, given = parameters["modality"], parameters.get("options", {})
    row = get_modality(modality)
    options = row.options.parse({name: value for name, value in given.items() if value is not None})
    files = _stamp(recording_files(source, modality, options))
    made_from = [armseg_core.__version__, str(source.resolve()), files, parameters, row.channels]
    text = json.dumps(made_from, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _stamp(files: tuple[Path, ...]) -> list[tuple[str, int, int]]:
    """(path, size, modification time) of the files that exist."""
    found = [(file, file.stat()) for file in files if file.is_file()]
    return sorted((str(file.absolute()), stat.st_size, stat.st_mtime_ns) for file, stat in found)
