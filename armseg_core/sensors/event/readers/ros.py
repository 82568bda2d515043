"""Event recordings in ROS bags: dvs_msgs (and its kin) and event_camera_msgs with EVT3 packets.

`rosbags` opens the container; the payload of a message is read by numpy in one step, because one Python
object per event is 800 times slower.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from armseg_core.errors import ArmsegError, FormatError, UsageError, require_extra
from armseg_core.files.facts import head_of, refuse_special
from armseg_core.sensors.event.columns import Columns, join
from armseg_core.sensors.event.geometry import find_geometry
from armseg_core.sensors.event.options import EventOptions
from armseg_core.sensors.event.readers.bag_chunks import check_chunks
from armseg_core.sensors.event.readers.evt import Evt3State, decode_evt3
from armseg_core.sensors.event.source import BLOCK_EVENTS, KEEP_EVENTS
from armseg_core.sensors.event.streams import DecodedStream
from armseg_core.sensors.reader import Reader

ARRAYS = ("dvs_msgs/msg/EventArray", "prophesee_event_msgs/msg/EventArray")
PACKETS = ("event_camera_msgs/msg/EventPacket", "event_array_msgs/msg/EventArray")
ROS1_EVENT = np.dtype([("x", "<u2"), ("y", "<u2"), ("s", "<u4"), ("ns", "<u4"), ("p", "u1")])
# CDR aligns the seconds to 4 bytes: the first event is 13 bytes long, after it they come every 16
CDR_EVENT = np.dtype(
    {
        "names": ["x", "y", "s", "ns", "p"],
        "formats": ["<u2", "<u2", "<u4", "<u4", "u1"],
        "offsets": [0, 2, 6, 10, 14],
        "itemsize": 16,
    }
)
_ROS2_PARTS = (".mcap", ".db3")
_PART_MAGIC = {
    ".mcap": b"\x89MCAP0\r\n",
    ".db3": b"SQLite format 3\0",
}  # a part is also read without its list
CDR_FIRST_EVENT = 14  # offset of the second event from the first


class Fields:
    """A cursor over one serialized message; every read is checked against its length."""

    def __init__(self, data: bytes, cdr: bool) -> None:
        self._data, self._cdr, self._at = data, cdr, 4 if cdr else 0
        self._origin = self._at

    def number(self, size: int) -> int:
        """An unsigned little-endian integer; CDR aligns it to its size."""
        if self._cdr:
            self._at += -(self._at - self._origin) % size
        return int.from_bytes(self.raw(size), "little")

    def text(self) -> str:
        data = self.raw(self.number(4))
        return data.rstrip(b"\0").decode("latin-1")

    def raw(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._data):
            raise ValueError(f"a message of {len(self._data)} bytes ends before its {end}th byte")
        self._at = end
        return self._data[end - size : end]

    def header(self) -> None:
        """std_msgs/Header."""
        if not self._cdr:
            self.number(4)
        self.number(4)
        self.number(4)
        self.text()


def event_array(data: bytes, cdr: bool) -> tuple[Columns, tuple[int, int]]:
    """dvs_msgs/EventArray -> (columns, (H, W)).

    Raises:
        ValueError: the message is shorter than it says.
    """
    fields = Fields(data, cdr)
    fields.header()
    height, width = fields.number(4), fields.number(4)
    number = fields.number(4)
    if not cdr:
        events = np.frombuffer(fields.raw(number * ROS1_EVENT.itemsize), ROS1_EVENT)
    else:  # lay the first event out like the others: two bytes are missing after its y
        # the last of several events ends with its polarity, 15 bytes from its start
        size = 0 if not number else 13 if number == 1 else CDR_FIRST_EVENT + 16 * (number - 2) + 15
        rest = fields.raw(size)
        events = np.frombuffer(rest[:4] + b"\0\0" + rest[4:] + b"\0" if number else b"", CDR_EVENT)
    t = events["s"].astype(np.int64) * 1_000_000 + events["ns"] // 1000
    return Columns(events["x"], events["y"], t, events["p"]), (height, width)


@dataclass(frozen=True)
class Packet:
    """event_camera_msgs/EventPacket. words: the payload."""

    size: tuple[int, int]
    encoding: str
    payload: bytes


def event_packet(data: bytes, cdr: bool) -> Packet:
    """Take an EventPacket apart.

    Raises:
        ValueError: the message is shorter than it says.
    """
    fields = Fields(data, cdr)
    fields.header()
    height, width = fields.number(4), fields.number(4)
    fields.number(8)  # seq
    fields.number(8)  # time_base, undefined for evt3
    encoding = fields.text()
    fields.number(1)  # is_bigendian
    return Packet((height, width), encoding, fields.raw(fields.number(4)))


class Bag:
    """One topic of a ROS bag, opened anew for each pass."""

    def __init__(self, path: Path, stream: str | None) -> None:
        self.path, self.cdr = path, not _is_ros1(path)
        self._module = require_extra(
            "rosbags.rosbag2" if self.cdr else "rosbags.rosbag1", "ros", "reading ROS bags"
        )
        with self.open() as reader:
            known = [c for c in reader.connections if c.msgtype in ARRAYS + PACKETS and c.msgcount]
            counts = {c.topic: 0 for c in known}
            for c in known:
                counts[c.topic] += c.msgcount
            fitting = [topic for topic in counts if stream is None or stream in topic]
            if not fitting:
                types = sorted({c.msgtype for c in reader.connections})
                if not known:
                    raise FormatError(
                        "holds no events",
                        where=path,
                        expected=f"messages of {ARRAYS[0]} or {PACKETS[0]}"
                        f", found {', '.join(types[:6]) or 'none'}",
                    )
                raise UsageError(
                    f"no events under '{stream}'",
                    where=path,
                    expected="one of " + ", ".join(counts),
                    hint=f"--stream {next(iter(counts))}",
                )
            self.topic = max(fitting, key=lambda topic: counts[topic])
            self.others = [topic for topic in counts if topic != self.topic]
            self.packets = next(c.msgtype for c in known if c.topic == self.topic) in PACKETS

    @contextlib.contextmanager
    def open(self) -> Iterator[Any]:
        try:
            with self._module.Reader(_place(self.path) if self.cdr else self.path) as reader:
                yield reader
        except (ArmsegError, MemoryError):
            raise
        except Exception as error:  # rosbags lets through what its parsers, codecs and databases raise
            known = str(error) if isinstance(error, self._module.ReaderError) else ""
            raise FormatError(
                f"the bag cannot be read: {_reason(error, ' '.join(known.split()))}",
                where=self.path,
                hint="`rosbag reindex` or `ros2 bag reindex`, or record it again",
            ) from error

    def messages(self) -> Iterator[bytes]:
        """The serialized messages of the topic, in the order of the bag."""
        with self.open() as reader:
            wanted = [c for c in reader.connections if c.topic == self.topic]
            for _, _, data in reader.messages(connections=wanted):
                yield bytes(data)


# parts of what rosbags and the packages below it say or are called -> what it means
_REASONS = (
    ("version", "it was recorded in a newer form of bags than the package rosbags reads"),
    ("torage plugin", "its metadata.yaml names another storage than mcap and sqlite3"),
    ("YAML", "metadata.yaml is damaged"),
    ("ruamel", "metadata.yaml is damaged"),
    ("apsw", "its database of messages is damaged"),
    ("sqlite", "its database of messages is damaged"),
    ("LZ4", "a compressed chunk is damaged"),
    ("lz4", "a compressed chunk is damaged"),
    ("zstd", "a compressed chunk is damaged"),
    ("Invalid data stream", "a compressed chunk is damaged"),
)


def _reason(error: Exception, known: str) -> str:
    """Why a bag cannot be read. known: the text of rosbags' own error, "" of any other."""
    text = f"{type(error).__module__} {error}"
    meant = next((meaning for mark, meaning in _REASONS if mark in text), "")
    return meant or known or "an index or a record of it is damaged"


