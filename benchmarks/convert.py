"""How fast and in how much memory `armseg convert` turns events into voxel grids.

    python benchmarks/convert.py                        speeds, on 10 million synthetic events to 5 x 480 x 640
    python benchmarks/convert.py --memory --folder DIR  peak memory, on a file of 1 billion events (3 GB) in DIR

The events are uniformly random in x, y and t: the worst case for the processor's cache. Machines differ, so each
speed is also given as a multiple of `numpy.bincount` of the same events in the same run, and the requirements are
multiples of it: they were set as speeds on a machine where bincount does 34 million events a second. Every figure
is the best of several rounds; in each round everything is measured once, so that a busy moment of the machine does
not fall on one row alone.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from armseg_core.arrays import PIECE_EVENTS, Events
from armseg_core.conversion.convert import convert_file
from armseg_core.sensors.event.kernels import Grid, VoxelGrid, land
from armseg_core.sensors.event.options import EventOptions
from armseg_core.sensors.event.readers.evt import decode_dat
from armseg_core.sensors.event.readers.prophesee import evt_decoder, raw_blocks, read_header
from armseg_core.sensors.event.windows import cut
from armseg_core.sensors.representations import get_representation

H, W, B = 480, 640, 5
ANCHOR = 34.0  # million events a second of numpy.bincount on the machine of the requirements
REQUIRED = {  # million events a second there
    "voxel grid kernel": 120, "kernel, rectified events": 30,
    "DSEC file to saved tensor": 50, "the same, Blosc level 1": 50,
    "EVT 3.0": 40, "EVT 3.0, vectors": 40, "EVT 2.0": 100, "DAT": 200,
}  # fmt: skip


def synthetic(number: int, seed: int = 0, span_us: int = 50_000) -> Events:
    rng = np.random.default_rng(seed)
    return Events(
        rng.integers(0, W, number, dtype=np.uint16),
        rng.integers(0, H, number, dtype=np.uint16),
        np.sort(rng.integers(0, span_us, number)),
        rng.integers(0, 2, number, dtype=np.uint8),
        (H, W),
    )


# --- the usual ways, for comparison -----------------------------------------------------------------------


def _terms(e: Events, index: type) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    star = (e.t - e.t[0]).astype(np.float32) * np.float32((B - 1) / (e.t[-1] - e.t[0]))
    low = star.astype(index)
    return low, star - low.astype(np.float32), e.p.astype(np.float32) * 2 - 1


def by_bincount(e: Events) -> np.ndarray:
    low, f, q = _terms(e, np.int32)
    index = low * (H * W) + e.y.astype(np.int32) * W + e.x
    grid = np.bincount(index, q * (1 - f), minlength=(B + 1) * H * W)
    grid += np.bincount(index + H * W, q * f, minlength=(B + 1) * H * W)
    return grid[: B * H * W].astype(np.float32).reshape(B, H, W)


def by_add_at(e: Events) -> np.ndarray:
    """As in the code that goes round with E2VID: float64 weights, one flat index, two calls."""
    star = (B - 1) * (e.t - e.t[0]).astype(np.float64) / float(e.t[-1] - e.t[0])
    low = star.astype(np.int64)
    late = star - low
    q = np.where(e.p > 0, 1.0, -1.0)
    index = e.x.astype(np.int64) + e.y.astype(np.int64) * W + low * (H * W)
    grid = np.zeros(B * H * W, np.float32)
    np.add.at(grid, index, q * (1.0 - late))
    inside = low + 1 < B
    np.add.at(grid, index[inside] + H * W, q[inside] * late[inside])
    return grid.reshape(B, H, W)


def by_flat_add_at(e: Events) -> np.ndarray:
    """With float32 weights as well, for which recent numpy has a fast way."""
    low, f, q = _terms(e, np.int64)
    index = low * (H * W) + e.y.astype(np.int64) * W + e.x
    grid = np.zeros((B + 1) * H * W, np.float32)
    np.add.at(grid, index, q * (1 - f))
    np.add.at(grid, index + H * W, q * f)
    return grid[: B * H * W].reshape(B, H, W)


# --- recordings -------------------------------------------------------------------------------------------


def write_dsec(
    path: Path, number: int, make: Callable[[int, int], Events], level: int = 5, step: int = 10_000_000
) -> None:
    """A file in the layout of DSEC, compressed with Blosc-zstd, written in pieces of `step` events.

    make: (number, piece) -> events whose times follow those of the piece before. level: of the compression; 5 is
    what hdf5plugin takes by itself, 1 is written by code that goes round with DSEC and is slower to read.
    """
    import h5py
    import hdf5plugin

    codec = hdf5plugin.Blosc(cname="zstd", clevel=level, shuffle=hdf5plugin.Blosc.SHUFFLE)
    index: list[np.ndarray] = []
    with h5py.File(path, "w") as file:
        data = {
            name: file.create_dataset(
                f"events/{name}", (number,), dtype, chunks=(min(1 << 16, number),), **codec
            )
            for name, dtype in (("x", "u2"), ("y", "u2"), ("t", "u4"), ("p", "u1"))
        }
        next_ms = 0
        for i0 in range(0, number, step):
            e = make(min(step, number - i0), i0 // step)
            for name, dataset in data.items():
                dataset[i0 : i0 + len(e)] = getattr(e, name)
            ms = np.arange(next_ms, int(e.t[-1]) // 1000 + 1)
            index.append(i0 + np.searchsorted(e.t, ms * 1000))
            next_ms = int(ms[-1]) + 1 if len(ms) else next_ms
        file["ms_to_idx"] = np.concatenate(index).astype(np.uint64)
        file["t_offset"] = np.int64(49_599_000_000)
        file.attrs["height"], file.attrs["width"] = H, W


def write_evt2(path: Path, e: Events) -> None:
    high = e.t >> 6
    new = np.flatnonzero(np.diff(high, prepend=-1))
    words = (
        (e.p.astype(np.uint32) << 28)
        | ((e.t & 63).astype(np.uint32) << 22)
        | (e.x.astype(np.uint32) << 11)
        | e.y
    )
    words = np.insert(words, new, (8 << 28) | high[new].astype(np.uint32))
    path.write_bytes(b"% evt 2.0\n% geometry 640x480\n% end\n" + words.tobytes())


def _with_times(groups: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Put TIME_HIGH and TIME_LOW words before the first group of words of each microsecond."""
    per = groups.shape[1]
    new = np.flatnonzero(np.diff(t, prepend=-1))
    low, high = 0x6000 | (t[new] & 0xFFF), 0x8000 | (t[new] >> 12 & 0xFFF)
    turn = np.diff(t[new] >> 12, prepend=-1) != 0
    places = np.concatenate((new[turn] * per, new * per))
    return np.insert(groups.ravel(), places, np.concatenate((high[turn], low)).astype(np.uint16))


