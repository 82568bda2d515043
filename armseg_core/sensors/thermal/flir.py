"""FLIR's radiometric files: the directory of an R-JPEG or .fff file, its raw picture, and degrees of it.

Layout: exiftool's FLIR tag tables (FLIR.pm; exiftool.org/TagNames/FLIR.html). Some cameras (the DJI Zenmuse
XT2 and XTR, research cameras) write the directory little-endian, most others big-endian; the version tells.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np

from armseg_core.errors import FormatError
from armseg_core.files.facts import facts_of
from armseg_core.files.image_headers import jpeg_segments
from armseg_core.files.pictures import decode_plane

MAGIC = (b"FFF\0", b"AFF\0")
HEADER = 64  # bytes before anything else in a FLIR file
_VERSIONS = range(100, 200)  # of the file format; read in the wrong byte order it is far outside
_RAW, _CAMERA = 0x01, 0x20  # kinds of records: raw picture, constants of the camera
_ENTRY = 32  # bytes of an entry of the directory
_MOST_ENTRIES = 1024  # cameras write 2 to 14
_RAW_START = 32  # of the samples, from the start of their record
_APP1 = 0xE1  # marker of a JPEG segment
_DEFLATE = 1100  # a PNG gets at most about 1030 times smaller


class Record(NamedTuple):
    """Where a record is, in bytes from the start of the FLIR data."""

    start: int
    stop: int


def flir_data(path: Path) -> bytes:
    """The FLIR data of a file: a .fff file itself, or what the APP1 segments of a JPEG hold; b"" for none."""
    facts = facts_of(path)
    if facts.head[:4] in MAGIC:
        return facts.bytes_at(0, facts.size)
    parts: dict[int, bytes] = {}
    for marker, start, end in jpeg_segments(path):
        head = facts.bytes_at(start, 8)  # "FLIR", 0, 1, number of the part, number of the last one
        if marker == _APP1 and head[:5] == b"FLIR\0" and end - start > 8:
            parts[head[6]] = facts.bytes_at(start + 8, end - start - 8)
    return b"".join(parts[number] for number in sorted(parts))


def records(data: bytes) -> dict[int, Record]:
    """The directory of FLIR data: kind -> the first record of this kind that lies within the data.

    Raises:
        ValueError: no directory.
    """
    if len(data) >= HEADER:
        for order in "><":
            version, start, count = struct.unpack_from(f"{order}III", data, 20)
            if version in _VERSIONS and count <= _MOST_ENTRIES:
                return _directory(data, order, start, count)
    raise ValueError("no directory of FLIR records")


def _directory(data: bytes, order: str, start: int, count: int) -> dict[int, Record]:
    found: dict[int, Record] = {}
    for place in range(start, min(start + count * _ENTRY, len(data) - _ENTRY + 1), _ENTRY):
        kind, at, length = struct.unpack_from(f"{order}H10xII", data, place)
        if kind and at + length <= len(data):
            found.setdefault(kind, Record(at, at + length))
    return found


def is_one_frame(path: Path) -> bool:
    """Whether a .fff file holds a single frame: nothing that could be another follows its records."""
    facts = facts_of(path)
    try:
        found = records(facts.bytes_at(0, facts.size)) if facts.head[:4] in MAGIC else {}
    except ValueError:
        return False
    return {_RAW, _CAMERA} <= found.keys() and facts.size - max(r.stop for r in found.values()) < HEADER


def celsius(data: bytes, path: Path) -> np.ndarray:
    """(H, W) float32 degrees Celsius of FLIR data, by the constants and the scene parameters in it.

    Raises:
        FormatError: a record is missing or damaged.
    """
    try:
        found = records(data)
        missing = [
            name for kind, name in ((_RAW, "raw picture"), (_CAMERA, "constants")) if kind not in found
        ]
        if missing:
            raise ValueError(f"no {' and no '.join(missing)} in it")
        raw = _raw_picture(data[slice(*found[_RAW])], path)
        degrees = _Scene.of(data[slice(*found[_CAMERA])]).celsius(raw)
    except (ValueError, struct.error) as error:
        raise FormatError(
            f"the FLIR data cannot be decoded ({error})",
            where=path,
            expected="a radiometric picture as the camera wrote it",
        ) from error
    return degrees.astype(np.float32)


def _order(record: bytes) -> str:
    """The byte order of the numbers of a record, which begins with a small one."""
    return ">" if int.from_bytes(record[:2], "little") >= 0x100 else "<"


def _raw_picture(record: bytes, path: Path) -> np.ndarray:
    """(H, W) uint16 counts: 16-bit samples, or a PNG of them whose bytes are swapped."""
    order = _order(record)
    width, height = struct.unpack_from(f"{order}HH", record, 2)
    samples = record[_RAW_START:]
    if samples.startswith(b"\x89PNG"):
        if struct.unpack_from(">II", samples, 16) != (width, height) or 2 * width * height > _DEFLATE * len(
            samples
        ):
            raise ValueError(f"its PNG is not one of {width}x{height}")
        raw = decode_plane(samples, path)
        if raw.shape != (height, width) or raw.dtype != np.uint16:
            raise ValueError(f"its PNG holds {raw.dtype} {raw.shape}")
        return raw.byteswap()
    if not width or not height or len(samples) < 2 * width * height:
        raise ValueError(f"{len(samples)} bytes of samples for {width}x{height} pixels")
    return np.frombuffer(samples, f"{order}u2", width * height).reshape(height, width)


class _Scene(NamedTuple):
    """What the camera knows of itself (Planck constants) and was told of the scene; temperatures in K."""

    emissivity: float
    distance: float  # m
    reflected: float
    air: float
    window: float
    window_transmission: float
    humidity: float  # 0 to 1
    r1: float
    b: float
    f: float
    alpha1: float
    alpha2: float
    beta1: float
    beta2: float
    x: float
    o: float
    r2: float

    @classmethod
    def of(cls, record: bytes) -> _Scene:
        """From the record of the camera; raises ValueError for constants that cannot be."""
        order = _order(record)
        scene = struct.unpack_from(f"{order}6f", record, 32)
        humidity = struct.unpack_from(f"{order}f", record, 60)[0]
        planck = struct.unpack_from(f"{order}3f", record, 88)
        air = struct.unpack_from(f"{order}5f", record, 112)
        o, r2 = struct.unpack_from(f"{order}if", record, 776)
        made = cls(*scene, humidity, *planck, *air, o, r2)  # type: ignore[call-arg]  # mypy counts a starred tuple as many
        positive = (made.emissivity, made.window_transmission, made.r1, made.b, made.r2)
        if not np.isfinite(made).all() or min(positive) <= 0:
            raise ValueError("its constants are no constants of a camera")
        return made

    def counts(self, kelvin: float) -> float:
        """What a black body of this temperature gives."""
        return self.r1 / (self.r2 * (np.exp(self.b / kelvin) - self.f)) - self.o if kelvin > 0 else 0.0

    @property
    def transmission(self) -> float:
        """Of the air over half the distance, as FLIR computes it."""
        t = self.air - 273.15
        water = self.humidity * np.exp(1.5587 + 6.939e-2 * t - 2.7816e-4 * t**2 + 6.8455e-7 * t**3)
        path, root = np.sqrt(max(0.0, self.distance) / 2), np.sqrt(max(0.0, water))
        one, other = (
            np.exp(-path * (alpha + beta * root))
            for alpha, beta in ((self.alpha1, self.beta1), (self.alpha2, self.beta2))
        )
        return float(self.x * one + (1 - self.x) * other)

    def celsius(self, raw: np.ndarray) -> np.ndarray:
        """(H, W) degrees Celsius, float64, of counts.

        What reaches the sensor comes from the object, from what it reflects, from the air before and behind a
        window and from the window (Minkina and Dudzik, Infrared Thermography, 2009; the constants of the air
        are FLIR's, as in Thermimage's raw2temp).
        """
        tau, window = self.transmission, self.window_transmission
        air, through = self.counts(self.air), tau * window * self.emissivity
        other = (
            (1 - self.emissivity) / self.emissivity * self.counts(self.reflected)
            + (1 - tau) / (self.emissivity * tau) * air
            + (1 - window) / through * self.counts(self.window)
            + (1 - tau) / (through * tau) * air
        )
        own = raw.astype(np.float64) / (through * tau) - other
        with np.errstate(divide="ignore", invalid="ignore"):  # colder than a black body can be: NaN
            kelvin = self.b / np.log(self.r1 / (self.r2 * (own + self.o)) + self.f)
        if not np.isfinite(kelvin).any():
            raise ValueError("its constants give no temperature")
        return kelvin - 273.15
