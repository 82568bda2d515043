"""The model folder: save a model, load it. JSON and safetensors only, nothing pickled.

armseg.json                     what the model is: the weights of guide and backbone it began with, input
                                size, data sets with their classes, modalities, versions, metrics
adapters/<modality>/            LoRA adapters of the guide in peft's format
segmenter.safetensors           everything trainable that is not LoRA of the guide, and the input statistics
class_embeddings.safetensors    class matrix of every data set, prompt embedding of every modality
README.md                       model card
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

import armseg_core
from armseg_core.config.model import ModelConfig
from armseg_core.data.dataset_file import path_options
from armseg_core.data.sample import ClassInfo
from armseg_core.errors import CheckpointError, FormatError, OutputError, UsageError
from armseg_core.files.atomic import atomic_folder
from armseg_core.files.json_text import to_json
from armseg_core.files.ownership import copy_entry, entries_below, is_sealed, sealed
from armseg_core.files.text import read_text
from armseg_core.learning.adapter_files import (
    ADAPTER_FILES,
    check_dtypes,
    load_adapters,
    read_tensors,
    save_adapters,
)
from armseg_core.learning.backbone_loading import BackboneIdentity
from armseg_core.learning.clip_loading import ClipIdentity, load_clip
from armseg_core.learning.model import KnownDataSet, Model, assemble
from armseg_core.learning.model_card import model_card
from armseg_core.learning.run_folder import MODEL_FILE, find_model
from armseg_core.sensors.modalities import (
    MODALITIES,
    Declaration,
    declaration_of,
    declare,
    get_modality,
    package_of,
)

CARD = "README.md"
FORMAT_VERSION = 3  # 1 and 2: the network of armseg 0.1.0, with CLIP as backbone


def save(model: Model, folder: Path) -> None:
    """Write the model folder; an older one of that name is replaced when the new one is whole.

    Files of others in it stay, and so does a model card that was changed.

    Raises:
        OutputError: the folder cannot be written.
    """
    with atomic_folder(folder) as scratch:
        try:
            _write(model, scratch)
        except safetensors.SafetensorError as error:  # what its library makes of a full disk
            raise OutputError(f"cannot write: {error}", where=folder) from error
        _keep_others(Path(folder), scratch)
        usual = (scratch / MODEL_FILE).stat().st_mode
        for path in scratch.rglob("*.safetensors"):
            path.chmod(usual)  # the library writes them for their owner alone


def _write(model: Model, folder: Path) -> None:
    segmenter = model.segmenter
    if segmenter.guide is not None and segmenter.guide.adapters is not None:
        save_adapters(segmenter.guide.adapters, folder / "adapters")
    own = {n: t.detach().cpu().contiguous() for n, t in segmenter.own_state().items()}
    safetensors.torch.save_file(own, folder / "segmenter.safetensors")
    named = {f"dataset.{i}": text for i, text in enumerate(segmenter.texts)}
    named |= {f"prompt.{n}": text for n, text in model.prompts.items()}
    embeddings = {n: t.detach().cpu().contiguous() for n, t in named.items()}
    safetensors.torch.save_file(embeddings, folder / "class_embeddings.safetensors")
    meta = {
        "format_version": FORMAT_VERSION,
        "guide": None if model.identity is None else asdict(model.identity),
        "backbone": asdict(model.backbone),
        "model": model.config.model_dump(mode="json"),
        "input": input_rule(model.input_size),
        "modalities": {m: _describe_sensor(m) for m in model.modalities},
        "datasets": [
            {"name": d.name, "classes": [asdict(c) for c in d.classes], "options": d.options}
            for d in model.datasets
        ],
        "metrics": model.metrics,
        "versions": {
            "armseg": armseg_core.__version__,
            **{p: version(p) for p in ("torch", "open_clip_torch", "peft", "timm")},
        },
    }
    (folder / MODEL_FILE).write_text(to_json(meta, indent=2))
    (folder / CARD).write_bytes(sealed(model_card(model).encode()))


def _keep_others(old: Path, new: Path) -> None:
    """Copy what is not armseg's from an older folder of the model to the new one."""
    for file in entries_below(old):
        name = file.relative_to(old)
        made = (new / name).exists() or (name.parts[0] == "adapters" and name.name in ADAPTER_FILES)
        if not made or (name == Path(CARD) and not is_sealed(file)):
            copy_entry(file, new / name)


