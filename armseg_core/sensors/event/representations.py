"""Event representations: a window of events -> a frame (C, H, W) float32.

Every function takes the events either in memory (`Events`) or unread (`EventWindow`) and goes through them in
pieces, so a window may be larger than memory. Coordinates are scaled to `options.size`. Where a
representation adds up, fractional coordinates are spread bilinearly; elsewhere they are rounded to the
nearest pixel.

Shape letters: N events, B bins, C channels, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from armseg_core.arrays import EventMoments, EventPicture, Frame
from armseg_core.errors import UsageError
from armseg_core.sensors.event.ergo import ergo12
from armseg_core.sensors.event.input import EventInput
from armseg_core.sensors.event.kernels import Landed, VoxelGrid, cell_of, corners, normalized
from armseg_core.sensors.event.options import EventOptions
from armseg_core.sensors.event.stills import still_voxels
from armseg_core.sensors.event.windows import Window
from armseg_core.sensors.representation import Representation


def _voxels(events: Window, options: EventOptions, split: bool) -> np.ndarray:
    given = EventInput(events, options)
    span = given.span()
    if span is None:
        return np.zeros((options.bins * (1 + split), given.grid.height, given.grid.width), np.float32)
    sums = _summed(given, options.bins, span, split)
    if given.met not in (None, span):  # the first or the last event was dropped
        sums = _summed(given, options.bins, given.met, split)
    frame = sums.result()
    return normalized(frame) if options.norm == "dsec" else frame


def _summed(given: EventInput, bins: int, span: tuple[int, int], split: bool) -> VoxelGrid:
    sums = VoxelGrid(given.grid, bins, *span, split=split, expected=len(given))
    for piece in given.pieces():
        sums.add(piece)
    return sums


def _voxel_scale(options: EventOptions, channels: int) -> tuple[tuple[str, ...], tuple[float, float]]:
    # usual ranges, for drawing: 3 deviations hold nearly all cells; 10 events are a free choice
    if options.norm == "dsec":
        return ("standard deviations",) * channels, (-3.0, 3.0)
    return ("events",) * channels, (-10.0, 10.0)


def voxel_grid(events: Window, options: EventOptions, t0_us: int, t1_us: int) -> Frame:
    """Signed voxel grid, `options.bins` channels bin0 (earliest) ...: see `event_kernels.VoxelGrid`."""
    frame = _voxels(events, options, split=False)
    return Frame(frame, _bin_names(options), *_voxel_scale(options, len(frame)), t1_us)


def still_voxel_grid(data: EventPicture | EventMoments, options: EventOptions) -> Frame:
    """The voxel grid of a file without single events: see `event_stills`."""
    frame = still_voxels(data, options)
    if options.norm == "none" and isinstance(data, EventPicture):
        return Frame(
            frame, _bin_names(options), ("",) * len(frame), (-1.0, 1.0)
        )  # a color, no number of events
    return Frame(frame, _bin_names(options), *_voxel_scale(options, len(frame)))


def _bin_names(options: EventOptions) -> tuple[str, ...]:
    return tuple(f"bin{b}" for b in range(options.bins))


def voxel_grid_split(events: Window, options: EventOptions, t0_us: int, t1_us: int) -> Frame:
    """Voxel grids of the positive, then of the negative events (ESS): 2 B channels, all counting up."""
    frame = _voxels(events, options, split=True)
    names = tuple(f"{sign}{b}" for sign in ("pos", "neg") for b in range(options.bins))
    return Frame(frame, names, *_voxel_scale(options, len(frame)), t1_us)


def _add_up(
    given: EventInput,
    planes: np.ndarray,
    plane_of: Callable[[Landed], np.ndarray | int],
    value_of: Callable[[Landed], np.ndarray],
) -> np.ndarray:
    """Add value_of(piece) of each event to its cell of the plane plane_of(piece); (planes, H, W) float32."""
    cells = given.grid.cells
    for piece in given.pieces():
        plane, value = plane_of(piece), value_of(piece)
        for index, weight in corners(piece, given.grid):
            np.add.at(planes.reshape(-1), index + plane * cells, value if weight is None else value * weight)
    return np.ascontiguousarray(given.grid.inner(planes), np.float32)


def histogram(events: Window, options: EventOptions, t0_us: int, t1_us: int) -> Frame:
    """Number of events per pixel and polarity: (negative, positive)."""
    given = EventInput(events, options)
    planes = np.zeros((2, given.grid.cells))
    frame = _add_up(given, planes, lambda e: e.p.astype(np.int64), lambda e: np.ones(len(e)))
    return Frame(frame, ("neg", "pos"), ("events",) * 2, (0.0, 10.0), t1_us)


def stacked_histogram(events: Window, options: EventOptions, t0_us: int, t1_us: int) -> Frame:
    """Histograms of `options.stack` equal slices between the first and the last event, counts up to `clip`.

    First all negative, then all positive slices.
    """
    given = EventInput(events, options)
    span = given.span() or (0, 0)
    planes = _sliced(given, options.stack, span)
    if given.met not in (None, span):  # the first or the last event was dropped
        planes = _sliced(given, options.stack, given.met)
    slices = options.stack
    frame = np.minimum(given.grid.inner(planes), options.clip).astype(np.float32)
    names = tuple(f"{sign}{b}" for sign in ("neg", "pos") for b in range(slices))
    return Frame(frame, names, ("events",) * (2 * slices), (0.0, float(options.clip)), t1_us)


def _sliced(given: EventInput, slices: int, span: tuple[int, int]) -> np.ndarray:
    """(2 * slices, cells): counts of each polarity and slice of time."""
    cells, (first, last) = given.grid.cells, span
    planes = np.zeros((2 * slices, cells))
    for piece in given.pieces():
        part = np.minimum((piece.t - first) * slices // max(last - first, 1), slices - 1)
        part += piece.p.astype(np.int64) * slices
        np.add.at(planes.reshape(-1), cell_of(piece, given.grid) + part * cells, 1.0)
    return planes


def event_frame(events: Window, options: EventOptions, t0_us: int, t1_us: int) -> Frame:
    """Sum of the polarities (+1, -1) of a pixel, clipped to [-1, 1]."""
    given = EventInput(events, options)
    planes = np.zeros((1, given.grid.cells))
    frame = _add_up(given, planes, lambda e: 0, lambda e: e.p * 2.0 - 1.0)
    return Frame(np.clip(frame, -1, 1), ("polarity",), ("",), (-1.0, 1.0), t1_us)


def time_surface(events: Window, options: EventOptions, t0_us: int, t1_us: int) -> Frame:
    """exp(-(t1 - t) / tau) of the last event of each pixel and polarity, 0 without one.

    Negative, then positive.
    """
    given = EventInput(events, options)
    cells = given.grid.cells
    last = np.full((2, cells), np.inf)  # age of the last event
    for piece in given.pieces():  # in time order, so the last write to a cell is the latest event
        last.reshape(-1)[cell_of(piece, given.grid) + piece.p.astype(np.int64) * cells] = t1_us - piece.t
    frame = np.exp(-given.grid.inner(last) / options.tau).astype(np.float32)
    return Frame(frame, ("neg", "pos"), ("",) * 2, (0.0, 1.0), t1_us)


# younger and older events look the same; of the published code (Baldwin et al. 2021, events2ToreFeature.m)
TORE_MIN_US, TORE_MAX_US = 150, 5_000_000


def tore(events: Window, options: EventOptions, t0_us: int, t1_us: int) -> Frame:
    """Time-ordered recent events: for each pixel and polarity the `options.depth` latest ages.

    An age a (microseconds before t1, at most 5 s, 5 s where there is none) is given as
    max(0, log(a + 1) - log(151)); positive, then negative, each from the latest to the oldest.
    """
    given = EventInput(events, options)
    depth, cells = options.depth, given.grid.cells
    ages = np.full((depth, 2 * cells), TORE_MAX_US, np.int64)
    mark = np.empty(2 * cells, np.int32)
    for piece in given.pieces():
        cell = cell_of(piece, given.grid)
        cell += (piece.p ^ 1).astype(np.int64) * cells
        for rows in reversed(_latest(cell, depth, mark)):  # oldest first; each round has a cell once at most
            here = cell[rows]
            for k in range(depth - 1, 0, -1):
                ages[k][here] = ages[k - 1][here]
            ages[0][here] = np.minimum(t1_us - piece.t[rows], TORE_MAX_US)
    stack = ages.reshape(depth, 2, cells).swapaxes(0, 1).reshape(2 * depth, cells)
    frame = np.log1p(given.grid.inner(stack)) - np.log1p(TORE_MIN_US)
    names = tuple(f"{sign}{k}" for sign in ("pos", "neg") for k in range(depth))
    top = float(np.log1p(TORE_MAX_US) - np.log1p(TORE_MIN_US))
    frame = np.maximum(frame, 0).astype(np.float32)
    return Frame(frame, names, ("log us",) * (2 * depth), (0.0, top), t1_us)


def _latest(cell: np.ndarray, depth: int, mark: np.ndarray) -> list[np.ndarray]:
    """Row numbers of the latest, second latest, ... event of each cell (at most `depth` of them).

    mark: scratch space with a place for every cell.
    """
    rows = np.arange(len(cell), dtype=np.int32)
    out: list[np.ndarray] = []
    while len(rows) and len(out) < depth:
        mark[cell] = rows  # the last write stays
        is_last = mark[cell] == rows
        out.append(rows[is_last])
        rows, cell = rows[~is_last], cell[~is_last]
    return out


def mdes(events: Window, options: EventOptions, t0_us: int, t1_us: int) -> Frame:
    """Mixed-density event stack: ever shorter pasts of the window.

    Frame b holds the polarity (+1, -1, 0 none) of the latest event of each pixel among the last N / 2^b
    events.
    """
    given = EventInput(events, options)
    cells, number = given.grid.cells, 0
    latest, sign = np.full(cells, -1, np.int64), np.zeros(cells, np.float32)
    for piece in given.pieces():
        cell = cell_of(piece, given.grid)
        latest[cell] = np.arange(number, number + len(piece))
        sign[cell] = piece.p.astype(np.float32) * 2 - 1
        number += len(piece)
    starts = np.cumsum([0] + [number >> b for b in range(1, options.stack)])
    planes = np.where((latest >= starts[:, None]) & (latest >= 0), sign, np.float32(0))
    names = tuple(f"density{b}" for b in range(options.stack))
    frame = np.ascontiguousarray(given.grid.inner(planes))
    return Frame(frame, names, ("",) * options.stack, (-1.0, 1.0), t1_us)


def _row(
    name: str,
    title: str,
    source: str,
    make: Callable[..., Frame],
    still: Callable[..., Frame] | None = None,
) -> Representation:
    """A row whose `make` takes a window of events.

    Where there is `still` it takes a file without single events too.
    """

    def make_any(data: Window | EventPicture | EventMoments, options: EventOptions, *window: int) -> Frame:
        if not isinstance(data, EventPicture | EventMoments):
            return make(data, options, *window)
        if still is None:
            raise UsageError(
                "needs single events, which this format does not hold",
                where=f"--representation {name}",
                expected="voxel_grid",
                hint="--representation voxel_grid",
            )
        return still(data, options)

    return Representation(name, "event", title, source, make_any)


EVENT_REPRESENTATIONS: tuple[Representation, ...] = (
    _row(
        "voxel_grid",
        "voxel grid",
        "Zhu et al., CVPR 2019; normalization of DSEC (Gehrig et al., RA-L 2021)",
        voxel_grid,
        still_voxel_grid,
    ),
    _row("voxel_grid_split", "voxel grid of each polarity", "Sun et al. (ESS), ECCV 2022", voxel_grid_split),
    _row("histogram", "histogram of each polarity", "Maqueda et al., CVPR 2018", histogram),
    _row(
        "stacked_histogram", "stacked histogram", "Gehrig and Scaramuzza (RVT), CVPR 2023", stacked_histogram
    ),
    _row("event_frame", "event frame", "Rebecq et al., BMVC 2017", event_frame),
    _row("time_surface", "time surface", "Lagorce et al. (HOTS), PAMI 2017", time_surface),
    _row("tore", "time-ordered recent events", "Baldwin et al., PAMI 2022", tore),
    _row("mdes", "mixed-density event stack", "Nam et al. (SE-CFF), CVPR 2022", mdes),
    _row("ergo12", "ERGO-12", "Zubic et al., ICCV 2023", ergo12),
)
