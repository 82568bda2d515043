"""The chunks of ROS bags (.bag, .mcap) against the size of the file, before a library unpacks them.

ROS 1: records of (length, header, length, data), http://wiki.ros.org/Bags/Format/2.0. MCAP: records of
(operation, length, content), https://mcap.dev/spec. Both say in front of a chunk how large it is unpacked.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from armseg_core.errors import FormatError
from armseg_core.files.facts import facts_of
from armseg_core.files.limits import refuse_bomb

_MCAP_MAGIC, _ROS1_MAGIC = b"\x89MCAP0\r\n", b"#ROSBAG V2.0\n"
_MCAP_CHUNK, _ROS1_CHUNK = 6, b"\x05"
# records looked at; bags without chunks have one for each message, and nothing to unpack
_MOST_RECORDS = 100_000
_LONGEST_HEADER = 1 << 16  # of a ROS 1 record: a few fields of some dozen bytes


def check_chunks(path: Path) -> None:
    """Walk over the records of a bag file, without reading their content; other files pass.

    Raises:
        FormatError: a record goes beyond the end of the file, or a chunk declares far more than it holds.
    """
    facts = facts_of(path)
    if not facts.is_file or not facts.head.startswith((_MCAP_MAGIC, _ROS1_MAGIC)):
        return
    walk = _mcap if facts.head.startswith(_MCAP_MAGIC) else _ros1
    with open(path, "rb") as stream:
        for number, (unpacked, packed) in enumerate(walk(stream, facts.size, path)):
            if packed:
                refuse_bomb(path, "a chunk of messages", unpacked, packed)
            if number >= _MOST_RECORDS:
                return


def _mcap(stream: IO[bytes], size: int, path: Path) -> Iterator[tuple[int, int]]:
    """(bytes unpacked, bytes in the file) of each record; (0, 0) of those that are no chunk."""
    at = len(_MCAP_MAGIC)
    while at + 9 <= size - len(_MCAP_MAGIC):  # the magic stands again at the end
        stream.seek(at)
        operation, length = struct.unpack("<BQ", stream.read(9))
        if at + 9 + length > size:
            raise _beyond(path, at, length, size)
        if operation == _MCAP_CHUNK and length >= 40:  # start, end, size, checksum, name of the compression
            unpacked = struct.unpack("<16xQ16x", stream.read(40))[0]
            yield unpacked, length
        else:
            yield 0, 0
        at += 9 + length


def _ros1(stream: IO[bytes], size: int, path: Path) -> Iterator[tuple[int, int]]:
    at = len(_ROS1_MAGIC)
    while at + 8 <= size:
        stream.seek(at)
        header = struct.unpack("<I", stream.read(4))[0]
        if at + 8 + header > size:
            raise _beyond(path, at, header, size)
        fields = _ros1_fields(stream.read(header)) if header <= _LONGEST_HEADER else {}
        stream.seek(at + 4 + header)
        length = struct.unpack("<I", stream.read(4))[0]
        if at + 8 + header + length > size:
            raise _beyond(path, at, length, size)
        is_chunk = fields.get(b"op") == _ROS1_CHUNK and len(fields.get(b"size", b"")) == 4
        yield (int.from_bytes(fields[b"size"], "little"), length) if is_chunk else (0, 0)
        at += 8 + header + length


def _ros1_fields(header: bytes) -> dict[bytes, bytes]:
    """name -> value of the fields of a record's header, each with its length in front."""
    fields, at = {}, 0
    while at + 4 <= len(header):
        length = int.from_bytes(header[at : at + 4], "little")
        name, _, value = header[at + 4 : at + 4 + length].partition(b"=")
        fields[name] = value
        at += 4 + length
    return fields


def _beyond(path: Path, at: int, length: int, size: int) -> FormatError:
    return FormatError(
        f"the record at byte {at:,} of the bag would be {length:,} bytes long",
        where=path,
        expected=f"an end within the {size:,} bytes of the file: truncated or damaged",
        hint="`rosbag reindex` or `ros2 bag reindex`, or record it again",
    )
