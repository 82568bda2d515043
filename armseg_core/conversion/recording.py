"""A recording, opened once: what it is, and its frames as model tensors.

Raw events are read window by window from the open file, a still picture or point cloud is decoded when it is
opened, and a sensor-tensor file gives its stored frames.

Shape letters: C channels, H rows, W columns.
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from armseg_core.arrays import EventSource, Frame, PointCloud
from armseg_core.conversion.plan import parse_options
from armseg_core.errors import FormatError, InputError, UsageError
from armseg_core.files.tensor_file import SensorTensor, TensorFile, TensorInfo, is_tensor_file
from armseg_core.sensors.modalities import Modality, get_modality
from armseg_core.sensors.reader import Reader
from armseg_core.sensors.recognition import sniff
from armseg_core.sensors.representations import get_representation, model_tensor
from armseg_core.sensors.resizing import resize_model_tensor


class Recording:
    """An open recording; a context manager that closes it.

    path: the file or folder. sensor: its row in `modalities.py`, by name. reader: the raw format, None for a
    sensor-tensor file. The kinds of recordings are subclasses, made by `Recording.open`.
    """

    def __init__(self, path: Path, sensor: str, reader: Reader | None) -> None:
        self.path, self.sensor, self.reader = path, sensor, reader

    @staticmethod
    def open(
        path: str | os.PathLike[str], modality: str | None = None, options: dict[str, Any] | None = None
    ) -> Recording:
        """Open a raw recording or a sensor-tensor file.

        Args:
            path: file, or folder that is one recording.
            modality: sensor, when content and name leave it open.
            options: fields of the sensor's options group, for raw recordings.

        Raises:
            ArmsegError: unreadable recording, wrong sensor or options.
        """
        path = Path(path)
        if path.is_file() and is_tensor_file(path):
            return _Stored(path, modality)
        reader = sniff(path, modality)
        parsed = parse_options(reader.modality, options or {})
        data = reader.read(path, parsed)
        if isinstance(data, EventSource):
            return _EventRecording(path, reader, parsed, data)
        return _Still(path, reader, parsed, data)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of a frame when no size is asked for.

        Raises:
            ArmsegError: no frame can be made of this recording.
        """
        raise NotImplementedError

    @property
    def span_us(self) -> tuple[int, int] | None:
        """Absolute times (first, last) in microseconds; None for a recording without a clock."""
        return None

    @property
    def notes(self) -> tuple[str, ...]:
        """What the reader of events has dropped or repaired so far; the other readers give warnings."""
        return ()

    @property
    def parameters(self) -> dict[str, Any]:
        """The options that the frames are made with, by name; of a sensor-tensor file those it was made
        with."""
        raise NotImplementedError

    def frame(self, size: tuple[int, int] | None = None, at_us: int | None = None) -> SensorTensor:
        """One model tensor, with the channels of the sensor's row in `modalities.py`.

        Args:
            size: (H, W) of the result. Raw events and point clouds are scaled by their coordinates;
                everything else is resized by the sensor's rule (`resizing.py`). Default: the recording's own
                size.
            at_us: absolute time in microseconds. Raw events: the window (default 50 ms) that ends there, by
                default at the end of the recording. Sensor-tensor file: the frame nearest to it, by default
                the last. Of no meaning for a still picture.

        Returns:
            SensorTensor with frames (1, C, H, W) float32, which are the caller's own, and t_us (1,).

        Raises:
            ArmsegError: a time outside the recording, or frames that are not a model's input.
        """
        values, t_us, info = self._made(size, at_us)
        row = get_modality(self.sensor)
        info = replace(
            info,
            channels=row.channels,
            value_range=row.value_range,
            units=info.units if len(info.units) == row.num_channels else ("",) * row.num_channels,
        )
        values = resize_model_tensor(values, row, size)
        return SensorTensor(values[None], np.array([t_us], np.int64), info)

    def _made(self, size: tuple[int, int] | None, at_us: int | None) -> tuple[np.ndarray, int, TensorInfo]:
        """(model tensor (C, H, W), time, what it is); sparse data at `size`, others at their own."""
        raise NotImplementedError

    def close(self) -> None:
        """Release the file."""

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class _Stored(Recording):
    """A sensor-tensor file."""

    def __init__(self, path: Path, modality: str | None) -> None:
        self._file = TensorFile(path)
        super().__init__(path, self._file.info.modality, None)
        if modality is not None and get_modality(modality).name != self.sensor:
            self.close()
            raise UsageError(
                f"holds frames of the sensor '{self.sensor}'",
                where=path,
                expected=get_modality(modality).name,
                hint=f"--modality {self.sensor}",
            )

    @property
    def size(self) -> tuple[int, int]:
        h, w = self._file.frames.shape[-2:]
        return h, w

    @property
    def span_us(self) -> tuple[int, int] | None:
        times = self._file.t_us
        return (int(times[0]), int(times[-1])) if len(times) else None

    @property
    def parameters(self) -> dict[str, Any]:
        return self._file.info.parameters

    def _made(self, size: tuple[int, int] | None, at_us: int | None) -> tuple[np.ndarray, int, TensorInfo]:
        file, info = self._file, self._file.info
        if not len(file):
            raise FormatError("holds no frames", where=self.path, hint="convert the recording again")
        index = len(file) - 1 if at_us is None else int(np.argmin(np.abs(file.t_us - at_us)))
        where = f"{self.path} ({info.representation})"
        tensor = _as_model_tensor(file.frame(index), info.channels, get_modality(self.sensor), where)
        return tensor, int(file.t_us[index]), info

    def close(self) -> None:
        self._file.close()


