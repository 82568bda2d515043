"""The metadata, the constraints and the code name the same packages; the wheel is complete."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from places import REPOSITORY

import armseg_core
from armseg_core.environment import EXTRAS, REQUIRED

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())


def package_name(requirement: str) -> str:
    """'laspy[lazrs]>=2.7' -> 'laspy'; names are compared as indexes do (case, '-' and '_' do not matter)."""
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name
    return name[0].lower().replace("_", "-")


def constrained() -> dict[str, str]:
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    assert all(len(pair) == 2 for pair in pairs), "every constraint is one exact version"
    return {package_name(name): version for name, version in pairs}


def test_constraints_pin_everything_that_is_installed_for_development() -> None:
    groups = PROJECT["dependency-groups"].values()
    wanted = [*PROJECT["project"]["dependencies"], *(item for group in groups for item in group)]
    assert {package_name(item) for item in wanted} <= set(constrained())


def test_torch_and_torchvision_are_a_pair() -> None:
    pins = constrained()
    assert int(pins["torchvision"].split(".")[1]) == int(pins["torch"].split(".")[1]) + 15


def test_doctor_knows_every_dependency_and_extra() -> None:
    assert {package_name(item) for item in PROJECT["project"]["dependencies"]} == set(
        map(package_name, REQUIRED)
    )
    assert set(PROJECT["project"]["optional-dependencies"]) == set(EXTRAS)


def test_the_optional_readers_are_tested() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    optional = {item for extra, items in extras.items() if extra != "ray" for item in items}
    oracle = {"evt3>=0.4"}  # a second decoder that ours is compared with
    assert optional | oracle == set(PROJECT["dependency-groups"]["formats"])


def test_the_version_stands_in_one_place(built_wheel: Path) -> None:
    assert "version" in PROJECT["project"]["dynamic"]
    assert built_wheel.name.startswith(f"armseg-{armseg_core.__version__}-")
    numbers = re.findall(r"^## \[([^\]]+)\]", (REPOSITORY / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert numbers[:2] == ["Unreleased", armseg_core.__version__]


def test_the_entry_points_and_the_oldest_python() -> None:
    assert PROJECT["project"]["scripts"] == {"armseg": "armseg_cli.__main__:run"}
    assert PROJECT["project"]["requires-python"] == ">=3.11"


def test_license_is_apache_2() -> None:
    text = (REPOSITORY / "LICENSE").read_text()
    assert "Apache License\n                           Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


@pytest.fixture(scope="module")
def built_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    for name in ("armseg_core", "armseg_cli"):
        shutil.copytree(REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    pytest.importorskip("setuptools", minversion="77")
    code = "import sys, setuptools.build_meta as backend; print(backend.build_wheel(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, str(source)], cwd=source, check=True, capture_output=True)
    return next(source.glob("*.whl"))


def test_the_wheel_holds_code_assets_and_license(built_wheel: Path) -> None:
    names = zipfile.ZipFile(built_wheel).namelist()
    for room in ("armseg_core", "armseg_cli"):
        here = {
            path.relative_to(REPOSITORY).as_posix()
            for path in (REPOSITORY / room).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        assert here - set(names) == set()
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any(name.startswith(("tests", "sample_data", "benchmarks")) for name in names)


def test_an_installed_wheel_answers_without_the_repository(built_wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(built_wheel).extractall(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "armseg_cli", "--version"],
        cwd=tmp_path,
        text=True,
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert done.stdout == f"armseg {armseg_core.__version__}\n", done.stderr
    code = "from armseg_core.data.sample_data import repository_sample_data as f; print(f())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, text=True, capture_output=True, check=False
    )
    assert done.stdout == "None\n", done.stderr


@pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
@pytest.mark.parametrize(("extras", "venv"), [("1", ".venv"), ("0", ".venv-bare")])
def test_make_installs_with_the_python_and_the_extras_that_are_asked_for(extras: str, venv: str) -> None:
    """`make -n` prints what it would do; nothing is installed."""
    done = subprocess.run(
        ["make", "-n", "-B", "install"],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHON": sys.executable, "EXTRAS": extras},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"{sys.executable} -m venv --clear {venv}\n" in done.stdout
    assert f"test -x {venv}/bin/python{sys.version_info[0]}.{sys.version_info[1]} " in done.stdout
    assert re.search(r'^test "(\d)" = 0 \|\| .*--group formats', done.stdout, re.MULTILINE)[1] == extras


def test_the_workflow_only_calls_what_everybody_can_run() -> None:
    text = (REPOSITORY / ".github" / "workflows" / "ci.yml").read_text()
    assert re.findall(r"run: (.*)", text) == [".ci/run"]
    jobs = re.findall(r'python: "([\d.]+)", extras: "(\d)"', text)
    assert jobs == [("3.11", "1"), ("3.12", "1"), ("3.13", "1"), ("3.11", "0")]


def test_the_hooks_before_a_commit_are_the_checks_of_make_lint() -> None:
    text = (REPOSITORY / ".pre-commit-config.yaml").read_text()
    assert re.findall(r"repo: (.*)", text) == ["local"]  # nothing is downloaded
    hooks = [entry.removeprefix(".venv/bin/") for entry in re.findall(r"entry: (.*)", text)]
    lint = re.findall(r"^\t\$\(BIN\)/(ruff \w+|mypy)", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    assert hooks == lint
