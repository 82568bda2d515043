"""What an event source of somebody else's format has to write, and what then follows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from event_files import arrays, as_list, random_events

from armseg_core.arrays import Events, EventSource
from armseg_core.errors import ArmsegWarning, FormatError
from armseg_core.sensors.event.columns import Columns
from armseg_core.sensors.event.geometry import Geometry
from armseg_core.sensors.event.options import EventOptions
from armseg_core.sensors.event.readers.arrays import ArrayStream
from armseg_core.sensors.event.streams import DecodedStream, MemoryStream
from armseg_core.sensors.event.windows import count_windows, iterate_windows, window_ending_at

SIZE = (48, 64)
EVENTS = random_events(500, SIZE)
PATH = Path("a.recording")


class Least(EventSource):
    """One method is written; everything else is inherited."""

    def __init__(self, path: Path, events: list) -> None:
        super().__init__(path, SIZE, len(events))
        self._events = events

    def read_index(self, i0: int, i1: int) -> Events:
        x, y, t, p = arrays(self._events[i0:i1])
        return Events(x.astype(np.uint16), y.astype(np.uint16), t, p.astype(np.uint8), SIZE)


def columns() -> Columns:
    return Columns(*arrays(EVENTS))


SOURCES = {
    "least": lambda: Least(PATH, EVENTS),
    "memory": lambda: MemoryStream(PATH, Geometry(SIZE), columns()),
    "blocks": lambda: ArrayStream(
        PATH, Geometry(SIZE), dict(zip("xytp", arrays(EVENTS), strict=True)), "us", block_events=64
    ),
    "decoded": lambda: DecodedStream(
        PATH,
        Geometry(SIZE),
        lambda point: ((i, columns().cut(i, i + 70)) for i in range(point or 0, len(EVENTS), 70)),
        keep_events=100,
    ),
}


@pytest.fixture(params=SOURCES)
def source(request):
    with SOURCES[request.param]() as source:
        yield source


def test_every_way_of_writing_a_source_keeps_the_contract(source):
    assert isinstance(source, EventSource)
    assert (source.path, source.size, source.count) == (PATH, SIZE, 500)
    assert (source.t_first_us, source.t_last_us) == (EVENTS[0][2], EVENTS[-1][2])
    assert [source.time_of(i) for i in (0, 3, 499)] == [EVENTS[i][2] for i in (0, 3, 499)]
    assert as_list(source.read_index(17, 401)) == EVENTS[17:401]
    assert [e for piece in source.pieces(17, 401) for e in as_list(piece)] == EVENTS[17:401]
    parts = list(source.chunks(77))
    assert max(map(len, parts)) <= 77
    assert [e for part in parts for e in as_list(part)] == EVENTS
    for t0, t1 in ((0, 20_000), (EVENTS[100][2], EVENTS[200][2]), (5, 5), (-9, 10**9)):
        assert source.index_at(t1) == sum(e[2] < t1 for e in EVENTS)
        assert as_list(source.read_time(t0, t1)) == [e for e in EVENTS if t0 <= e[2] < t1]
    assert source.check_order()
    assert (source.in_order, source.order_known, source.steps_back) == (True, True, 0)
    assert source.notes == []
    source.note("unit", "times are taken as us")
    with pytest.warns(ArmsegWarning, match=r"a\.recording: cut off"):
        source.note("rest", "cut off", warn=True)
    assert source.notes == ["times are taken as us", "cut off"]


@pytest.mark.parametrize("options", [{"window": "7ms"}, {"count": 60}])
def test_every_source_is_cut_into_windows(source, options):
    options = EventOptions(**options)
    windows = [as_list(window.load()) for window, _, _ in iterate_windows(source, options)]
    assert len(windows) == count_windows(source, options)
    read = [e for window in windows for e in window]
    assert read == EVENTS[: len(read)]
    assert len(read) == (480 if options.count else 500)
    window, t0, t1 = window_ending_at(source, EventOptions(window="20ms"), 60_000)
    assert [e for piece in window.pieces() for e in as_list(piece)] == [e for e in EVENTS if t0 <= e[2] < t1]


def test_a_source_without_events_is_an_error():
    with pytest.raises(FormatError, match="holds no events"):
        Least(PATH, [])


def test_a_source_has_to_say_how_it_is_read():
    with pytest.raises(TypeError, match="read_index"):
        EventSource(PATH, SIZE, 1)