class _Raw(Recording):
    """A raw recording, represented by its sensor's default representation."""

    def __init__(self, path: Path, reader: Reader, options: Any) -> None:
        super().__init__(path, get_modality(reader.modality).name, reader)
        self._options = options  # of the sensor's group
        self._row = get_representation(self.sensor)

    @property
    def parameters(self) -> dict[str, Any]:
        return dict(self._options)

    def _options_at(self, size: tuple[int, int] | None) -> Any:
        return self._options if size is None else self._options.model_copy(update={"size": size})

    def _tensor(self, frame: Frame) -> tuple[np.ndarray, TensorInfo]:
        assert self.reader is not None
        info = TensorInfo(
            self.sensor,
            self._row.name,
            frame.channels,
            frame.units,
            frame.value_range,
            {"reader": self.reader.name},
            source_name=self.path.absolute().name,
        )
        return _as_model_tensor(frame.values, frame.channels, get_modality(self.sensor), str(self.path)), info


class _EventRecording(_Raw):
    """Raw events: the file stays open and is read window by window."""

    def __init__(self, path: Path, reader: Reader, options: Any, source: EventSource) -> None:
        super().__init__(path, reader, options)
        self._source = source

    @property
    def size(self) -> tuple[int, int]:
        from armseg_core.sensors.event.kernels import Grid

        grid = Grid.of(self._source.size, self._options.size, self._options.crop_bottom)
        return grid.height, grid.width

    @property
    def span_us(self) -> tuple[int, int] | None:
        return self._source.t_first_us, self._source.t_last_us

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(self._source.notes)

    def _made(self, size: tuple[int, int] | None, at_us: int | None) -> tuple[np.ndarray, int, TensorInfo]:
        from armseg_core.sensors.event.windows import window_ending_at

        source, options = self._source, self._options_at(size)
        end_us = source.t_last_us + 1 if at_us is None else at_us
        first, last = source.t_first_us + 1, source.t_last_us + options.window
        if not first <= end_us <= last:
            raise InputError(
                f"time {end_us} us is outside the recording",
                where=self.path,
                expected=f"{first} to {last} us",
            )
        events, t0_us, t1_us = window_ending_at(source, options, end_us)
        tensor, info = self._tensor(self._row.make(events, options, t0_us, t1_us))
        return tensor, end_us, info

    def close(self) -> None:
        self._source.close()


class _Still(_Raw):
    """A picture, light field or point cloud, decoded when it is opened."""

    def __init__(self, path: Path, reader: Reader, options: Any, data: Any) -> None:
        super().__init__(path, reader, options)
        self._data = data

    @cached_property
    def _own(self) -> tuple[np.ndarray, TensorInfo]:
        """The model tensor at the recording's own size."""
        return self._tensor(self._row.make(self._data, self._options))

    @property
    def size(self) -> tuple[int, int]:
        if isinstance(self._data, PointCloud) and self._data.calibration is not None:
            return self._options.size or self._data.calibration.size
        h, w = self._own[0].shape[1:]
        return h, w

    def _made(self, size: tuple[int, int] | None, at_us: int | None) -> tuple[np.ndarray, int, TensorInfo]:
        if isinstance(self._data, PointCloud):
            tensor, info = self._tensor(self._row.make(self._data, self._options_at(size)))
            return tensor, 0, info
        tensor, info = self._own
        keeps_its_size = size is None or tensor.shape[1:] == tuple(size)
        return tensor.copy() if keeps_its_size else tensor, 0, info


def _as_model_tensor(
    frame: np.ndarray, channels: tuple[str, ...], modality: Modality, where: str
) -> np.ndarray:
    tensor = model_tensor(modality.name, frame, channels)
    if tensor is None:
        raise FormatError(
            f"has the channels {', '.join(channels[:8])}",
            where=where,
            expected=", ".join(modality.channels) + " for a model",
            hint=f"the representation {modality.representation} with its default options",
        )
    return tensor