def read_bag(
    path: Path, options: EventOptions, *, block_events: int = BLOCK_EVENTS, keep_events: int = KEEP_EVENTS
) -> DecodedStream:
    """Open the events of a ROS 1 bag, a ROS 2 bag folder, or one of its .mcap or .db3 files.

    Args:
        block_events: events decoded at a time, about. keep_events: see `DecodedStream`.

    Raises:
        MissingExtraError: without `rosbags`. FormatError: damaged, no events, or an encoding that is not
        read. UsageError: no topic of that name.
    """
    path = Path(path)
    for part in path.parent.glob("*") if path.suffix in _ROS2_PARTS else path.glob("*"):
        refuse_special(part)
    for part in (path, *_bag_files(path, options), *path.glob("*.mcap")):
        check_chunks(part)
    bag = Bag(path, options.stream)
    first = next(bag.messages(), None)
    if first is None:
        raise FormatError(
            f"holds no message of {bag.topic}, although its index counts some",
            where=path,
            hint="`rosbag reindex` or `ros2 bag reindex`",
        )
    try:
        size = event_packet(first, bag.cdr).size if bag.packets else event_array(first, bag.cdr)[1]
    except ValueError as error:
        raise FormatError(f"a message is damaged: {error}", where=path) from error
    lost: list[int] = []
    geometry = find_geometry(path, options, stored=size if min(size) > 0 else None)

    def decode(point: Any) -> Iterator[tuple[Any, Columns]]:
        return _decode(bag, point, lost, block_events)

    source = DecodedStream(path, geometry, decode, keep_events=keep_events)
    source.drop("before the first time stamp and address of the stream", sum(lost))
    if bag.others:
        source.note(
            "stream", f"events of {bag.topic} are read; also there: {', '.join(bag.others)} (--stream)"
        )
    return source