def write_evt3(path: Path, e: Events) -> None:
    """A row and a column for every event: what single, scattered events are encoded as."""
    groups = np.stack([e.y, 0x2000 | e.p.astype(np.uint16) << 11 | e.x], 1).astype(np.uint16)
    path.write_bytes(
        b"% evt 3.0\n% format EVT3;height=480;width=640\n% end\n" + _with_times(groups, e.t).tobytes()
    )


def write_evt3_vectors(path: Path, number: int, seed: int = 1) -> int:
    """A row, a base column and a vector of 12 columns with half of them set; returns the number of events."""
    rng = np.random.default_rng(seed)
    count = number // 6
    bits = rng.integers(1, 4096, count)
    base = 0x3000 | rng.integers(0, 2, count) << 11 | rng.integers(0, W // 12, count) * 12
    groups = np.stack([rng.integers(0, H, count), base, 0x4000 | bits], 1).astype(np.uint16)
    t = np.sort(rng.integers(0, 50_000, count))
    path.write_bytes(
        b"% evt 3.0\n% format EVT3;height=480;width=640\n% end\n" + _with_times(groups, t).tobytes()
    )
    return int(np.bitwise_count(bits).sum())


def write_dat(path: Path, e: Events) -> None:
    words = e.x | (e.y.astype(np.uint32) << 14) | (e.p.astype(np.uint32) << 28)
    records = np.stack([e.t.astype(np.uint32), words], 1)
    header = b"% Data file containing CD events\n% Version 2\n% Width 640\n% Height 480\n"
    path.write_bytes(header + b"\x0c\x08" + records.tobytes())


# --- speed ------------------------------------------------------------------------------------------------


def kernel(e: Events) -> np.ndarray:
    """What a representation does with the pieces of a window; their order has been checked by the reader."""
    grid = Grid.of((H, W), None, 0)
    sums = VoxelGrid(grid, B, int(e.t[0]), int(e.t[-1]), expected=len(e))
    for piece in cut(e, PIECE_EVENTS):
        sums.add(land(piece, grid))
    return sums.result()


def decode_raw(path: Path, encoding: str) -> int:
    return sum(len(columns.t) for _, columns in evt_decoder(path, read_header(path).start, encoding)(None))


def decode_dat_file(path: Path) -> int:
    number, state = 0, (0, 0)
    for _, data in raw_blocks(path, read_header(path).start + 2, 8):
        columns, *state = decode_dat(data.view("<i8"), *state)
        number += len(columns.t)
    return number


def jobs(number: int, folder: Path) -> dict[str, tuple[int, Callable[[], object]]]:
    """Name -> (number of events, what to measure)."""
    e = synthetic(number)
    shifted = Events(e.x + np.float32(0.3), e.y - np.float32(0.4), e.t, e.p, (H, W))
    options = EventOptions(norm="none")
    for level in (5, 1):
        write_dsec(folder / f"level{level}.h5", number, lambda n, piece: e, level)
    write_evt2(folder / "evt2.raw", e)
    write_evt3(folder / "evt3.raw", e)
    vectors = write_evt3_vectors(folder / "vectors.raw", number)
    write_dat(folder / "events.dat", e)

    def make(name: str, events: Events) -> Callable[[], object]:
        return lambda: get_representation("event", name).make(events, options, 0, 50_000)

    def convert(level: int) -> Callable[[], object]:
        return lambda: convert_file(
            folder / f"level{level}.h5", folder / "out.h5", force=True, progress=False
        )

    work: dict[str, tuple[int, Callable[[], object]]] = {
        "numpy.bincount": (number, lambda: by_bincount(e)),
        "numpy.add.at": (number, lambda: by_add_at(e)),
        "numpy.add.at, all float32": (number, lambda: by_flat_add_at(e)),
        "voxel grid kernel": (number, lambda: kernel(e)),
        "kernel, rectified events": (number, lambda: kernel(shifted)),
        "DSEC file to saved tensor": (number, convert(5)),
        "the same, Blosc level 1": (number, convert(1)),
        "EVT 3.0": (number, lambda: decode_raw(folder / "evt3.raw", "EVT3")),
        "EVT 3.0, vectors": (vectors, lambda: decode_raw(folder / "vectors.raw", "EVT3")),
        "EVT 2.0": (number, lambda: decode_raw(folder / "evt2.raw", "EVT2")),
        "DAT": (number, lambda: decode_dat_file(folder / "events.dat")),
        "voxel_grid": (number, make("voxel_grid", e)),
    }
    for name in ("histogram", "stacked_histogram", "event_frame", "time_surface", "mdes", "tore", "ergo12"):
        work[name] = (number, make(name, e))
    expected = by_bincount(e)
    for name in ("numpy.add.at", "numpy.add.at, all float32"):
        assert np.allclose(work[name][1](), expected, atol=1e-4), name
    assert np.allclose(kernel(e), expected, atol=1e-4)
    return work


def measure(work: dict[str, tuple[int, Callable[[], object]]], rounds: int) -> dict[str, tuple[float, float]]:
    """Name -> best (seconds of wall time, seconds of processor time of all threads)."""
    best = {name: (float("inf"), float("inf")) for name in work}
    for _ in range(rounds):
        for name, (_, run) in work.items():
            for _ in range(2):  # the second time finds memory and caches as this work itself leaves them
                wall, cpu = time.perf_counter(), time.process_time()
                run()
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                best[name] = min(wall, best[name][0]), min(cpu, best[name][1])
    return best


def speeds(number: int, rounds: int, folder: Path, by_cpu: bool) -> None:
    work = jobs(number, folder)
    best = measure(work, rounds)
    column = 1 if by_cpu else 0
    anchor = number / best["numpy.bincount"][column]
    print(f"{number:,} events to {B}x{H}x{W}, best of {rounds}, {'processor' if by_cpu else 'wall'} time")
    print(f"{'':28} {'Mev/s':>8} {'x bincount':>11} {'required':>9}")
    for name, (count, _) in work.items():
        rate = count / best[name][column]
        line = f"{name:28} {rate / 1e6:8.1f} {rate / anchor:11.2f}"
        if name in REQUIRED:
            need = REQUIRED[name] / ANCHOR
            line += f" {need:9.2f} {'ok' if rate / anchor >= need else 'MISSED'}"
        print(line)
    times = best["numpy.add.at"][column] / best["voxel grid kernel"][column]
    flat = best["numpy.add.at, all float32"][column] / best["voxel grid kernel"][column]
    print(f"voxel grid kernel against numpy.add.at: {times:.1f} times (required 8: {'ok' if times >= 8 else 'MISSED'}); "
          f"against its all-float32 form: {flat:.1f} times")  # fmt: skip


# --- memory -----------------------------------------------------------------------------------------------

CONVERT = """
import resource, sys, time
from armseg_core.conversion.convert import convert_file
start = time.perf_counter()
s = convert_file(sys.argv[1], sys.argv[2], options={"window": sys.argv[3]}, force=True, progress=False)
print(s.events, s.windows, time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def memory(number: int, folder: Path, windows: list[str]) -> None:
    path = folder / f"events_{number}.h5"
    need = number * 6 + (6 << 30)
    free = shutil.disk_usage(folder).free
    if not path.is_file():
        if free < need:
            sys.exit(f"{folder} has {free / 1e9:.0f} GB free, {need / 1e9:.0f} GB are needed: --folder DIR")
        print(f"making {path} ({number:,} events) ...", flush=True)

        def make(n: int, piece: int) -> Events:
            e = synthetic(n, seed=piece, span_us=n // 10)  # 10 million events a second, a busy scene
            return Events(e.x, e.y, e.t + piece * 1_000_000, e.p, e.size)

        write_dsec(path.with_suffix(".part"), number, make, level=1)
        path.with_suffix(".part").rename(path)
    print(f"{path}: {path.stat().st_size / 1e9:.1f} GB")
    for window in windows:
        out = folder / "out.h5"
        run = subprocess.run(
            [sys.executable, "-c", CONVERT, str(path), str(out), window], capture_output=True, text=True,
            cwd=Path(__file__).resolve().parent.parent, check=False,
        )  # fmt: skip
        if run.returncode:
            sys.exit(run.stderr)
        events, frames, seconds, peak = run.stdout.split()[-4:]
        print(f"window {window:>5}: {int(events):,} events, {int(frames):,} frames, {float(seconds):.0f} s "
              f"({int(events) / float(seconds) / 1e6:.0f} Mev/s), peak RSS {int(peak) / 1024:.0f} MiB")  # fmt: skip
        out.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--events", type=int, help="number of events (10,000,000; with --memory 1,000,000,000)"
    )
    parser.add_argument("--rounds", type=int, default=7, help="rounds to take the best of")
    parser.add_argument("--folder", type=Path, help="where the recordings go (default: a temporary folder)")
    parser.add_argument(
        "--cpu", action="store_true", help="processor time instead of wall time (busy machine)"
    )
    parser.add_argument("--memory", action="store_true", help="measure peak memory on a very long recording")
    parser.add_argument("--window", nargs="+", default=["1s", "1000s"], help="windows for --memory")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        if given.memory:
            memory(given.events or 1_000_000_000, folder, given.window)
        else:
            speeds(given.events or 10_000_000, given.rounds, folder, given.cpu)


if __name__ == "__main__":
    main()
