"""The documents are true: generated parts equal the code, paths and names exist, examples are valid."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from places import REPOSITORY

from armseg_cli.main import COMMANDS

DOCS = sorted((REPOSITORY / "docs").glob("*.md"))
GUIDES = [REPOSITORY / "ARCHITECTURE.md", REPOSITORY / "CONTRIBUTING.md"]
PAGES = [REPOSITORY / "README.md", *DOCS]
CODE = [
    path
    for room in ("armseg_core", "armseg_cli", "tests", "scripts")
    for path in (REPOSITORY / room).rglob("*.py")
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All pages made anew, in a process that finds a package with entry points for every group of armseg."""
    plugin = tmp_path_factory.mktemp("plugin")
    (plugin / "intruder.py").write_text("raise SystemExit('a package of others was loaded')\n")
    info = plugin / "intruder-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: intruder\nVersion: 1.0\n")
    groups = ("armseg.sensors", "armseg.datasets")
    (info / "entry_points.txt").write_text("".join(f"[{group}]\nx = intruder:X\n" for group in groups))
    folder = tmp_path_factory.mktemp("docs")
    done = subprocess.run(
        [sys.executable, REPOSITORY / "scripts" / "update_docs.py", "--to", folder],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(plugin), str(REPOSITORY)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_generated_parts_are_those_of_the_code(page: Path, made: Path) -> None:
    again = made / page.relative_to(REPOSITORY)
    assert page.read_text(encoding="utf-8") == again.read_text(encoding="utf-8"), (
        "make it again: python scripts/update_docs.py"
    )


def test_every_command_and_sensor_is_in_the_reference() -> None:
    """What the generator leaves out by mistake would be left out of both sides of the test above."""
    text = (REPOSITORY / "docs" / "cli.md").read_text(encoding="utf-8")
    assert [row.name for row in COMMANDS if f"\n## armseg {row.name}\n" not in text] == []
    sensors = ("event", "thermal", "depth", "lidar", "polarization", "light_field")
    assert [name for name in sensors if not re.search(rf"^### .* \(`{name}`\)$", text, re.MULTILINE)] == []


def test_the_examples_of_a_dataset_file_are_valid() -> None:
    from armseg_core.data.dataset_file import DataSetFile

    text = (REPOSITORY / "docs" / "datasets.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```toml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        DataSetFile.model_validate(tomllib.loads(block))


@pytest.mark.parametrize("page", [*PAGES, *GUIDES], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", title).lower().replace(" ", "-") for title in titles}


def defined_names() -> set[str]:
    """Every function, class, method, attribute and constant of the program."""
    names: set[str] = set()
    for path in (path for path in CODE if path.relative_to(REPOSITORY).parts[0].startswith("armseg_")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
    return names


def exists(path: str) -> bool:
    """A path or glob, from the repository or from armseg_core; UPPER_CASE and <angle> parts stand for any."""
    pattern = re.sub(r"<[^>]*>|\b[A-Z]{3,}\b(?!\.md)", "*", path.rstrip("/"))
    return any(next(root.glob(pattern), None) for root in (REPOSITORY, REPOSITORY / "armseg_core"))


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.name)
def test_paths_and_names_of_the_guides_exist(page: Path) -> None:
    prose = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    said = re.findall(r"`([^`]+)`", prose)
    names = defined_names()
    source = "".join(path.read_text(encoding="utf-8") for path in CODE)
    source += "".join((REPOSITORY / name).read_text() for name in ("pyproject.toml", "Makefile", ".ci/run"))
    wrong = []
    for span in said:
        if re.fullmatch(r"[\w.*<>/-]+", span) and (
            "/" in span or re.search(r"\.(py|md|toml|txt|yaml)$", span)
        ):
            right = exists(span) or ("/" not in span and span in source)
        elif re.fullmatch(r"[A-Za-z_][\w.]*(\(.*\))?", span):
            right = span.partition("(")[0].rpartition(".")[2] in names or (span.islower() and span in source)
        elif span.startswith("make "):
            right = re.search(rf"^{span.split()[1]}:", source, re.MULTILINE) is not None
        elif span.startswith("armseg "):
            right = span.split()[1] in {row.name for row in COMMANDS}
        else:
            right = span in source
        if not right:
            wrong.append(span)
    assert said
    assert wrong == []


def way() -> list[tuple[str, str]]:
    """(file, function) of every step of 'From events.h5 to a mask' in ARCHITECTURE.md, in order."""
    text = (REPOSITORY / "ARCHITECTURE.md").read_text(encoding="utf-8")
    return re.findall(r"^\d+\. `([\w/]+\.py)`: `([\w.]+)`", text, re.MULTILINE)


def test_the_way_from_a_recording_to_a_mask_is_the_one_the_program_goes(
    armseg, small_clip, tmp_path: Path
) -> None:
    from small_models import small_model

    from armseg_core import Predictor
    from armseg_core.learning.model_folder import save

    steps = way()
    assert 5 <= len(steps) <= 8
    wanted = {(str(REPOSITORY / file), name): (file, name) for file, name in steps}
    called: list[tuple[str, str]] = []

    def note(frame, event, argument) -> None:
        step = wanted.get((frame.f_code.co_filename, frame.f_code.co_qualname)) if event == "call" else None
        if step is not None:
            called.append(step)

    scene = REPOSITORY / "sample_data" / "scene_00018"
    model = tmp_path / "model"
    save(small_model(small_clip, ("event",)), model)
    Predictor.load(model)  # imports everything, which would be slow under a profiler
    sys.setprofile(note)
    try:
        result = armseg(
            "predict", scene / "rgb.png", scene / "events.h5", "--model", model, "-o", tmp_path / "out"
        )
    finally:
        sys.setprofile(None)
    assert result.exit_code == 0, result.stderr
    assert [step for step in steps if step not in called] == []
    first = [called.index(step) for step in steps]
    assert first == sorted(first), "steps in another order than the program's"


def blocks_of(page: str, language: str) -> list[str]:
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_the_sensor_of_the_guide_is_a_complete_row() -> None:
    import numpy as np

    from armseg_core.sensors.modality import row_problems

    (code,) = blocks_of("CONTRIBUTING.md", "python")
    module: dict[str, object] = {"__name__": "armseg_sonar"}
    exec(compile(code, "CONTRIBUTING.md", "exec"), module)
    row = module["SENSOR"]
    assert row_problems(row) == []
    frame = row.representations[0].make(np.ones((6, 8), np.float32), row.options())
    assert frame.channels == row.channels


def test_the_entry_points_of_the_guide_are_those_that_are_looked_up() -> None:
    source = "".join(path.read_text() for path in (REPOSITORY / "armseg_core").rglob("*.py"))
    groups = [
        group
        for block in blocks_of("CONTRIBUTING.md", "toml")
        for group in re.findall(r'"(armseg\.\w+)"', block)
    ]
    assert groups == ["armseg.sensors", "armseg.backbones", "armseg.datasets"]
    assert [group for group in groups if f' = "{group}"' not in source] == []


def test_the_commands_of_the_guide_are_targets_of_the_makefile() -> None:
    (block,) = blocks_of("CONTRIBUTING.md", "bash")
    makefile = (REPOSITORY / "Makefile").read_text()
    named = [line.split()[1] for line in block.splitlines() if line.startswith("make ")]
    assert named == ["install", "test", "lint"]
    assert [name for name in named if not re.search(rf"^{name}:", makefile, re.MULTILINE)] == []


# modules whose docstrings are complete; ruff's D102 is off since it asks overrides to repeat their contract
DOCUMENTED = ("config", "demo", "environment", "errors", "model", "simulate")


@pytest.mark.parametrize("room", DOCUMENTED)
def test_every_public_method_says_what_it_does_or_inherits_it(room: str) -> None:
    top = importlib.import_module(f"armseg_core.{room}")
    inside = pkgutil.walk_packages(getattr(top, "__path__", ()), f"{top.__name__}.")
    silent = []
    for module in (top, *(importlib.import_module(info.name) for info in inside)):
        for name, kind in vars(module).items():
            if not inspect.isclass(kind) or kind.__module__ != module.__name__ or name.startswith("_"):
                continue
            silent += [
                f"{module.__name__}.{name}.{member}"
                for member, value in vars(kind).items()
                if not member.startswith("_")
                and (inspect.isfunction(value) or isinstance(value, property | classmethod | staticmethod))
                and not inspect.getdoc(getattr(kind, member))
            ]
    assert silent == []
