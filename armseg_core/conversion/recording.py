"""A recording, opened once: what it is, and its frames. Everything that is done with a recording begins here.

Raw events are read window by window from the open file, a still picture or point cloud is decoded when it is
opened, and a sensor-tensor file gives its stored frames.

Shape letters: C channels, H rows, W columns.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from armseg_core.arrays import EventSource, Frame, PointCloud
from armseg_core.conversion.reading import Reading
from armseg_core.errors import FormatError, InputError, UsageError
from armseg_core.files.tensor_file import SensorTensor, TensorFile, TensorInfo, is_tensor_file, source_name
from armseg_core.resizing import resize_model_tensor
from armseg_core.sensors.modalities import IMAGE, declaration_of, get_modality
from armseg_core.sensors.reader import Reader
from armseg_core.sensors.representations import get_representation, model_tensor

_AGAIN = "convert the recording again"
_LOOKED_AT = 32  # frames of a tensor file, spread evenly, to find a full one; a free choice


class Recording:
    """An open recording; a context manager that closes it.

    Its frames are those of its representation (`frames`, `read`); `frame` gives what a model takes.

    path: the file or folder. sensor: its row in `modalities.py`, by name. representation: name of what the
    frames are. reader: the raw format, None for a sensor-tensor file. content: what the reader gave
    (EventSource, Thermal, Depth, ...; see `Reader`), or the TensorFile. The kinds of recordings are
    subclasses, made by `Recording.open`.
    """

    def __init__(
        self, path: Path, sensor: str, representation: str, reader: Reader | None, content: Any
    ) -> None:
        self.path, self.sensor, self.representation = path, sensor, representation
        self.reader, self.content = reader, content

    @staticmethod
    def open(
        path: str | os.PathLike[str],
        modality: str | None = None,
        options: dict[str, Any] | None = None,
        representation: str | None = None,
    ) -> Recording:
        """Open a raw recording or a sensor-tensor file.

        Args:
            path: file, or folder that is one recording.
            modality: sensor, when content and name leave it open.
            options: fields of the sensor's options group, for raw recordings.
            representation: row of REPRESENTATIONS (default: the sensor's). A sensor-tensor file has only its
                own.

        Raises:
            ArmsegError: unreadable recording, wrong sensor, representation or options.
        """
        path = Path(path)
        if path.is_file() and is_tensor_file(path):
            return _Stored(path, modality, representation)
        return Recording.of(Reading.find(path, modality, options, representation))

    @staticmethod
    def of(reading: Reading) -> Recording:
        """Open a raw recording that has been recognized already.

        Raises:
            ArmsegError: unreadable recording.
        """
        content = reading.reader.read(reading.path, reading.options)
        kind = _EventRecording if isinstance(content, EventSource) else _Still
        return kind(reading, content)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of a model tensor when no size is asked for.

        Raises:
            ArmsegError: no frame can be made of this recording.
        """
        raise NotImplementedError

    @property
    def span_us(self) -> tuple[int, int] | None:
        """Absolute times (first, last) in microseconds; None for a recording without a clock."""
        return None

    @property
    def events(self) -> int | None:
        """How many events it holds; None for one that does not hold single events."""
        return None

    @property
    def notes(self) -> tuple[str, ...]:
        """What the reader of events has dropped or repaired so far; the other readers give warnings."""
        return ()

    @property
    def parameters(self) -> dict[str, Any]:
        """The options that the frames are made with, by name.

        Those of a sensor-tensor file are the ones it was made with.
        """
        raise NotImplementedError

    def count(self, *, trusting: bool = False) -> int:
        """How many frames `frames` gives. trusting: see there."""
        return 1

    def frames(self, *, trusting: bool = False) -> Iterator[Frame]:
        """All frames in order, made one at a time: memory is bounded by one frame and what it is made of.

        Args:
            trusting: do not scan raw events for disorder of their times first. Where disorder then shows, the
                source's `OutOfOrder` is raised and everything made so far is void.

        Raises:
            ArmsegError: a frame cannot be made.
        """
        raise NotImplementedError

    def fullest(self) -> int:
        """Number of the frame that shows most: of windows of events the fullest, else the middle one."""
        return self.count() // 2

    def read(self, index: int) -> Frame:
        """One of `frames` by its number; negative counts from the end.

        Raises:
            UsageError: there is no such frame. ArmsegError: it cannot be made.
        """
        count = self.count()
        if not count:
            raise FormatError("holds no frames", where=self.path, hint=_AGAIN)
        if not -count <= index < count:
            raise UsageError(f"no frame {index}", where=self.path, expected=f"0 to {count - 1}")
        return self._read(index % count)

    def _read(self, index: int) -> Frame:
        return next(islice(self.frames(), index, None))

    def represented(self, representation: str) -> Recording:
        """The same raw recording, read already, with frames of another representation.

        Raises:
            UsageError: the sensor has no such representation, or the recording is a sensor-tensor file.
        """
        raise UsageError("holds the frames of one representation", where=self.path, hint=_AGAIN)

    def info(self, frame: Frame) -> TensorInfo:
        """What a sensor-tensor file says about a frame of this recording."""
        return TensorInfo(
            self.sensor,
            self.representation,
            frame.channels,
            frame.units,
            frame.value_range,
            {"reader": self.reader.name} if self.reader else {},
            source_name=source_name(self.path),
        )

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
        made = self._model_frame(size, at_us)
        values = resize_model_tensor(made.values, get_modality(self.sensor), size)
        return SensorTensor(values[None], np.array([made.t_us], np.int64), self.info(made))

    def _model_frame(self, size: tuple[int, int] | None, at_us: int | None) -> Frame:
        """The model tensor at a time; sparse data at `size`, others at their own."""
        raise NotImplementedError

    def _as_model(self, frame: Frame) -> Frame:
        """A frame as the model tensor of the sensor.

        Raises:
            FormatError: it cannot be turned into it.
        """
        row = get_modality(self.sensor)
        values = model_tensor(row.name, frame.values, frame.channels)
        if values is None:
            raise FormatError(
                f"has the channels {', '.join(frame.channels[:8])}",
                where=f"{self.path} ({self.representation})",
                expected=", ".join(row.channels) + " for a model",
                hint=f"the representation {row.representation} with its default options",
            )
        names = row.channels or frame.channels  # a picture of any bands has those of its file
        units = frame.units if len(frame.units) == len(names) else ("",) * len(names)
        return Frame(values, names, units, row.value_range, frame.t_us)

    def close(self) -> None:
        """Release the file."""

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class _Stored(Recording):
    """A sensor-tensor file."""

    content: TensorFile

    def __init__(self, path: Path, modality: str | None, representation: str | None) -> None:
        file = TensorFile(path)
        super().__init__(path, file.info.modality, file.info.representation, None, file)
        try:
            self._check(modality, representation)
        except UsageError:
            self.close()
            raise

    def _check(self, modality: str | None, representation: str | None) -> None:
        wanted = None if modality is None else get_modality(modality).name
        if wanted is not None and self.sensor == IMAGE.name and declaration_of(wanted):
            self.sensor = wanted  # made before the sensor was declared, or outside of its data set
        if modality is not None and wanted != self.sensor:
            raise UsageError(
                f"holds frames of the sensor '{self.sensor}'",
                where=self.path,
                expected=get_modality(modality).name,
                hint=f"--modality {self.sensor}",
            )
        if representation is not None and representation != self.representation:
            raise UsageError(
                f"holds frames of the representation '{self.representation}'",
                where=self.path,
                expected=representation,
                hint=f"the recording itself with --representation {representation}",
            )

    @property
    def size(self) -> tuple[int, int]:
        h, w = self.content.frames.shape[-2:]
        return h, w

    @property
    def span_us(self) -> tuple[int, int] | None:
        times = self.content.t_us
        return (int(times[0]), int(times[-1])) if len(times) else None

    @property
    def parameters(self) -> dict[str, Any]:
        return self.content.info.parameters

    def count(self, *, trusting: bool = False) -> int:
        return len(self.content)

    def frames(self, *, trusting: bool = False) -> Iterator[Frame]:
        return map(self._read, range(len(self.content)))

    def fullest(self) -> int:
        middle = super().fullest()
        if self.sensor != "event":
            return middle
        some = sorted({middle, *range(0, len(self.content), -(-len(self.content) // _LOOKED_AT) or 1)})
        return max(some, key=lambda i: (np.count_nonzero(self.content.frame(i)), -abs(i - middle)), default=0)

    def _read(self, index: int) -> Frame:
        file, info = self.content, self.content.info
        values, t_us = file.frame(index), int(file.t_us[index])
        low, high = info.value_range
        try:
            return Frame(values, info.channels, info.units, (low, high), t_us)
        except FormatError as error:
            raise FormatError(error.what, where=self.path, expected=error.expected, hint=_AGAIN) from error

    def info(self, frame: Frame) -> TensorInfo:
        channels, units, value_range = frame.channels, frame.units, frame.value_range
        return replace(
            self.content.info, modality=self.sensor, channels=channels, units=units, value_range=value_range
        )

    def _model_frame(self, size: tuple[int, int] | None, at_us: int | None) -> Frame:
        times = self.content.t_us
        index = -1 if at_us is None or not len(times) else int(np.argmin(np.abs(times - at_us)))
        return self._as_model(self.read(index))

    def close(self) -> None:
        self.content.close()


class _Raw(Recording):
    """A raw recording, represented as its reading says."""

    def __init__(self, reading: Reading, content: Any) -> None:
        super().__init__(reading.path, reading.sensor, reading.row.name, reading.reader, content)
        self._reading, self._make = reading, reading.row.make
        self._options: Any = reading.options  # of the sensor's group

    @property
    def parameters(self) -> dict[str, Any]:
        return dict(self._options)

    def represented(self, representation: str) -> Recording:
        row = get_representation(self.sensor, representation)
        return type(self)(replace(self._reading, row=row), self.content)

    def _options_at(self, size: tuple[int, int] | None) -> Any:
        return self._options if size is None else self._options.model_copy(update={"size": size})


class _EventRecording(_Raw):
    """Raw events: the file stays open and is read window by window."""

    content: EventSource

    @property
    def size(self) -> tuple[int, int]:
        from armseg_core.sensors.event.kernels import Grid

        grid = Grid.of(self.content.size, self._options.size, self._options.crop_bottom)
        return grid.height, grid.width

    @property
    def span_us(self) -> tuple[int, int] | None:
        return self.content.t_first_us, self.content.t_last_us

    @property
    def events(self) -> int | None:
        return self.content.count

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(self.content.notes)

    def count(self, *, trusting: bool = False) -> int:
        from armseg_core.sensors.event.windows import count_windows

        return count_windows(self.content, self._options, trusting=trusting)

    def frames(self, *, trusting: bool = False) -> Iterator[Frame]:
        from armseg_core.sensors.event.windows import iterate_windows

        for events, t0_us, t1_us in iterate_windows(self.content, self._options, trusting=trusting):
            yield self._make(events, self._options, t0_us, t1_us)

    def fullest(self) -> int:
        from armseg_core.sensors.event.windows import iterate_windows

        middle = super().fullest()
        filled = [len(events) for events, *_ in iterate_windows(self.content, self._options)]
        return max(range(len(filled)), key=lambda i: (filled[i], -abs(i - middle)), default=0)

    def _read(self, index: int) -> Frame:
        from armseg_core.sensors.event.windows import iterate_windows

        windows = iterate_windows(self.content, self._options)  # the others are not read
        events, t0_us, t1_us = next(islice(windows, index, None))
        return self._make(events, self._options, t0_us, t1_us)

    def _model_frame(self, size: tuple[int, int] | None, at_us: int | None) -> Frame:
        from armseg_core.sensors.event.windows import window_ending_at

        source, options = self.content, self._options_at(size)
        end_us = source.t_last_us + 1 if at_us is None else at_us
        first, last = source.t_first_us + 1, source.t_last_us + options.window
        if not first <= end_us <= last:
            raise InputError(
                f"time {end_us} us is outside the recording",
                where=self.path,
                expected=f"{first} to {last} us",
            )
        events, t0_us, t1_us = window_ending_at(source, options, end_us)
        return self._as_model(self._make(events, options, t0_us, t1_us))

    def close(self) -> None:
        self.content.close()


class _Still(_Raw):
    """A picture, light field or point cloud, decoded when it is opened."""

    @cached_property
    def _model(self) -> Frame:
        """The model tensor at the recording's own size."""
        return self._as_model(self._make(self.content, self._options))

    @property
    def size(self) -> tuple[int, int]:
        if isinstance(self.content, PointCloud) and self.content.calibration is not None:
            return self._options.size or self.content.calibration.size
        h, w = self._model.values.shape[1:]
        return h, w

    def frames(self, *, trusting: bool = False) -> Iterator[Frame]:
        yield self._make(self.content, self._options)

    def _model_frame(self, size: tuple[int, int] | None, at_us: int | None) -> Frame:
        if isinstance(self.content, PointCloud):
            return self._as_model(self._make(self.content, self._options_at(size)))
        made = self._model
        if size is None or made.values.shape[1:] == tuple(size):
            return replace(made, values=made.values.copy())  # the caller may write to what he gets
        return made