def load(
    folder: str | os.PathLike[str],
    device: str | torch.device = "cpu",
    guide_weights: Path | None = None,
    backbone_weights: Path | None = None,
) -> Model:
    """Read a model folder.

    folder: a model folder, or a run folder (its `best`, else its `last`, is taken). guide_weights,
    backbone_weights: the weights files, when they are no longer where they were at training.

    Raises:
        CheckpointError: not a model folder, damaged, made by another armseg, or other weights of a tower.
    """
    path = find_model(folder)
    recorded = _read_description(path)
    moved = {"guide_weights": guide_weights, "backbone_weights": backbone_weights and str(backbone_weights)}
    config = recorded.config.model_copy(update={n: w for n, w in moved.items() if w is not None})
    own = read_tensors(path / "segmenter.safetensors")
    embeddings = read_tensors(path / "class_embeddings.safetensors")
    check_dtypes(path / "class_embeddings.safetensors", embeddings)
    prompts = {n.removeprefix("prompt."): t for n, t in embeddings.items() if n.startswith("prompt.")}
    texts = [embeddings.get(f"dataset.{i}", torch.empty(0, 0)) for i in range(len(recorded.datasets))]
    if [len(t) for t in texts] != [len(d.classes) for d in recorded.datasets]:
        raise _damaged(path / "class_embeddings.safetensors", "other classes than armseg.json lists")
    clip = None if recorded.identity is None else load_clip(config)
    if clip is not None and recorded.identity is not None:
        _check_weights("guide", clip.identity, recorded.identity, path)
    # a backbone that is tuned in full lies in segmenter.safetensors: where it came from is not needed
    built = config.model_copy(update={"backbone_weights": None}) if config.tune == "full" else config
    segmenter, backbone = assemble(built, recorded.modalities, clip, texts)
    if config.tune != "full":
        _check_weights("backbone", backbone, recorded.backbone, path)
    if {n: t.shape for n, t in own.items()} != {n: t.shape for n, t in segmenter.own_state().items()}:
        raise _damaged(path / "segmenter.safetensors", "other layers than armseg.json describes")
    check_dtypes(path / "segmenter.safetensors", own, segmenter.own_state())
    segmenter.load_state_dict(own, strict=False)
    if segmenter.guide is not None and segmenter.guide.adapters is not None:
        load_adapters(segmenter.guide.adapters, path / "adapters")
    segmenter.to(device).eval()
    return Model(
        segmenter,
        config,
        recorded.datasets,
        recorded.identity,
        recorded.backbone,
        {n: t.to(device) for n, t in prompts.items()},
        metrics=recorded.metrics,
        input_size=recorded.input_size,
    )


def _check_weights(
    what: str, found: ClipIdentity | BackboneIdentity, recorded: ClipIdentity | BackboneIdentity, path: Path
) -> None:
    """Raise CheckpointError where a frozen tower is not the one of the training."""
    if found.sha256 != recorded.sha256:
        raise CheckpointError(
            f"the weights of the {what} are not those the model was trained on ({recorded.name}, "
            f"sha256 {recorded.sha256[:12]}...)",
            where=path,
            hint=f"--{what}-weights FILE with the right ones",
        )


def input_rule(size: tuple[int, int] | None) -> dict[str, Any]:
    """How inputs meet the network, as plain JSON values: {"rule": "native"}, or "resize" and [H, W]."""
    return {"rule": "native"} if size is None else {"rule": "resize", "size": list(size)}


