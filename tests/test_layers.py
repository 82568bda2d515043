"""Imports point to lower tiers only, and light entry points stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from places import REPOSITORY

CORE = REPOSITORY / "armseg_core"

# A module may import its own room and the lines above its own. The longest matching prefix of a name counts.
LAYERS = (
    ("", "advice", "errors"),  # armseg_core itself: __version__; its other names are loaded on use
    ("arrays", "config", "interruption", "palette", "plugins", "resizing"),
    ("files",),
    ("visualization",),
    ("sensors",),
    ("simulate",),
    ("conversion", "model"),
    ("data",),
    ("learning",),
    ("figures", "demo", "environment"),
)
TIERS = {f"armseg_core.{name}".rstrip("."): tier for tier, names in enumerate(LAYERS) for name in names}
# rooms in which no module may import torch, at any place
NUMPY_ROOMS = ("armseg_core.files", "armseg_core.visualization", "armseg_core.sensors")
# the network: what its parts share, and the one module that puts them together
MODEL = "armseg_core.model"
SHARED, COMPOSER = {f"{MODEL}.layers", f"{MODEL}.lora"}, f"{MODEL}.segmenter"
# what is made of other parts: MA-CLIP of a tower, and the backbone that is MA-CLIP's tower
MADE_OF = {f"{MODEL}.ma_clip": {f"{MODEL}.clip_tower"}, f"{MODEL}.backbones.clip": {f"{MODEL}.ma_clip"}}
BACKBONES = f"{MODEL}.backbones"  # one part in several files
DISK = {"pathlib", "os", "io", "json", "tempfile", "safetensors", "open_clip"}
HEAVY = {"torch", "torchvision", "open_clip", "peft", "transformers", "timm", "cv2", "h5py", "hdf5plugin"}


def modules(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def name_of(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def known_prefix(module: str) -> str:
    while module not in TIERS and "." in module:
        module = module.rpartition(".")[0]
    return module


def imports(tree: ast.AST, module: str, *, top_level: bool = False) -> set[str]:
    """Absolute names of the modules that a syntax tree imports (`if TYPE_CHECKING:` blocks do not count)."""
    found: set[str] = set()
    todo = list(ast.iter_child_nodes(tree))
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            base = node.module or ""
            for alias in node.names:
                inside = (REPOSITORY / Path(*base.split(".")) / f"{alias.name}.py").is_file()
                found.add(f"{base}.{alias.name}" if inside else base)
        if not (top_level and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
            todo.extend(ast.iter_child_nodes(node))
    return found


@pytest.mark.parametrize("path", modules(CORE), ids=name_of)
def test_core_imports_point_down(path: Path) -> None:
    module = name_of(path)
    room = known_prefix(module)
    if module == "armseg_core":
        return  # the lazy table of names
    assert room != "armseg_core", f"{module} has no tier: add it to LAYERS"
    tree = ast.parse(path.read_text())
    for target in imports(tree, module):
        assert not target.startswith("armseg_cli"), f"{module} imports the command line"
        if not target.startswith("armseg_core"):
            continue
        other = known_prefix(target)
        allowed = other == room or TIERS[other] < TIERS[room]
        assert allowed, f"{module} (tier {TIERS[room]}) imports {target} (tier {TIERS[other]})"


SENSOR_FOLDERS = sorted(path.parent for path in (CORE / "sensors").glob("*/row.py"))


@pytest.mark.parametrize("folder", SENSOR_FOLDERS, ids=lambda folder: folder.name)
def test_sensors_do_not_know_each_other(folder: Path) -> None:
    others = {f"armseg_core.sensors.{other.name}" for other in SENSOR_FOLDERS if other != folder}
    for path in modules(folder):
        used = imports(ast.parse(path.read_text()), name_of(path))
        assert not {name for name in used if any(f"{name}.".startswith(f"{other}.") for other in others)}


def test_no_module_outside_imports_the_folder_of_a_sensor_for_what_its_row_says() -> None:
    """What lies above takes rows from SENSORS; only what works on the arrays of one may name it."""
    parts = {
        f"armseg_core.sensors.{folder.name}.{part}"
        for folder in SENSOR_FOLDERS
        for part in ("row", "options", "readers", "representations")
    }
    for path in modules(CORE):
        if not any(folder in path.parents for folder in SENSOR_FOLDERS):
            assert not parts & imports(ast.parse(path.read_text()), name_of(path)), path


@pytest.mark.parametrize(
    "path", [p for room in NUMPY_ROOMS for p in modules(REPOSITORY / room.replace(".", "/"))], ids=name_of
)
def test_numpy_rooms_do_without_torch(path: Path) -> None:
    module = name_of(path)
    used = imports(ast.parse(path.read_text()), module)
    assert "torch" not in {name.partition(".")[0] for name in used}


def test_pictures_are_drawn_from_arrays_alone() -> None:
    """What is drawn is written elsewhere."""
    drawing = modules(CORE / "visualization")
    used = {name for path in drawing for name in imports(ast.parse(path.read_text()), name_of(path))}
    assert not {name for name in used if name.startswith("armseg_core.files")}


@pytest.mark.parametrize("path", modules(CORE / "model"), ids=name_of)
def test_parts_of_the_model_know_no_sibling_and_no_file(path: Path) -> None:
    module = name_of(path)
    used = imports(ast.parse(path.read_text()), module)
    siblings = {name for name in used if name.startswith(f"{MODEL}.")} - SHARED - MADE_OF.get(module, set())
    if module.startswith(BACKBONES):
        siblings = {name for name in siblings if not name.startswith(BACKBONES)}
    assert module == COMPOSER or not siblings
    assert not DISK & {name.partition(".")[0] for name in used}
    assert not any(name.startswith("armseg_core.files") for name in used)


@pytest.mark.parametrize("path", modules(REPOSITORY / "armseg_cli"), ids=name_of)
def test_command_modules_import_nothing_heavy_at_the_top(path: Path) -> None:
    used = imports(ast.parse(path.read_text()), name_of(path), top_level=True)
    assert not HEAVY & {name.partition(".")[0] for name in used}


LIGHT = {
    "importing armseg_core": "import armseg_core",
    "armseg --help": "import sys; sys.argv = ['armseg', '--help']\n"
    "from armseg_cli.__main__ import run\n"
    "try: run()\n"
    "except SystemExit as end: assert not end.code, end.code",
    "the modules of all commands": "import importlib; from armseg_cli.main import COMMANDS\n"
    "[importlib.import_module(row.module) for row in COMMANDS]",
}


@pytest.mark.parametrize("what", LIGHT)
def test_light_entry_points_load_no_heavy_package(what: str) -> None:
    code = LIGHT[what] + f"\nimport sys; print('HEAVY', sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "HEAVY []"


def test_what_tests_share_is_in_tests_support() -> None:
    """A test file that imports another one cannot be read, moved or run alone."""
    files = modules(REPOSITORY / "tests")
    tests = {path.stem for path in files if path.stem.startswith("test_")}
    assert len(tests) == sum(path.stem.startswith("test_") for path in files), "two test files of one name"
    for path in files:
        shared = {name.partition(".")[0] for name in imports(ast.parse(path.read_text()), path.stem)} & tests
        assert not shared, f"{path.relative_to(REPOSITORY)} imports {', '.join(shared)}"