def _decode(bag: Bag, point: Any, lost: list[int], block_events: int) -> Iterator[tuple[Any, Columns]]:
    """Blocks of about `block_events` events; a resume point is (number of messages before, EVT3 state)."""
    skip, state = point or (0, Evt3State())
    parts: list[Columns] = []
    here, held = (skip, state), 0
    number = skip
    for number, data in enumerate(bag.messages()):
        if number < skip:
            continue
        if held >= block_events:
            yield here, join(parts)
            parts, held, here = [], 0, (number, state)
        try:
            if bag.packets:
                columns, state = _packet_events(event_packet(data, bag.cdr), state, lost, bag.path)
            else:
                columns, _ = event_array(data, bag.cdr)
        except ValueError as error:
            raise FormatError(
                f"message {number} of {bag.topic} is damaged: {error}", where=bag.path
            ) from error
        parts.append(columns)
        held += len(columns.t)
    if held:
        yield here, join(parts)


def _packet_events(
    packet: Packet, state: Evt3State, lost: list[int], path: Path
) -> tuple[Columns, Evt3State]:
    if packet.encoding != "evt3":
        raise FormatError(
            f"packets are encoded as '{packet.encoding}'",
            where=path,
            expected="evt3",
            hint="convert the bag to dvs_msgs with event_camera_tools (event_camera_msgs codecs)",
        )
    words = np.frombuffer(packet.payload[: len(packet.payload) // 2 * 2], "<u2")
    columns, state, missing = decode_evt3(words, state)
    if missing:
        lost.append(missing)
    return columns, state


def _bag_files(path: Path, options: EventOptions) -> Iterator[Path]:
    """The list of the parts of a ROS 2 bag one of whose parts is given, and its parts."""
    if not path.is_dir() and _is_ros2(path) and (path.parent / "metadata.yaml").is_file():
        yield path.parent / "metadata.yaml"
        yield from sorted(file for end in _ROS2_PARTS for file in path.parent.glob(f"*{end}"))


def _place(path: Path) -> Path:
    """What of a ROS 2 bag is opened: the folder; a part that lies alone or whose list names no storage."""
    folder = path if path.is_dir() else path.parent
    if not (folder / "metadata.yaml").is_file():
        return path
    parts = [part for end in _ROS2_PARTS for part in folder.glob(f"*{end}")]
    named = re.search(rb"storage_identifier:[ \t]*['\"]?(\w*)", (folder / "metadata.yaml").read_bytes())
    return parts[0] if named and not named[1] and len(parts) == 1 else folder


def _is_ros1(path: Path) -> bool:
    with contextlib.suppress(OSError):
        if path.is_file():
            return head_of(path, 13) == b"#ROSBAG V2.0\n"
    return False


def _is_ros2(path: Path) -> bool:
    with contextlib.suppress(OSError):
        folder = path if path.is_dir() else path.parent
        named = path.is_dir() or path.suffix.lower() in _ROS2_PARTS
        if path.is_file() and path.suffix in _PART_MAGIC and not (folder / "metadata.yaml").is_file():
            return head_of(path, 16).startswith(_PART_MAGIC[path.suffix])
        return (
            named
            and (folder / "metadata.yaml").is_file()
            and any(
                b"rosbag2_bagfile_information" in line
                for line in (folder / "metadata.yaml").read_bytes().splitlines()[:3]
            )
        )
    return False


ROS_READERS: tuple[Reader, ...] = (
    Reader(
        "rosbag1",
        "event",
        "ROS 1 bag",
        ("*.bag",),
        _is_ros1,
        read_bag,
        extra="ros",
        notes="dvs_msgs/EventArray, event_camera_msgs/EventPacket with evt3",
    ),
    Reader(
        "rosbag2",
        "event",
        "ROS 2 bag",
        ("metadata.yaml", "*.mcap", "*.db3"),
        _is_ros2,
        read_bag,
        extra="ros",
        notes="the folder or its one file; messages as in a ROS 1 bag",
        beside=_bag_files,
    ),
)