def _input_size(recorded: dict[str, Any]) -> tuple[int, int] | None:
    """The inverse of `input_rule`."""
    if recorded["rule"] == "native":
        return None
    h, w = (int(side) for side in recorded["size"])
    if recorded["rule"] != "resize" or min(h, w) < 1:
        raise ValueError(f"unknown input rule {recorded}")
    return h, w


@dataclass(frozen=True)
class _Description:
    """What armseg.json says."""

    config: ModelConfig
    identity: ClipIdentity | None
    backbone: BackboneIdentity
    datasets: tuple[KnownDataSet, ...]
    modalities: tuple[str, ...]
    metrics: dict[str, Any]
    input_size: tuple[int, int] | None


def _read_description(path: Path) -> _Description:
    file = path / MODEL_FILE
    try:
        meta = json.loads(read_text(file))
        if meta["format_version"] > FORMAT_VERSION:
            raise CheckpointError("written by a newer armseg", where=file, hint="pip install -U armseg")
        if meta["format_version"] < FORMAT_VERSION:
            raise CheckpointError(
                "a model of armseg 0.1.0, whose network this version no longer has",
                where=file,
                hint="armseg train, or armseg 0.1.0 for this model",
            )
        for name, row in meta["modalities"].items():
            _check_sensor(name, row, file)
        for recorded in meta["datasets"]:
            for name, options in recorded.get("options", {}).items():
                if named := path_options(name) & set(options):  # those of the training were left out
                    raise _damaged(file, f"its options of {name} name a file: {', '.join(sorted(named))}")
        return _Description(
            config=ModelConfig.parse(meta["model"]),
            identity=None if meta["guide"] is None else ClipIdentity(**meta["guide"]),
            backbone=BackboneIdentity(**meta["backbone"]),
            datasets=tuple(
                KnownDataSet(
                    d["name"],
                    tuple(
                        ClassInfo(c["name"], tuple(c["color"]), tuple(c["synonyms"])) for c in d["classes"]
                    ),
                    d["options"],
                )
                for d in meta["datasets"]
            ),
            modalities=tuple(meta["modalities"]),
            metrics=meta.get("metrics", {}),
            input_size=_input_size(meta["input"]),
        )
    except RecursionError as error:
        raise _damaged(file, "nested too deeply") from error
    except KeyError as error:
        raise _damaged(file, f"without {error}") from error
    except (OSError, ValueError, TypeError, AttributeError, UsageError, FormatError) as error:
        why = str(error) if isinstance(error, UsageError) else "no description of a model"
        raise _damaged(file, why) from error


def _describe_sensor(name: str) -> dict[str, Any]:
    """What a model folder says of a sensor; `package` is that of a plug-in, `declared` by a data set."""
    row: dict[str, Any] = {"channels": get_modality(name).channels}
    if package := package_of(name):
        row["package"] = package
    if declaration := declaration_of(name):
        row["declared"] = declaration.to_dict()
    return row


def _check_sensor(name: str, recorded: dict[str, Any], file: Path) -> None:
    """Raise CheckpointError for a sensor that is not installed here, or that has other channels here.

    One that a data set declared becomes known again.
    """
    if "declared" in recorded:
        declaration = Declaration.of(name, **recorded["declared"])
        try:
            declare(declaration, file)
        except UsageError as error:
            raise CheckpointError(
                error.what, where=file, expected=error.expected, hint="another Python process for this model"
            ) from error
    if name not in MODALITIES:
        package = recorded.get("package")
        raise CheckpointError(
            f"the model was trained with the sensor '{name}', which is not installed here",
            where=file,
            expected=f"the package {package}" if package else "a plug-in that brings it",
            hint=f"pip install {package}" if package else "armseg doctor, which lists the plug-ins",
        )
    if tuple(recorded["channels"]) != get_modality(name).channels:
        raise _damaged(file, f"other channels of {name} than this version of armseg")


def _damaged(file: Path, why: str) -> CheckpointError:
    return CheckpointError(
        f"the model folder is damaged or incomplete ({why})",
        where=file,
        hint="copy the whole folder again, or armseg train",
    )
