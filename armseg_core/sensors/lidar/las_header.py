"""The header of a LAS / LAZ file against its size, before a library reads what the header declares.

Offsets are those of the ASPRS LAS specification 1.4-R15, table 3; all numbers are little-endian.
"""

from __future__ import annotations

import struct
from pathlib import Path

from armseg_core.errors import FormatError
from armseg_core.files.facts import facts_of, must_be_file
from armseg_core.files.limits import refuse_bomb

_SHORTEST = 227  # bytes of the header of LAS 1.0 to 1.2; 1.4 has 375
_RECORD, _EXTENDED = 54, 60  # bytes before the content of a variable length record, and of an extended one
_SHORTEST_POINT = 20  # bytes of the shortest point record, format 0


def check_las_header(path: Path) -> None:
    """Compare what the header declares with the size of the file.

    Raises:
        FormatError: the header is cut off, or declares more records or points than the file can hold.
    """
    must_be_file(path)
    facts = facts_of(path)
    head, size = facts.head, facts.size
    if len(head) < _SHORTEST:
        raise FormatError(f"the LAS file ends after {size} bytes, within its header", where=path)
    header_size, points_at, records = struct.unpack_from("<HII", head, 94)
    form, length, count = struct.unpack_from("<BHI", head, 104)
    if not _SHORTEST <= header_size <= points_at <= size:
        raise FormatError(
            f"the LAS header declares {header_size:,} bytes of itself and points from byte {points_at:,} on",
            where=path,
            expected=f"positions within the {size:,} bytes of the file",
        )
    _check_records(path, "variable length records", records, _RECORD, points_at - header_size)
    if head[24:26] >= b"\x01\x04" and len(head) >= 255 and header_size >= 255:
        extended_at, extended = struct.unpack_from("<QI", head, 235)
        count = struct.unpack_from("<Q", head, 247)[0]
        if extended:
            room = max(0, size - extended_at)
            _check_records(path, "extended variable length records", extended, _EXTENDED, room)
    if length < _SHORTEST_POINT:
        raise FormatError(
            f"the LAS header declares points of {length} bytes", where=path, expected="20 bytes or more"
        )
    if form & 0xC0:  # LAZ marks compressed points in the two upper bits of their format
        refuse_bomb(path, f"a cloud of {count:,} points", count * length, size)
    elif count * length > size - points_at:
        raise FormatError(
            f"{size - points_at:,} bytes of points",
            where=path,
            expected=f"{count * length:,} for {count:,} points: the file is truncated or its header damaged",
        )


def _check_records(path: Path, what: str, count: int, least: int, room: int) -> None:
    if count * least > room:
        raise FormatError(
            f"the LAS header declares {count:,} {what}, of at least {least} bytes each",
            where=path,
            expected=f"at most {room // least:,}: the file has {room:,} bytes for them",
        )
