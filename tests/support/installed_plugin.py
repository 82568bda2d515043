"""The package `toy_plugin`, really installed, and commands that run beside it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from places import REPOSITORY

SOURCE = Path(__file__).parent / "toy_plugin"


def install(folder: Path, change: tuple[str, str] | None = None) -> Path:
    """Build and install the package below a folder; returns what belongs on PYTHONPATH.

    change: text of the sensor's module that is replaced before, (old, new).
    """
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
    source = shutil.copytree(SOURCE, folder / "source", ignore=ignore)  # building writes into it
    if change is not None:
        module = source / "armseg_sonar.py"
        text = module.read_text()
        assert change[0] in text
        module.write_text(text.replace(*change))
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--no-index"]
    command += ["--quiet", "--disable-pip-version-check", "--target", str(folder / "site"), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "site"


def armseg(site: Path | None, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command line in a process of its own, beside the installed package (None: without it)."""
    return python(site, "-m", "armseg_cli", *arguments, cwd=cwd)


def python(site: Path | None, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own, beside the installed package (None: without it)."""
    path = os.pathsep.join(map(str, [REPOSITORY, *([site] if site else [])]))
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, check=False
    )
