"""Each way to the disk and each way to resize has one door: the only files that may call it, and why.

A second door brings a second behavior (an EXIF orientation that is forgotten, a pixel grid half a pixel off).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from places import REPOSITORY

_DOCTOR = {"armseg_core/environment.py": "armseg doctor tries the packages themselves, in memory"}
_PICTURES = {"armseg_core/files/pictures.py": "orientation, bit depth, palettes and messages in one place"}
_NPY = {"armseg_core/files/npy.py": "pickles are refused there"}
DOORS: dict[str, dict[str, str]] = {
    "cv2.imread": {},  # hides why a file cannot be read; ours say it
    "cv2.imwrite": {},  # writes in place: a killed run would leave half a file
    "cv2.imdecode": _PICTURES | _DOCTOR,
    "cv2.imencode": _PICTURES | _DOCTOR,
    "PIL.Image.open": _PICTURES,
    "numpy.load": _NPY,
    "numpy.save": {},
    "numpy.savez": {},
    "h5py.File": {"armseg_core/files/hdf5.py": "compression filters are registered there"} | _DOCTOR,
    "h5py.is_hdf5": {},  # opens the file once more: files/hdf5.py looks at what was read of it
    "hdf5plugin": {"armseg_core/files/hdf5.py": "the one place that registers the filters"} | _DOCTOR,
    "cv2.resize": {"armseg_core/resizing.py": "one rule: averaged, bilinear or nearest center"},
    "torch.nn.functional.interpolate": {"armseg_core/model/layers.py": "one rule: pixel centers are kept"},
    "json.dumps": {
        "armseg_core/files/json_text.py": "NaN and infinity are no JSON: they become null",
        "armseg_core/data/cache.py": "a key, never read again",
    },
    "json.dump": {},
    "os.replace": {"armseg_core/files/atomic.py": "files and folders appear whole or not at all"},
}


def used_names(tree: ast.AST) -> Iterator[str]:
    """The full dotted name of everything imported or reached by attributes: np.load -> numpy.load."""
    alias: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for item in node.names:
                alias[item.asname or item.name.partition(".")[0]] = (
                    item.name if item.asname else item.name.partition(".")[0]
                )
                yield item.name
        elif isinstance(node, ast.ImportFrom):
            for item in node.names:
                alias[item.asname or item.name] = f"{node.module}.{item.name}"
                yield f"{node.module}.{item.name}"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value  # importlib.import_module("hdf5plugin")
    for node in ast.walk(tree):
        parts: list[str] = []
        here = node
        while isinstance(here, ast.Attribute):
            parts.append(here.attr)
            here = here.value
        if parts and isinstance(here, ast.Name):
            yield ".".join([alias.get(here.id, here.id), *reversed(parts)])


def users() -> dict[str, set[str]]:
    """Door -> files that use it."""
    found: dict[str, set[str]] = {door: set() for door in DOORS}
    for package in ("armseg_core", "armseg_cli"):
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            names = set(used_names(ast.parse(path.read_text(encoding="utf-8"))))
            for door in DOORS:
                if door in names:
                    found[door].add(path.relative_to(REPOSITORY).as_posix())
    return found


@pytest.fixture(scope="module")
def found() -> dict[str, set[str]]:
    return users()


@pytest.mark.parametrize("door", DOORS)
def test_only_the_files_of_the_table_use_it(found: dict[str, set[str]], door: str) -> None:
    allowed = ", ".join(DOORS[door]) or "a function of armseg_core/files"
    assert found[door] == set(DOORS[door]), f"{door}: call {allowed}"


# Files that read text with Path.read_text: only text that armseg itself wrote. Text of users goes through
# armseg_core/files/text.py, which knows byte order marks and other encodings.
OWN_TEXT = {
    "armseg_core/conversion/manifest.py",
    "armseg_core/files/json_lines.py",
    "armseg_core/learning/resume_state.py",
    "armseg_core/learning/run_folder.py",
    "armseg_core/simulate/dataset.py",
}


def test_text_of_users_has_one_door() -> None:
    found = set()
    for package in ("armseg_core", "armseg_cli"):
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Attribute) and node.attr == "read_text":
                    found.add(path.relative_to(REPOSITORY).as_posix())
    assert found == OWN_TEXT


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("import cv2\ndef f(): return cv2.resize", "cv2.resize"),
        ("import numpy as np\nnp.load(p)", "numpy.load"),
        ("from numpy import load as read\nread(p)", "numpy.load"),
        ("import torch.nn.functional as F\nF.interpolate(x)", "torch.nn.functional.interpolate"),
        ("from torch.nn import functional\nfunctional.interpolate(x)", "torch.nn.functional.interpolate"),
        ("import torch\ntorch.nn.functional.interpolate(x)", "torch.nn.functional.interpolate"),
        ("from PIL import Image\nImage.open(p)", "PIL.Image.open"),
        ("import PIL.Image\nPIL.Image.open(p)", "PIL.Image.open"),
    ],
)
def test_every_way_to_write_it_is_seen(code: str, name: str) -> None:
    assert name in set(used_names(ast.parse(code)))


def test_the_table_names_files_that_exist() -> None:
    assert all(Path(REPOSITORY, file).is_file() for files in DOORS.values() for file in files)
