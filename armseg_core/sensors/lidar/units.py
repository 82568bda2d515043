"""The unit of length of a LAS file: from its GeoKeys or its OGC WKT, where LAS names coordinate systems."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

# EPSG codes of units of length -> meters
_EPSG_UNITS = {9001: 1.0, 9002: 0.3048, 9003: 1200 / 3937}
_HORIZONTAL, _VERTICAL, _SYSTEM, _MODEL = 3076, 4099, 3072, 1024  # GeoKeys (OGC GeoTIFF 1.1, annex B)
_GEOGRAPHIC = 2  # value of _MODEL: longitude and latitude
_METERS = (1.0, 1.0)
# EPSG codes of UTM zones (WGS 84, ETRS89, NAD83): meters; others need EPSG's data base
_UTM = ((32601, 32660), (32701, 32760), (25828, 25838), (26901, 26923))
_DIRECTORY, _WKT = 34735, 2112  # numbers of the records of user LASF_Projection


@dataclass(frozen=True)
class Unit:
    """Meters per unit, horizontally and vertically, and where that stands ("" where nowhere)."""

    horizontal: float
    vertical: float
    source: str


def las_unit(records: Iterable[tuple[str, int, bytes]]) -> Unit:
    """The unit that the variable length records (user, number, content) of a LAS file name.

    GeoKeys first: they say it plainly. Units of 1 m with an empty source where none is named.
    """
    content = {number: data for user, number, data in records if user.rstrip("\0 ") == "LASF_Projection"}
    keys = _geo_keys(content.get(_DIRECTORY, b""))
    if keys.get(_MODEL) == _GEOGRAPHIC:
        return Unit(*_METERS, "")
    if keys.get(_HORIZONTAL) in _EPSG_UNITS:
        across = _EPSG_UNITS[keys[_HORIZONTAL]]
        up = _EPSG_UNITS.get(keys.get(_VERTICAL, 0), across)
        return Unit(across, up, f"GeoKey {_HORIZONTAL} = {keys[_HORIZONTAL]}")
    wkt = _wkt_unit(content.get(_WKT, b"").decode("utf-8", "replace"))
    if wkt is None and any(low <= keys.get(_SYSTEM, 0) <= high for low, high in _UTM):
        wkt = Unit(*_METERS, f"EPSG:{keys[_SYSTEM]}")
    return wkt or Unit(*_METERS, "")


def _geo_keys(data: bytes) -> dict[int, int]:
    """Key -> value of the keys whose value stands in the directory itself."""
    words = struct.unpack(f"<{len(data) // 2}H", data[: len(data) // 2 * 2])
    entries = [words[i : i + 4] for i in range(4, len(words) - 3, 4)]
    return {key: value for key, place, _, value in entries if place == 0}


def _wkt_unit(text: str) -> Unit | None:
    """The units of a projected system (WKT 1: PROJCS, VERT_CS; WKT 2: PROJCRS, VERTCRS); None without one."""
    across = up = None
    for inside, factor in _lengths(text):
        if inside in ("PROJCS", "PROJCRS"):
            across = across or factor
        elif inside in ("VERT_CS", "VERTCRS"):
            up = up or factor
    return None if across is None else Unit(across, up or across, "OGC WKT")


def _lengths(text: str) -> Iterator[tuple[str, float]]:
    """(system it belongs to, meters) of every UNIT that stands in a system or in one of its axes."""
    open_words: list[str] = []
    token = re.compile(r'"[^"]*"|([A-Za-z_0-9]+)\s*[\[(]|[\])]')
    for match in token.finditer(text):
        if match[0] in ("]", ")"):
            open_words = open_words[:-1]
        elif match[1]:
            word = match[1].upper()
            around = [w for w in open_words if w != "AXIS"]
            value = re.match(r'\s*"[^"]*"\s*,\s*([-+0-9.eE]+)', text[match.end() :])
            if word in ("UNIT", "LENGTHUNIT") and around and value:
                yield around[-1], _number(value[1])
            open_words.append(word)


def _number(text: str) -> float:
    """A positive factor; 1 where the text is none."""
    try:
        value = float(text)
    except ValueError:
        return 1.0
    return value if 0 < value < float("inf") else 1.0
