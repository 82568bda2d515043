"""Whether a sensor-tensor file is what this version would make of its source, and whether armseg made it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from armseg_core import __version__
from armseg_core.errors import ArmsegError
from armseg_core.files.hashing import source_hash
from armseg_core.files.ownership import is_sealed
from armseg_core.files.tensor_file import TensorFile, source_name


def is_current(
    output: Path, modality: str, representation: str, parameters: dict[str, Any], source: Path
) -> bool:
    """True when `output` is a whole file that this version would make from `source` with these settings."""
    if not output.is_file():
        return False
    try:
        with TensorFile(output) as file:
            info = file.info
            len(file) and file.frame(-1)  # the last frame can be read
    except ArmsegError:
        return False
    made = (info.modality, info.representation, info.parameters, info.armseg_version, info.source_name)
    if made != (modality, representation, parameters, __version__, source_name(source)):
        return False
    return (info.source_sha256, info.source_hash) == source_hash(source)


def is_own(output: Path, source: Path) -> bool:
    """True when armseg made `output` and nobody changed it.

    A tensor file from before there were seals is taken for unchanged where it says that it came from a
    recording of the name of `source`.
    """
    if is_sealed(output):
        return True
    try:
        with TensorFile(output) as file:
            return not file.claims_seal and file.info.source_name == source_name(source)
    except ArmsegError:
        return False
