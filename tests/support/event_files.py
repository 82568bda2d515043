"""Event recordings for the tests, written and read one event at a time in plain Python: the truth."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

Event = tuple[int, int, int, int]  # x, y, t, p


def random_events(
    number: int, size: tuple[int, int] = (48, 64), seed: int = 0, start: int = 0, end: int = 100_000
) -> list[Event]:
    """Events in time order, (H, W) = size, times in [start, end]."""
    rng = np.random.default_rng(seed)
    times = np.sort(rng.integers(start, end, number, endpoint=True))
    return [
        (int(rng.integers(size[1])), int(rng.integers(size[0])), int(t), int(rng.integers(2))) for t in times
    ]


def arrays(events: list[Event]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """x, y, t, p as int64 columns."""
    table = np.array(events, np.int64).reshape(-1, 4)
    return table[:, 0], table[:, 1], table[:, 2], table[:, 3]


def as_list(events) -> list[Event]:
    """An `Events` or `Columns` as a list of tuples."""
    columns = (events.x, events.y, events.t, events.p)
    return [tuple(int(v) for v in row) for row in zip(*columns, strict=True)]


# --- DSEC -------------------------------------------------------------------------------------------------


def write_dsec(
    path: Path,
    events: list[Event],
    *,
    offset: int = 0,
    size: tuple[int, int] | None = (48, 64),
    index: bool = True,
    chunk: int = 64,
    codec: bool = True,
) -> Path:
    """DSEC events.h5; times are stored relative to `offset`."""
    import h5py
    import hdf5plugin

    x, y, t, p = arrays(events)
    filters = hdf5plugin.Blosc(cname="zstd") if codec else {}
    with h5py.File(path, "w") as file:
        for name, values, dtype in (("x", x, "u2"), ("y", y, "u2"), ("t", t, "u4"), ("p", p, "u1")):
            file.create_dataset(
                f"events/{name}", data=values.astype(dtype), chunks=(min(chunk, len(t)),), **filters
            )
        file["t_offset"] = np.int64(offset)
        if index:
            table = [sum(1 for time in t if time < ms * 1000) for ms in range(int(t[-1]) // 1000 + 1)]
            file["ms_to_idx"] = np.array(table, np.uint64)
        if size is not None:
            file.attrs["height"], file.attrs["width"] = size
    return path


# --- EVT 2.0 ----------------------------------------------------------------------------------------------


def encode_evt2(events: list[Event]) -> bytes:
    out, high = [], None
    for x, y, t, p in events:
        now = (t >> 6) & 0xFFFFFFF
        if now != high:
            # a real sensor sends every value of the counter; one in the middle is enough to see a turn
            if high is not None and now < high:
                out.append((8 << 28) | 0)
            out.append((8 << 28) | now)
            high = now
        out.append((p << 28) | ((t & 63) << 22) | (x << 11) | y)
    return b"".join(struct.pack("<I", word) for word in out)


def decode_evt2(data: bytes) -> tuple[list[Event], int]:
    """(events, number without a known time)."""
    events, lost, high, loops = [], 0, None, 0
    for (word,) in struct.iter_unpack("<I", data[: len(data) // 4 * 4]):
        kind = word >> 28
        if kind == 8:
            value = word & 0xFFFFFFF
            if high is not None and high - value >= 1 << 27:
                loops += 1
            high = value
        elif kind in (0, 1):
            if high is None:
                lost += 1
            else:
                t = (loops << 34) + (high << 6) + ((word >> 22) & 63)
                events.append(((word >> 11) & 0x7FF, word & 0x7FF, t, kind))
    return events, lost


# --- EVT 3.0 ----------------------------------------------------------------------------------------------


def encode_evt3(events: list[Event], vectors: bool = True) -> bytes:
    """Events of one time, row and polarity with rising columns go into vectors where that is allowed."""
    out: list[int] = []
    state = {"high": None, "low": None, "y": None}

    def set_time(t: int) -> None:
        high = t >> 12
        if state["high"] is None:
            state["high"] = high
            out.append(0x8000 | (high & 0xFFF))
            state["low"] = None
        while state["high"] < high:  # the sensor sends the counter as it runs
            state["high"] = min(high, state["high"] + 1000)
            out.append(0x8000 | (state["high"] & 0xFFF))
            state["low"] = None
        if state["low"] != t & 0xFFF:
            out.append(0x6000 | (t & 0xFFF))
            state["low"] = t & 0xFFF

    i = 0
    while i < len(events):
        x, y, t, p = events[i]
        set_time(t)
        if state["y"] != y:
            out.append(y)
            state["y"] = y
        run = [x]
        while (
            vectors
            and i + len(run) < len(events)
            and events[i + len(run)][1:] == (y, t, p)
            and run[-1] < events[i + len(run)][0]
        ):
            run.append(events[i + len(run)][0])
        if len(run) == 1:
            out.append(0x2000 | (p << 11) | x)
        else:
            out.append(0x3000 | (p << 11) | x)
            base, left = x, list(run)
            while left:
                width, kind = (12, 0x4000) if len(left) % 2 else (8, 0x5000)
                out.append(kind | sum(1 << (c - base) for c in left if c < base + width))
                left = [c for c in left if c >= base + width]
                base += width
        i += len(run)
    return b"".join(struct.pack("<H", word) for word in out)


def decode_evt3(data: bytes) -> tuple[list[Event], int]:  # noqa: C901  (one branch per kind of word)
    """(events, number of words with events left out for lack of a time, row or base column)."""
    events, lost = [], 0
    high, low, loops, y, base, polarity = None, 0, 0, None, None, 0
    for (word,) in struct.iter_unpack("<H", data[: len(data) // 2 * 2]):
        kind, value = word >> 12, word & 0xFFF
        if kind == 0:
            y = value & 0x7FF
        elif kind == 8:
            if high is not None and high - value >= 2048:
                loops += 1
            if high != value:
                low = 0
            high = value
        elif kind == 6:
            low = value
        elif kind == 3:
            base, polarity = value & 0x7FF, value >> 11
        elif kind in (2, 4, 5):
            t = None if high is None else (loops << 24) + (high << 12) + low
            if kind == 2:
                if t is None or y is None:
                    lost += 1
                else:
                    events.append((value & 0x7FF, y, t, value >> 11))
                continue
            width = 12 if kind == 4 else 8
            if t is None or y is None or base is None:
                lost += 1
            else:
                events += [(base + bit, y, t, polarity) for bit in range(width) if value >> bit & 1]
            if base is not None:
                base += width
    return events, lost


def raw_file(path: Path, data: bytes, encoding: str, size: tuple[int, int] = (48, 64)) -> Path:
    """encoding: EVT2, EVT3, EVT21, ..."""
    height, width = size
    lines = (
        f"evt {encoding[3]}.{encoding[4:] or 0}",
        f"format {encoding};height={height};width={width}",
        "end",
    )
    path.write_bytes("".join(f"% {line}\n" for line in lines).encode() + data)
    return path


# --- DAT --------------------------------------------------------------------------------------------------


def encode_dat(events: list[Event]) -> bytes:
    return b"".join(struct.pack("<II", t & 0xFFFFFFFF, x | (y << 14) | (p << 28)) for x, y, t, p in events)


def decode_dat(data: bytes) -> list[Event]:
    events, loops, last = [], 0, 0
    for clock, word in struct.iter_unpack("<II", data[: len(data) // 8 * 8]):
        if last - clock >= 1 << 31:
            loops += 1
        last = clock
        events.append((word & 0x3FFF, (word >> 14) & 0x3FFF, (loops << 32) + clock, word >> 28))
    return events


def dat_file(path: Path, data: bytes, size: tuple[int, int] = (48, 64)) -> Path:
    header = f"% Data file containing CD events\n% Version 2\n% Width {size[1]}\n% Height {size[0]}\n"
    path.write_bytes(header.encode() + b"\x0c\x08" + data)
    return path


# --- frames -----------------------------------------------------------------------------------------------


def voxel_loop(events, bins: int, size: tuple[int, int]) -> np.ndarray:
    """Voxel grid in float64, one event and one neighbor at a time; (x, y) may be fractional."""
    grid = np.zeros((bins, *size))
    if not events:
        return grid
    first, last = events[0][2], events[-1][2]
    for x, y, t, p in events:
        star = (bins - 1) * (t - first) / (last - first) if last > first else 0.0
        for b in range(bins):
            in_time = max(0.0, 1.0 - abs(b - star))
            if not in_time:
                continue
            left, top = int(np.floor(x)), int(np.floor(y))
            for column in (left, left + 1):
                for row in (top, top + 1):
                    weight = max(0.0, 1 - abs(x - column)) * max(0.0, 1 - abs(y - row))
                    if weight and 0 <= column < size[1] and 0 <= row < size[0]:
                        grid[b, row, column] += (1 if p else -1) * in_time * weight
    return grid
