"""The sensor-tensor file: what `convert` writes and everything else reads.

HDF5 layout (readable by plain h5py; with Blosc, which is quicker, only where hdf5plugin is imported too):
    /frames  (N, C, H, W) float16 | float32 | uint8 | uint16, one chunk per frame, shuffle + deflate or Blosc
    /t_us    (N,) int64 end time of each frame in microseconds, absolute (0 for sensors without a clock)
    attributes of /: modality, representation, parameters (JSON), channels (JSON list), units (JSON list),
        value_range (JSON [low, high]), source_name, source_sha256, source_hash (how the hash was made),
        armseg_version, format_version, complete, sealed (not in files from before there were seals)
    behind the HDF5 data: a seal (`ownership.py`), which HDF5 removes when the file is opened for writing

A file is written under a temporary name in the target folder and renamed when it is whole: a killed run never
leaves a file that looks finished.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import armseg_core
from armseg_core import advice
from armseg_core.errors import FormatError, InputError, OutputError
from armseg_core.files import deflate
from armseg_core.files.atomic import atomic_path
from armseg_core.files.facts import refuse_special
from armseg_core.files.hdf5 import blosc, create_hdf5, gzip, look_into, open_hdf5, refuse_unstored
from armseg_core.files.json_text import to_json
from armseg_core.files.limits import refuse_bomb
from armseg_core.files.ownership import seal_end

FORMAT_VERSION = 1  # raised when older versions of armseg would misread a file: they refuse a larger number
DTYPES = ("float16", "float32", "uint8", "uint16")
COMPRESSIONS = ("gzip", "blosc")  # the first is the default: every HDF5 library has it


@dataclass(frozen=True)
class TensorInfo:
    """What a sensor-tensor file says about itself (its attributes)."""

    modality: str
    representation: str
    channels: tuple[str, ...]
    units: tuple[str, ...]
    value_range: tuple[float, float]
    parameters: dict[str, Any] = field(default_factory=dict)
    source_name: str = ""
    source_sha256: str = ""
    armseg_version: str = ""
    source_hash: str = "sha256"  # how source_sha256 was made: of every byte, or of samples of a large file


def source_name(path: Path) -> str:
    """The name of a recording as its tensor file holds it; bytes that are not UTF-8, as escapes."""
    return path.absolute().name.encode("utf-8", "backslashreplace").decode("utf-8")


@dataclass(frozen=True)
class SensorTensor:
    """frames: (N, C, H, W). t_us: (N,) int64. info: how the frames were made."""

    frames: np.ndarray
    t_us: np.ndarray
    info: TensorInfo

    def __post_init__(self) -> None:
        if self.frames.ndim != 4 or self.frames.shape[1] != len(self.info.channels):
            raise FormatError(
                f"frames have shape {self.frames.shape}", expected=f"(N, {len(self.info.channels)}, H, W)"
            )
        if self.t_us.shape != (len(self.frames),) or self.t_us.dtype != np.int64:
            raise FormatError(
                f"t_us is {self.t_us.dtype} {self.t_us.shape}", expected=f"int64 ({len(self.frames)},)"
            )

    def save(self, path: str | os.PathLike[str], compression: str = COMPRESSIONS[0]) -> None:
        """Write all frames to a sensor-tensor file (atomic)."""
        n, _, h, w = self.frames.shape
        dtype = str(self.frames.dtype)
        with TensorWriter(path, self.info, size=(h, w), dtype=dtype, compression=compression) as writer:
            for i in range(n):
                writer.append(self.frames[i], int(self.t_us[i]))


_THREADS = 2  # to compress; free choice: folders are converted by one process per core anyway


class _Sink:
    """The file HDF5 writes to.

    When a write fails (disk full, quota), the error is kept and the rest is dropped, so that HDF5 can close
    the file: it crashes the process when it cannot write its last bytes.
    """

    def __init__(self, path: Path) -> None:
        self._file = open(path, "w+b", buffering=0)  # noqa: SIM115
        self.error: OSError | None = None
        self.seek, self.tell = self._file.seek, self._file.tell
        self.read, self.close = self._file.read, self._file.close

    def readinto(self, buffer: memoryview) -> int:
        got = self._file.readinto(buffer) or 0
        buffer[got:] = bytes(len(buffer) - got)
        return len(buffer)

    def write(self, data: memoryview) -> int:
        rest = memoryview(data)
        while len(rest) and self.error is None:
            try:
                rest = rest[self._file.write(rest) or 0 :]
            except OSError as error:
                self.error = error
        return len(data)

    def truncate(self, size: int) -> int:
        if self.error is None:
            try:
                self._file.truncate(size)
            except OSError as error:
                self.error = error
        return size

    def flush(self) -> None: ...


class TensorWriter:
    """Writes a sensor-tensor file frame by frame, in bounded memory; it appears when the block ends well.

    Args:
        size: (H, W) of the frames. dtype: one of DTYPES. compression: one of COMPRESSIONS.

    Raises:
        OutputError: the folder cannot be written, or the disk is full. FormatError: a frame of another shape.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        info: TensorInfo,
        size: tuple[int, int],
        dtype: str = "float16",
        compression: str = COMPRESSIONS[0],
    ) -> None:
        if dtype not in DTYPES:
            raise ValueError(f"dtype {dtype}, expected one of {DTYPES}")
        if compression not in COMPRESSIONS:
            raise ValueError(f"compression {compression}, expected one of {COMPRESSIONS}")
        self.path, self.info, self.size, self.dtype = Path(path), info, size, dtype
        self.compression = compression
        self._stack = contextlib.ExitStack()
        self._times: list[int] = []
        self._pending: deflate.Pieces | None = None  # the last frame, while threads compress it

    def __enter__(self) -> TensorWriter:
        with contextlib.ExitStack() as stack:
            temporary = stack.enter_context(atomic_path(self.path))
            self._pool = stack.enter_context(ThreadPoolExecutor(_THREADS))
            self._file = stack.enter_context(self._opened(temporary))
            self._frames = self._new_frames()
            self._stack = stack.pop_all()  # from here on __exit__ ends it
        return self

    @contextlib.contextmanager
    def _opened(self, temporary: Path) -> Iterator[Any]:
        self._sink = _Sink(temporary)
        try:
            with create_hdf5(self._sink, libver="v110") as file:
                yield file
                self._finish(file)
        finally:
            self._sink.close()
        self._check()
        seal_end(temporary)

    def _new_frames(self) -> Any:
        shape = (len(self.info.channels), *self.size)
        return self._file.create_dataset(
            "frames",
            shape=(0, *shape),
            maxshape=(None, *shape),
            chunks=(1, *shape),
            dtype=self.dtype,
            **(blosc("lz4", 1) if self.compression == "blosc" else gzip()),
        )

    def append(self, frame: np.ndarray, t_us: int) -> None:
        """Add one frame (C, H, W); it is cast to the file's dtype (a uint dtype must already fit)."""
        n = len(self._times)
        if frame.shape != self._frames.shape[1:]:
            raise FormatError(
                f"frame {n} has shape {frame.shape}", where=self.path, expected=str(self._frames.shape[1:])
            )
        if self.compression == "blosc":
            self._frames.resize(n + 1, axis=0)
            self._frames[n] = frame
        else:
            self._write_pending()
            self._pending = deflate.start(frame.astype(self.dtype, copy=False), self._pool)
        self._times.append(int(t_us))
        self._check()

    def _write_pending(self) -> None:
        """Write the frame that was compressed while the next one was made."""
        if self._pending is not None:
            n = len(self._times)
            self._frames.resize(n, axis=0)
            self._frames.id.write_direct_chunk((n - 1, 0, 0, 0), deflate.finish(self._pending))
            self._pending = None

    def _check(self) -> None:
        error = self._sink.error
        if error is not None:
            raise OutputError(
                f"cannot write: {(error.strerror or str(error)).lower()}",
                where=self.path,
                hint="free some space, or another disk with -o/--output",
            ) from error

    def _finish(self, file: Any) -> None:
        self._write_pending()
        file.create_dataset("t_us", data=np.asarray(self._times, np.int64))
        info = self.info
        file.attrs.update(
            {
                "modality": info.modality,
                "representation": info.representation,
                "parameters": to_json(info.parameters, sort_keys=True),
                "channels": to_json(info.channels),
                "units": to_json(info.units),
                "value_range": to_json(info.value_range),
                "source_name": info.source_name,
                "source_sha256": info.source_sha256,
                "source_hash": info.source_hash,
                "armseg_version": info.armseg_version or armseg_core.__version__,
                "format_version": FORMAT_VERSION,
                "complete": True,
                "sealed": True,
            }
        )

    def __exit__(self, *exc: Any) -> bool | None:
        return self._stack.__exit__(*exc)


