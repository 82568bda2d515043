"""AEDAT 4 recordings of iniVation cameras (through the package `aedat`); older AEDAT files are refused."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from armseg_core.errors import FormatError, UsageError, is_panic, require_extra
from armseg_core.files.facts import head_of
from armseg_core.files.libraries import caught_stderr
from armseg_core.sensors.event.columns import Columns, join, to_us
from armseg_core.sensors.event.geometry import find_geometry
from armseg_core.sensors.event.options import EventOptions
from armseg_core.sensors.event.source import BLOCK_EVENTS, KEEP_EVENTS
from armseg_core.sensors.event.streams import DecodedStream
from armseg_core.sensors.reader import Reader

_ERRORS = (RuntimeError, ValueError, OSError, OverflowError, KeyError)
AEDAT4 = b"#!AER-DAT4.0\r\n"


def read_aedat4(
    path: Path, options: EventOptions, *, block_events: int = BLOCK_EVENTS, keep_events: int = KEEP_EVENTS
) -> DecodedStream:
    """Open the events of an AEDAT 4 file.

    Args:
        block_events: events decoded at a time, about. keep_events: see `DecodedStream`.

    Raises:
        MissingExtraError: without `aedat`. FormatError: damaged or without events. UsageError: no such
        stream.
    """
    path = Path(path)
    module = require_extra("aedat", "aedat", "reading AEDAT 4")
    with _damage(path), caught_stderr():
        streams = {
            str(k): v for k, v in module.Decoder(str(path)).id_to_stream().items() if v["type"] == "events"
        }
    if not streams:
        raise FormatError("holds no events", where=path, expected="a stream of events")
    wanted = options.stream or next(iter(streams))
    if wanted not in streams:
        raise UsageError(
            f"no events in stream '{wanted}'",
            where=path,
            expected="one of " + ", ".join(streams),
            hint=f"--stream {next(iter(streams))}",
        )
    stored = (int(streams[wanted]["height"]), int(streams[wanted]["width"]))
    geometry = find_geometry(path, options, stored=stored if min(stored) > 0 else None)

    def decode(point: Any) -> Iterator[tuple[int, Columns]]:
        return _decode(module, path, wanted, point or 0, block_events)

    source = DecodedStream(path, geometry, decode, keep_events=keep_events)
    others = [name for name in streams if name != wanted]
    if others:
        source.note(
            "stream", f"events of stream {wanted} are read; also there: {', '.join(others)} (--stream)"
        )
    return source


def _decode(
    module: Any, path: Path, stream: str, skip: int, block_events: int
) -> Iterator[tuple[int, Columns]]:
    """Blocks of about `block_events` events; a resume point is the number of packets before the block."""
    parts: list[Columns] = []
    here, held = skip, 0
    with _damage(path):
        for number, packet in enumerate(_packets(module, path)):
            if number < skip or "events" not in packet or str(packet["stream_id"]) != stream:
                continue
            if held >= block_events:
                yield here, join(parts)
                parts, held, here = [], 0, number
            events = packet["events"]
            t, bad = to_us(events["t"], "us")
            parts.append(Columns(events["x"], events["y"], t, events["on"], bad))
            held += len(t)
    if held:
        yield here, join(parts)


def _packets(module: Any, path: Path) -> Iterator[Any]:
    """The packets of a file; what the decoder prints when it panics is kept from the terminal."""
    with caught_stderr():
        decoder = iter(module.Decoder(str(path)))
    while True:
        with caught_stderr():
            packet = next(decoder, None)
        if packet is None:
            return
        yield packet


@contextlib.contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Errors and panics of the decoder, which is written in Rust, in our words."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, _ERRORS) and not is_panic(error):
            raise
        raise FormatError(
            "the AEDAT file cannot be read: its description or a packet of it is truncated or damaged",
            where=path,
        ) from error


def _starts_with(*magic: bytes) -> Callable[[Path], bool]:
    def matches(path: Path) -> bool:
        with contextlib.suppress(OSError):
            return head_of(path, 16).startswith(magic)
        return False

    return matches


AEDAT_READERS: tuple[Reader, ...] = (
    Reader(
        "aedat4", "event", "AEDAT 4", ("*.aedat4",), _starts_with(AEDAT4.rstrip()), read_aedat4, extra="aedat"
    ),
    Reader(
        "aedat-old",
        "event",
        "AEDAT 2, AEDAT 3.1",
        ("*.aedat",),
        _starts_with(b"#!AER-DAT1", b"#!AER-DAT2", b"#!AER-DAT3"),
        read_aedat4,
        refuse="convert it to AEDAT 4 with DV (dv-processing), or to text with jAER: "
        "the bits of an address depend on the camera and are not in the file",
    ),
)
