"""Readers of light fields: sub-aperture folders, lenslet pictures, HCI and MATLAB files, npy.

Shape letters: U V views (u counts rows of views downwards, v columns to the right), H rows, W columns.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from armseg_core.arrays import LightField
from armseg_core.errors import FormatError, InputError
from armseg_core.files.facts import head_of, names_in
from armseg_core.files.hdf5 import hdf5_keys, is_matlab, read_hdf5
from armseg_core.files.image_headers import image_header
from armseg_core.files.npy import npy_header, npz_names, read_npy
from armseg_core.files.pictures import read_image
from armseg_core.sensors.light_field.grid_order import counts_columns
from armseg_core.sensors.light_field.options import LightFieldOptions
from armseg_core.sensors.reader import Reader, quiet

_PICTURE = r"\.(?:png|tiff?|jpe?g|bmp)"
_GRID_NAME = re.compile(rf"(\d{{1,3}})_(\d{{1,3}}){_PICTURE}", re.IGNORECASE)
# NAME_u_v, NAME_NNN_u_v (NNN a running number), and NAME_u_v_y_x_ with the place of the camera (Stanford)
_NAMED_GRID = re.compile(
    rf"(?P<name>.*?)(?:_\d+)?_(?P<u>\d{{1,3}})_(?P<v>\d{{1,3}})(?:_-?\d+\.\d+_-?\d+\.\d+_?)?{_PICTURE}",
    re.IGNORECASE,
)
_SEQUENCE = re.compile(rf"(?P<name>.*?)(?P<number>\d{{1,6}}){_PICTURE}", re.IGNORECASE)
_HCI_NAME = re.compile(rf"input_cam(\d{{3}}){_PICTURE}", re.IGNORECASE)
_FEWEST = 3  # views per side, from where names alone make a grid of views
_NEEDS = (
    "decode it first: MATLAB Light Field Toolbox (LFLytroDecodeImage, save LF with -v7.3), PlenoptiCam or "
    "the camera's program; then give armseg the .mat, the ESLF picture (--angular 14) or the folder of views"
)


def read_grid_folder(path: Path, options: LightFieldOptions) -> LightField:
    """Views `{u}_{v}.png` (UrbanLF and others) or `{name}_{u}_{v}.png`: a 0- or 1-based, square grid.

    Raises:
        FormatError: a view is missing, the grid is not square, sizes or bit depths differ.
    """
    found = {(int(m[1]), int(m[2])): file for file in _files(path) if (m := _GRID_NAME.fullmatch(file.name))}
    found = found or _named_views(path)
    first = min((index for pair in found for index in pair), default=0)
    if first > 1:
        raise FormatError(f"the views are numbered from {first}", where=path, expected="u and v from 0 or 1")
    rows, columns = (1 + max(pair[axis] for pair in found) - first for axis in (0, 1))
    return _read_views(
        path,
        {(u - first, v - first): file for (u, v), file in found.items()},
        rows,
        columns,
        lambda u, v: f"{u + first}_{v + first}",
        options,
    )


def read_hci_folder(path: Path, options: LightFieldOptions) -> LightField:
    """Views `input_Cam000.png` ... of a square grid, row by row (4D Light Field Benchmark, Honauer 2016).

    Raises:
        FormatError: a view is missing, the number of views is not a square, sizes or bit depths differ.
    """
    found = {int(m[1]): file for file in _files(path) if (m := _HCI_NAME.fullmatch(file.name))}
    last = max(found, default=-1)
    side = int(np.ceil(np.sqrt(last + 1)))
    return _read_views(
        path,
        {divmod(i, side): file for i, file in found.items()},
        side,
        side,
        lambda u, v: f"input_Cam{u * side + v:03d}",
        options,
    )


def read_sequence(path: Path, options: LightFieldOptions) -> LightField:
    """Pictures numbered without a gap, 000.png ... 048.png, as a square grid row by row.

    Raises:
        FormatError: the number of pictures is not a square, sizes or bit depths differ.
    """
    found = _numbered_views(path)
    side = math.isqrt(len(found))
    grid = {divmod(i, side): file for i, file in enumerate(found)}
    return _read_views(path, grid, side, side, lambda u, v: f"picture {u * side + v}", options)


def _named_views(path: Path) -> dict[tuple[int, int], Path]:
    """(u, v) -> file of views of one name; {} where the names are of something else."""
    found = [(m, file) for file in _files(path) if (m := _NAMED_GRID.fullmatch(file.name))]
    grid = {(int(m["u"]), int(m["v"])): file for m, file in found}
    one_name = len({m["name"] for m, _ in found}) == 1 and len(grid) == len(found)
    return grid if one_name else {}


def _numbered_views(path: Path) -> list[Path]:
    """The pictures of a folder in the order of their numbers, where these run from 0 or 1; else []."""
    found = [(m, file) for file in _files(path) if (m := _SEQUENCE.fullmatch(file.name))]
    files = {int(m["number"]): file for m, file in found}
    whole = len({m["name"] for m, _ in found}) == 1 and len(files) == len(found)
    numbers = sorted(files)
    whole = whole and numbers[0] in (0, 1) and numbers[-1] - numbers[0] == len(files) - 1
    return [files[number] for number in numbers] if whole else []


def read_lenslet(path: Path, options: LightFieldOptions) -> LightField:
    """A lenslet / ESLF picture: view (u, v) = picture[u::N, v::N], N = `angular`.

    Raises:
        FormatError: `angular` is not given, or does not divide the size of the picture.
    """
    picture = _as_rgb(read_image(path), path)
    n = options.angular
    if n is None:
        raise FormatError(
            "a lenslet picture does not say how many views it holds",
            where=path,
            hint="--angular 14 (Lytro Illum / ESLF), or the views per side of your camera",
        )
    h, w = picture.shape[:2]
    if h % n or w % n:
        raise FormatError(
            f"{n} views per side do not divide {w}x{h} pixels",
            where=path,
            expected=f"a size that is a multiple of {n}",
            hint="another --angular",
        )
    return _light_field(picture.reshape(h // n, n, w // n, n, 3).transpose(1, 3, 0, 2, 4), path, options)


def read_hci_h5(path: Path, options: LightFieldOptions) -> LightField:
    """/LF of (rows of views, columns of views, y, x, 3) uint8 (HCI data set of Wanner et al. 2013)."""
    return _light_field(read_hdf5(path, "LF"), path, options)


def read_mat(path: Path, options: LightFieldOptions) -> LightField:
    """LF of a MATLAB v7.3 file: (rows of views, columns of views, y, x, colors) there, reversed in HDF5.

    A fourth channel (the confidence of the Light Field Toolbox) is left out; floats in [0, 1] become 16 bit.
    """
    return _light_field(read_hdf5(path, "LF").transpose(), path, options)


def read_array(path: Path, options: LightFieldOptions) -> LightField:
    """npy / npz of (U, V, H, W, 3), (U, V, 3, H, W), or gray (U, V, H, W)."""
    array = read_npy(path)
    if array.ndim == 5 and array.shape[-1] not in (3, 4) and array.shape[2] == 3:
        array = np.moveaxis(array, 2, -1)
    if array.ndim == 4:
        array = array[..., None]
    return _light_field(array, path, options)


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        raise InputError("not a folder", where=path, expected="a folder of sub-aperture views")
    return [path / name for name in names_in(path)[0]]


def _read_views(
    path: Path,
    found: dict[tuple[int, int], Path],
    rows: int,
    columns: int,
    name: Callable[[int, int], str],
    options: LightFieldOptions,
) -> LightField:
    """Read a complete grid; every view must look like the first one."""
    if not found:
        raise FormatError(
            "no view in this folder",
            where=path,
            expected="1_1.png ..., NAME_01_01.png ... or input_Cam000.png ...",
        )
    missing = [name(u, v) for u in range(rows) for v in range(columns) if (u, v) not in found]
    if missing:
        more = f" and {len(missing) - 4} more" if len(missing) > 4 else ""
        raise FormatError(
            f"{len(missing)} of {rows}x{columns} views are missing: {', '.join(missing[:4])}{more}",
            where=path,
            expected="every view of the grid",
        )
    if rows != columns:
        raise FormatError(f"the grid has {rows}x{columns} views", where=path, expected="a square grid")
    array: np.ndarray | None = None
    for (u, v), file in sorted(found.items()):
        view = _as_rgb(read_image(file), file)
        if array is None:
            array = np.empty((rows, columns, *view.shape), view.dtype)
        if (view.shape, view.dtype) != (array.shape[2:], array.dtype):
            h, w = array.shape[2:4]
            raise FormatError(
                f"the view is {view.shape[1]}x{view.shape[0]} {view.dtype}",
                where=file,
                expected=f"{w}x{h} {array.dtype} as the views before it",
            )
        array[u, v] = view
    assert array is not None
    return _light_field(array, path, options)


def _as_rgb(image: np.ndarray, path: Path) -> np.ndarray:
    """(H, W, 3) of a gray, gray + alpha, RGB or RGBA picture of 8 or 16 bit."""
    if image.dtype not in (np.uint8, np.uint16):
        raise FormatError(f"the view has {image.dtype} samples", where=path, expected="8 or 16 bit")
    if image.ndim == 2 or image.shape[2] == 2:
        return np.repeat((image if image.ndim == 2 else image[..., 0])[..., None], 3, axis=2)
    return image[..., :3]


def _light_field(array: np.ndarray, path: Path, options: LightFieldOptions) -> LightField:
    """Check the shape, bring samples to uint8 / uint16 RGB and cut out the central views."""
    if array.ndim != 5 or array.shape[-1] not in (1, 3, 4):
        raise FormatError(
            f"the light field has shape {array.shape}",
            where=path,
            expected="(views down, views right, height, width, 3)",
        )
    if array.shape[0] != array.shape[1]:
        raise FormatError(
            f"the grid has {array.shape[0]}x{array.shape[1]} views", where=path, expected="a square grid"
        )
    if 0 in array.shape:
        raise FormatError(f"the light field is empty: {array.shape}", where=path)
    if array.dtype.kind == "f":
        if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
            raise FormatError("float samples outside [0, 1]", where=path, expected="[0, 1], uint8 or uint16")
        array = np.rint(array * 65535).astype(np.uint16)
    elif array.dtype not in (np.uint8, np.uint16):
        raise FormatError(
            f"the light field has {array.dtype} samples", where=path, expected="uint8, uint16 or float"
        )
    if options.central is not None:
        n, k = array.shape[0], options.central
        if k > n:
            raise FormatError(f"--central {k} of {n}x{n} views", where=path, expected=f"at most {n}")
        start = n // 2 - k // 2  # the center view n // 2 stays the center k // 2
        array = array[start : start + k, start : start + k]
    if options.grid_order == "columns" or (
        options.grid_order == "auto" and counts_columns(array, options.disparity_range)
    ):
        array = array.swapaxes(0, 1)
    array = np.repeat(array, 3, axis=-1) if array.shape[-1] == 1 else array[..., :3]
    return LightField(np.ascontiguousarray(array))


def _refuse(path: Path, options: LightFieldOptions) -> LightField:
    raise FormatError(
        "a raw light-field recording: it needs the white images of this one camera to be decoded",
        where=path,
        hint=_NEEDS,
    )


def _has_views(pattern: re.Pattern[str], count: int) -> Callable[[Path], bool]:
    @quiet
    def test(path: Path) -> bool:
        return path.is_dir() and sum(map(bool, map(pattern.fullmatch, names_in(path)[0]))) >= count

    return test


@quiet
def _is_grid(path: Path) -> bool:
    """Views by their names alone; of named ones, a square of which a quarter may be missing."""
    if _has_views(_GRID_NAME, 4)(path):
        return True
    grid = _named_views(path) if path.is_dir() else {}
    rows, columns = ({pair[axis] for pair in grid} for axis in (0, 1))
    side = len(rows)
    return side >= _FEWEST and rows == columns and min(rows) <= 1 and len(grid) >= 0.75 * side**2


@quiet
def _is_sequence(path: Path) -> bool:
    side = math.isqrt(len(found := _numbered_views(path))) if path.is_dir() else 0
    return side >= _FEWEST and side**2 == len(found)


@quiet
def _is_lenslet(path: Path) -> bool:
    header = image_header(path)
    return (
        header is not None and header.kind in ("png", "tiff") and header.channels >= 3 and not header.floating
    )


@quiet
def _is_mat(path: Path) -> bool:
    return is_matlab(path) and len(hdf5_keys(path).get("LF", ())) == 5


@quiet
def _is_hci_h5(path: Path) -> bool:
    return not is_matlab(path) and len(hdf5_keys(path).get("LF", ())) == 5


@quiet
def _is_array(path: Path) -> bool:
    header = npy_header(path)
    if header is not None:
        shape = header[0]
        return len(shape) == 5 or (len(shape) == 4 and shape[0] == shape[1] and min(shape[2:]) > 4)
    return not {"lf", "light_field", "views"}.isdisjoint(npz_names(path))


@quiet
def _is_raw(path: Path) -> bool:
    return head_of(path, 4) == b"\x89LFP" or path.suffix.lower() in (".lfr", ".lfp", ".lfx")


LIGHT_FIELD_READERS: tuple[Reader, ...] = (
    Reader(
        "views",
        "light_field",
        "folder of sub-aperture views u_v.png",
        ("1_1.png", "*_01_01.png"),
        _is_grid,
        read_grid_folder,
        notes="UrbanLF; also NAME_u_v.png, NAME_NNN_u_v.png (Light Field Toolbox), NAME_u_v_y_x_.png "
        "(Stanford); 0- or 1-based, gray / RGB / RGBA, 8 or 16 bit; --grid-order",
        folder="1_1.png or NAME_01_01.png",
    ),
    Reader(
        "hci-folder",
        "light_field",
        "4D Light Field Benchmark folder",
        ("input_Cam000.png",),
        _has_views(_HCI_NAME, 4),
        read_hci_folder,
        notes="row by row over a square grid",
        folder="input_Cam000.png",
    ),
    Reader(
        "view-sequence",
        "light_field",
        "numbered views of a square grid",
        ("000.png",),
        _is_sequence,
        read_sequence,
        notes="row by row, or --grid-order columns; with --modality light_field, or where the name of the "
        "folder speaks of views",
        folder="000.png, 001.png, ... with --modality light_field",
        vague=True,
    ),
    Reader(
        "hci-h5",
        "light_field",
        "HCI h5 with /LF",
        ("*.h5",),
        _is_hci_h5,
        read_hci_h5,
        notes="(v, u, y, x, 3) uint8",
    ),
    Reader(
        "lf-mat",
        "light_field",
        "MATLAB v7.3 file with LF",
        ("*.mat",),
        _is_mat,
        read_mat,
        notes="Light Field Toolbox, saved with -v7.3",
    ),
    Reader(
        "lf-npy",
        "light_field",
        "npy / npz light field",
        ("*.npy", "*.npz"),
        _is_array,
        read_array,
        notes="(U, V, H, W, 3), (U, V, 3, H, W) or gray (U, V, H, W)",
    ),
    Reader(
        "lfp", "light_field", "Lytro LFR / LFP recording", ("*.lfr", "*.lfp"), _is_raw, _refuse, refuse=_NEEDS
    ),
    Reader(
        "lenslet",
        "light_field",
        "lenslet / ESLF picture",
        ("*_eslf.png",),
        _is_lenslet,
        read_lenslet,
        notes="needs --angular N; outer views of a lenslet camera are dark: --central 9",
    ),
)