def is_tensor_file(path: str | os.PathLike[str]) -> bool:
    """True when the file is a sensor-tensor file of armseg (any version), without reading frames."""
    try:
        found = look_into(Path(path))
    except OSError:
        return False
    return found is not None and "frames" in found.names and "format_version" in found.attributes


class TensorFile:
    """A sensor-tensor file opened for reading; frames are read when asked for.

    Raises:
        InputError: the file does not exist or may not be read.
        FormatError: it is not a whole sensor-tensor file of a version we know.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        refuse_special(self.path)
        if not self.path.is_file():
            raise InputError("no such file", where=self.path)
        try:
            self._file = open_hdf5(self.path)
        except PermissionError as error:
            raise InputError("may not be read (permission denied)", where=self.path) from error
        except OSError as error:
            raise FormatError(
                "not a readable HDF5 file (truncated or damaged?)",
                where=self.path,
                hint="run `armseg convert` on the recording again",
            ) from error
        try:
            self._read_attributes()
        except (KeyError, ValueError, TypeError, OSError, RuntimeError, AttributeError) as error:
            self._file.close()
            raise FormatError(
                "the sensor-tensor file is damaged: its attributes cannot be read",
                where=self.path,
                hint="run `armseg convert` on the recording again",
            ) from error
        except FormatError:
            self._file.close()
            raise

    def _read_attributes(self) -> None:
        attrs = self._file.attrs
        if "frames" not in self._file or "t_us" not in self._file or not attrs.get("complete", False):
            raise FormatError(
                "not a sensor-tensor file",
                where=self.path,
                expected="a file made by `armseg convert`",
                hint=advice.command("convert", self.path),
            )
        version = int(attrs["format_version"])
        if version > FORMAT_VERSION:
            raise FormatError(
                f"written by a newer armseg (format {version})",
                where=self.path,
                expected=f"format {FORMAT_VERSION} or older",
                hint="pip install -U armseg",
            )
        self.info = TensorInfo(
            modality=str(attrs["modality"]),
            representation=str(attrs["representation"]),
            channels=tuple(json.loads(attrs["channels"])),
            units=tuple(json.loads(attrs["units"])),
            value_range=tuple(json.loads(attrs["value_range"])),
            parameters=json.loads(attrs["parameters"]),
            source_name=str(attrs["source_name"]),
            source_sha256=str(attrs["source_sha256"]),
            source_hash=str(attrs.get("source_hash", "sha256")),
            armseg_version=str(attrs["armseg_version"]),
        )
        self.claims_seal = bool(attrs.get("sealed", False))
        self.frames = self._file["frames"]
        refuse_unstored(self.path, "t_us", self._file["t_us"])
        self.t_us: np.ndarray = self._file["t_us"][:]
        shape = self.frames.shape
        if len(shape) != 4 or shape[:2] != (len(self.t_us), len(self.info.channels)):
            raise FormatError(
                f"/frames has the shape {shape} for {len(self.t_us)} times and "
                f"{len(self.info.channels)} channels",
                where=self.path,
                expected="(times, channels, height, width)",
                hint="run `armseg convert` on the recording again",
            )
        one = math.prod(shape[1:]) * self.frames.dtype.itemsize
        refuse_bomb(self.path, "a frame", one, self.path.stat().st_size)

    def __len__(self) -> int:
        return len(self.t_us)

    def frame(self, index: int) -> np.ndarray:
        """Frame (C, H, W) by number; negative counts from the end."""
        try:
            frame: np.ndarray = self.frames[range(len(self))[index]]
            return frame
        except (OSError, RuntimeError) as error:
            raise FormatError(f"frame {index} cannot be read (damaged file?)", where=self.path) from error

    def read(self) -> SensorTensor:
        """All frames in memory."""
        return SensorTensor(self.frames[:], self.t_us, self.info)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> TensorFile:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
