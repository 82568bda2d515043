"""Building a staged encoder by name, with random, published or a file's weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from armseg_core.errors import ArmsegError, CheckpointError, UsageError
from armseg_core.learning.clip_loading import quiet_logging, read_state, tower_sha256
from armseg_core.model.backbones.base import Backbone, fill
from armseg_core.model.backbones.table import find_backbone


@dataclass(frozen=True)
class BackboneIdentity:
    """What a model folder records of its backbone, so that the same weights are found again.

    Attributes:
        name: as `build_backbone` takes it.
        weights: a file, "default" for the published ones, "none" for random ones.
        sha256: over the encoder's tensors, by name, before training.
    """

    name: str
    weights: str
    sha256: str


def build_backbone(name: str, weights: Path | None = None, pretrained: bool = False) -> Backbone:
    """A staged encoder of the table of backbones.

    Args:
        name: "small", "mit_b2", "convnext_tiny", ...
        weights: a local .safetensors / .pt file with published names.
        pretrained: without a file: fetch the published weights, in place of random ones.

    Raises:
        UsageError: an unknown name, or a model that gives no maps of the right strides.
        CheckpointError: weights that cannot be fetched, read, or are of another architecture.
        MissingExtraError: weights that an optional package would bring.
    """
    row = find_backbone(name)
    if weights is not None and not weights.is_file():
        raise CheckpointError(
            "no such file of backbone weights", where=weights, hint="--backbone-weights FILE"
        )
    fetch = pretrained and weights is None
    with quiet_logging():
        try:
            backbone = row.build(name, fetch)
        except ArmsegError:
            raise
        except Exception as error:  # hub, network and file errors of many kinds
            if not fetch:
                raise UsageError(f"the backbone '{name}' cannot be built ({error})") from error
            raise CheckpointError(
                f"weights of {name} could not be fetched ({type(error).__name__})",
                hint="--backbone-weights FILE, or run once with internet access",
            ) from error
    if weights is not None:
        try:
            fill(backbone, row.convert(backbone, read_state(weights)))
        except CheckpointError as error:
            raise CheckpointError(
                error.what, where=weights, expected=error.expected, hint=error.hint
            ) from error
    return backbone


def backbone_identity(
    backbone: Backbone, name: str, weights: Path | None, pretrained: bool
) -> BackboneIdentity:
    """The identity of what `build_backbone` gave, before it is tuned or trained."""
    source = str(weights) if weights is not None else "default" if pretrained else "none"
    return BackboneIdentity(name, source, tower_sha256(backbone.encoder))
