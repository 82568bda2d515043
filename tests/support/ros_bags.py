"""ROS bags of events for the tests, written field by field."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest


class Message:
    """Writes one message field by field; CDR aligns each number to its own size."""

    def __init__(self, cdr: bool) -> None:
        self.cdr, self.data = cdr, b""

    def number(self, form: str, value: int) -> None:
        size = struct.calcsize(form)
        if self.cdr:
            self.data += b"\0" * (-len(self.data) % size)
        self.data += struct.pack("<" + form, value)

    def text(self, value: str) -> None:
        encoded = value.encode() + (b"\0" if self.cdr else b"")
        self.number("I", len(encoded))
        self.data += encoded

    def header(self, frame: str = "cam") -> None:
        if not self.cdr:
            self.number("I", 7)
        self.number("I", 12)
        self.number("I", 34)
        self.text(frame)

    def done(self) -> bytes:
        return (b"\x00\x01\x00\x00" if self.cdr else b"") + self.data


def event_array(events, cdr: bool, frame="cam", size=(48, 64)) -> bytes:
    message = Message(cdr)
    message.header(frame)
    message.number("I", size[0])
    message.number("I", size[1])
    message.number("I", len(events))
    for x, y, t, p in events:
        message.number("H", x)
        message.number("H", y)
        message.number("I", t // 10**6)
        message.number("I", t % 10**6 * 1000 + 7)
        message.number("B", p)
    return message.done()


def event_packet(payload: bytes, cdr: bool, encoding="evt3", size=(48, 64)) -> bytes:
    message = Message(cdr)
    message.header("camera")
    message.number("I", size[0])
    message.number("I", size[1])
    message.number("Q", 3)
    message.number("Q", 99)
    message.text(encoding)
    message.number("B", 0)
    message.number("I", len(payload))
    return message.done() + payload


def write_bag(
    folder: Path, topics: dict[str, tuple[str, list[bytes]]], cdr: bool, storage: str = "sqlite3"
) -> Path:
    """A ROS 1 bag file or a ROS 2 bag folder; the definitions are not used by the reader."""
    pytest.importorskip("rosbags")
    if cdr:
        from rosbags.rosbag2 import StoragePlugin, Writer

        plugin = StoragePlugin[storage.upper()]
        path, writer, kwargs = (
            folder / "bag2",
            Writer(folder / "bag2", version=9, storage_plugin=plugin),
            {"rihs01": "RIHS01_" + "0" * 64},
        )
    else:
        from rosbags.rosbag1 import Writer

        path, writer, kwargs = folder / "a.bag", Writer(folder / "a.bag"), {"md5sum": "0" * 32}
    with writer:
        for topic, (kind, messages) in topics.items():
            connection = writer.add_connection(topic, kind, msgdef="uint8 nothing", **kwargs)
            for i, message in enumerate(messages):
                writer.write(connection, 1000 + i, message)
    return path
