"""The README is true: its blocks are run, its table comes from the code, its paths exist."""

from __future__ import annotations

import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from places import REPOSITORY

from armseg_cli.main import COMMANDS

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Block:
    """A fenced block. `skip` is the reason in a comment `<!-- not run: REASON -->` right above it."""

    language: str
    text: str
    skip: str

    @property
    def commands(self) -> list[list[str]]:
        """The lines that are commands, split as a shell does; a line may go on after a backslash."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [
            shlex.split(line, comments=True) for line in lines if line.strip() and not line.startswith("#")
        ]


BLOCKS = [
    Block(language, text, skip or "")
    for skip, language, text in re.findall(
        r"(?:<!-- not run: ([^>]*) -->\n)?^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL
    )
]
RUN = [block for block in BLOCKS if block.language in ("bash", "python") and not block.skip]


@pytest.mark.slow
def test_the_readme_blocks_run_in_order(armseg, sample_data: Path, tmp_path: Path, monkeypatch) -> None:
    assert RUN
    shutil.copytree(sample_data, tmp_path / "sample_data")
    monkeypatch.chdir(tmp_path)
    for block in RUN:
        if block.language == "python":
            exec(compile(block.text, "README.md", "exec"), {})
            continue
        for program, *arguments in block.commands:
            assert program == "armseg", f"only armseg is run: {program}"
            result = armseg(*arguments)
            assert result.exit_code == 0, f"armseg {' '.join(arguments)}\n{result.stderr}"


def test_every_command_is_shown() -> None:
    shown = {arguments[1] for block in BLOCKS for arguments in block.commands if arguments[0] == "armseg"}
    shown |= {arguments[1] for block in BLOCKS for arguments in block.commands if arguments[0] == "make"}
    assert {row.name for row in COMMANDS} - shown == set()


def test_make_lines_are_targets_of_the_makefile() -> None:
    targets = set(re.findall(r"^(\w+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    named = {arguments[1] for block in BLOCKS for arguments in block.commands if arguments[0] == "make"}
    assert {"demo", "test"} <= named <= targets


def test_the_figures_are_those_of_the_results() -> None:
    """'70.1 with thermal' stands in the table of RESULTS.md as the joint model's figure of that sensor."""
    results = (REPOSITORY / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    said = re.search(r"RGB-only model\s+reaches ([\d.]+) mIoU;(.*?)when it is given", README, re.DOTALL)
    assert said
    figures = re.findall(
        r"([\d.]+)\s+with\s+(?:the\s+)?(events?|thermal|depth|polarization|light\s+field)", said[2]
    )
    assert len(figures) == 5
    for value, sensor in figures:
        name = re.sub(r"\s+", "_", sensor.removesuffix("s"))
        assert re.search(rf"^\| {name} \| +{said[1]} ± [\d.]+ \| +{value} ±", results, re.MULTILINE), (
            sensor,
            value,
        )


def test_links_and_paths_exist() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    tree = [line.split()[0] for block in BLOCKS if not block.language for line in block.text.splitlines()]
    assert tree
    assert [name for name in links + tree if not (REPOSITORY / name).exists()] == []


@pytest.mark.parametrize("row", COMMANDS, ids=lambda row: row.name)
def test_the_blocks_that_are_not_run_use_real_options(row, armseg) -> None:
    known = armseg(row.name, "--help").stdout
    for block in BLOCKS:
        for program, *arguments in block.commands if block.language == "bash" and block.skip else []:
            if (program, *arguments[:1]) == ("armseg", row.name):
                assert [a for a in arguments if a.startswith("--") and f"{a} " not in known] == []
