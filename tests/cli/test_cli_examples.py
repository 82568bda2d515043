"""The examples in `--help` work as printed, in a folder that holds the sample data.

Only trainings are shortened: the example gets `--steps 2` behind it.
"""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from armseg_cli.main import COMMANDS

SHORTER = {"train": ["--steps", "2"], "demo": ["--steps", "2"], "simulate": ["--scenes", "2"]}


def examples(help_text: str) -> list[list[str]]:
    """The command lines under 'Example:' in a help text."""
    block = re.search(r"^  Example:\n((?:      .*\n)+)", help_text, re.MULTILINE)
    assert block, help_text
    lines = [shlex.split(line) for line in block[1].splitlines()]
    assert all(line[0] == "armseg" for line in lines)
    return [line[1:] for line in lines]


def needs_own_files(arguments: list[str]) -> bool:
    """DATA in capitals stands for the user's own data, --guide-pretrained downloads weights."""
    return "--guide-pretrained" in arguments or any(re.fullmatch(r"[A-Z_]+", part) for part in arguments)


@pytest.mark.slow
def test_examples_run_in_the_order_of_the_commands(
    armseg, sample_data: Path, tmp_path: Path, monkeypatch
) -> None:
    shutil.copytree(sample_data, tmp_path / "sample_data")
    monkeypatch.chdir(tmp_path)
    for row in COMMANDS:
        for arguments in examples(armseg(row.name, "--help").stdout):
            assert arguments[0] == row.name
            if not needs_own_files(arguments):
                result = armseg(*arguments, *SHORTER.get(row.name, []))
                assert result.exit_code == 0, f"armseg {' '.join(arguments)}\n{result.output}"


@pytest.mark.parametrize("row", COMMANDS, ids=lambda row: row.name)
def test_examples_name_real_options(row, armseg) -> None:
    known = armseg(row.name, "--help").stdout
    for arguments in examples(known):
        assert [part for part in arguments if part.startswith("--") and f"{part} " not in known] == []
