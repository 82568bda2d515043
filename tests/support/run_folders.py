"""A run folder as `armseg train` leaves it, without training."""

from __future__ import annotations

from pathlib import Path

from small_models import shake, small_model

from armseg_core.config.training import TrainConfig
from armseg_core.data.sample import ClassInfo
from armseg_core.learning.model import KnownDataSet
from armseg_core.learning.model_folder import save
from armseg_core.learning.run_folder import RunFolder

SCENES = KnownDataSet("scenes", (ClassInfo("near", (200, 80, 40)), ClassInfo("far", (40, 80, 200))))


def write_run(place: Path, clip: dict[str, str], data: Path) -> Path:
    """A run folder as training leaves it, with an untrained model in best/ and another in last/."""
    run = RunFolder.create(TrainConfig(data=(data,), modalities=("depth",), out=place / "runs"))
    for name, seed in (("last", 1), ("best", 2)):
        model = small_model(clip, ("depth",), seed=seed, datasets=(SCENES,))
        shake(model.segmenter, scale=0.3, seed=seed)
        save(model, run.folder / name)
    return run.folder
