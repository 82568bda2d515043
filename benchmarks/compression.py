"""Size and time of the compressions of sensor-tensor files, on frames of recordings.

    python benchmarks/compression.py RECORDING... [--set sensor_size=640x480]

Of each recording the first frames are written by `TensorWriter` as gzip and as Blosc, and by HDF5's own filters (gzip
of levels 1 and 4, lzf), then read again with h5py; milliseconds a frame are the best of some rounds.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from armseg_core.conversion.convert import cast_frame
from armseg_core.conversion.recording import Recording
from armseg_core.errors import ArmsegError
from armseg_core.files.hdf5 import open_hdf5
from armseg_core.files.tensor_file import SensorTensor, TensorInfo

FRAMES = 4
FILTERS: dict[str, dict[str, Any]] = {
    "HDF5's gzip 1": {"compression": "gzip", "compression_opts": 1, "shuffle": True},
    "HDF5's gzip 4": {"compression": "gzip", "compression_opts": 4, "shuffle": True},
    "HDF5's lzf": {"compression": "lzf", "shuffle": True},
}


def writers(frames: np.ndarray, info: TensorInfo) -> Iterator[tuple[str, Callable[[Path], None]]]:
    tensor = SensorTensor(frames, np.arange(len(frames)), info)
    for name in ("gzip", "blosc"):
        yield name, lambda path, name=name: tensor.save(path, name)
    for name, options in FILTERS.items():
        yield name, lambda path, options=options: by_hdf5(path, frames, options)


def by_hdf5(path: Path, frames: np.ndarray, options: dict[str, Any]) -> None:
    with h5py.File(path, "w") as file:
        made = file.create_dataset(
            "frames", frames.shape, frames.dtype, chunks=(1, *frames.shape[1:]), **options
        )
        for i, frame in enumerate(frames):
            made[i] = frame


def read(path: Path, count: int) -> None:
    with open_hdf5(path) as file:
        for i in range(count):
            file["frames"][i]


def measured(work: Callable[[], None], rounds: int) -> float:
    """Milliseconds, the best of some rounds."""
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best * 1e3


def first_frames(path: str, modality: str | None, options: dict[str, str]) -> tuple[np.ndarray, TensorInfo]:
    with Recording.open(path, modality, options) as recording:
        frames = list(islice(recording.frames(), FRAMES))
        info = recording.info(frames[0])
        dtype = "float16" if recording.events is not None else "float32"
    return np.stack([cast_frame(frame.values, dtype) for frame in frames]), info


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recordings", nargs="+", metavar="RECORDING")
    parser.add_argument("--modality", help="sensor of the recordings, where content and name leave it open")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="option of the sensor"
    )
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    options = dict(text.split("=", 1) for text in given.set)
    with tempfile.TemporaryDirectory() as folder:
        for name in given.recordings:
            try:
                frames, info = first_frames(name, given.modality, options)
            except ArmsegError as error:
                print(error)
                continue
            zeros = np.count_nonzero(frames == 0) / frames.size
            print(f"{name}: {len(frames)} of {frames.shape[1:]} {frames.dtype}, {zeros:.0%} zeros")
            print(f"  {'':14} {'size':>6} {'write ms':>9} {'read ms':>8}")
            for way, write in writers(frames, info):
                path = Path(folder) / "x.h5"
                writing = measured(lambda write=write, path=path: write(path), given.rounds)
                reading = measured(lambda path=path, frames=frames: read(path, len(frames)), given.rounds)
                size = path.stat().st_size / frames.nbytes
                each = writing / len(frames), reading / len(frames)
                print(f"  {way:14} {size:6.3f} {each[0]:9.2f} {each[1]:8.2f}")


if __name__ == "__main__":
    main()
