"""What a training needs to go on with the same bits: weights, optimizer, random state and step.

resume/
    state.json                    step, best mIoU so far, losses since the last row, name of the tensor file,
                                  SHA-256 of the weights that are not in it
    state-<step>.safetensors      model.<name>, optimizer.<parameter>.<key>, random.torch, random.cuda
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from armseg_core.errors import CheckpointError
from armseg_core.files.atomic import atomic_path
from armseg_core.files.json_text import to_json
from armseg_core.learning.run_folder import RunFolder
from armseg_core.model.segmenter import Segmenter


def save_state(
    run: RunFolder,
    segmenter: Segmenter,
    optimizer: torch.optim.Optimizer,
    step: int,
    best: float,
    frozen_sha256: str,
    recent: Sequence[float] = (),
) -> None:
    """Write the state at the end of `step`.

    frozen_sha256: of the frozen weights of guide and backbone, which are not in the state.

    state.json names the tensor file and is replaced last, so there is a whole state at every moment.

    Args:
        step: optimizer steps done.
        best: highest validation mIoU so far.
        recent: losses of the steps since the last row of numbers.

    Raises:
        OutputError: it cannot be written; the state before stays.
    """
    tensors = {f"model.{n}": t for n, t in _weights(segmenter).items()}
    tensors |= _optimizer_tensors(optimizer, segmenter.trainable())
    tensors["random.torch"] = torch.get_rng_state()
    device = _device(segmenter)
    if device.type == "cuda":
        tensors["random.cuda"] = torch.cuda.get_rng_state(device)
    target = run.state_file.with_name(f"state-{step:08d}.safetensors")
    with atomic_path(target) as path:
        # not save_file, which leaves a temporary file of its own when the process is killed
        path.write_bytes(
            safetensors.torch.save({n: t.detach().cpu().contiguous() for n, t in tensors.items()})
        )
    values = {"step": step, "tensors": target.name, "best": best, "recent": list(recent)}
    values["frozen_sha256"] = frozen_sha256
    with atomic_path(run.state_file) as path:
        path.write_text(to_json(values))
    _remove_others(target)


def _remove_others(tensors: Path) -> None:
    """Remove the tensor files that state.json does not name."""
    for other in tensors.parent.glob("state-*.safetensors"):
        if other != tensors:
            other.unlink()


def restore_state(
    run: RunFolder, segmenter: Segmenter, optimizer: torch.optim.Optimizer, frozen_sha256: str
) -> tuple[int, float, list[float]]:
    """Put back what `save_state` wrote. The rows of later steps are dropped.

    Returns:
        step, best and recent, as given to `save_state`; no recent losses from a state of armseg 0.1.0.

    Raises:
        CheckpointError: damaged, of another model, or of a model on other frozen weights.
    """
    try:
        values = json.loads(run.state_file.read_text())
        step, best = int(values["step"]), float(values["best"])
        recent = [float(loss) for loss in values.get("recent", ())]
        file = run.state_file.with_name(values["tensors"])
        tensors = safetensors.torch.load_file(file)
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        raise CheckpointError(
            f"the resume state is damaged ({error})",
            where=run.state_file.parent,
            hint="armseg train without --resume",
        ) from error
    recorded = values.get("frozen_sha256", frozen_sha256)  # armseg 0.1.0 called it otherwise
    if recorded != frozen_sha256:
        raise CheckpointError(
            "the weights of the guide or the backbone are not those the run began with",
            where=run.folder,
            hint="--guide-weights FILE or --backbone-weights FILE with the right ones",
        )
    weights = _weights(segmenter)
    if {f"model.{n}" for n in weights} != {n for n in tensors if n.startswith("model.")}:
        raise CheckpointError(
            "the saved state is of another model than this version of armseg builds",
            where=run.folder,
            hint="armseg train without --resume",
        )
    for name, tensor in weights.items():
        tensor.copy_(tensors[f"model.{name}"])
    _load_optimizer_tensors(optimizer, segmenter.trainable(), tensors)
    torch.set_rng_state(tensors["random.torch"])
    device = _device(segmenter)
    if "random.cuda" in tensors and device.type == "cuda":
        torch.cuda.set_rng_state(tensors["random.cuda"], device)
    run.rewind(step)
    _remove_others(file)
    return step, best, recent


def _weights(segmenter: Segmenter) -> dict[str, Tensor]:
    """Everything that training changes in the model, and the input statistics, by name."""
    return segmenter.own_state() | {n: p.detach() for n, p in segmenter.trainable().items()}


def _device(segmenter: Segmenter) -> torch.device:
    return next(segmenter.parameters()).device


def _optimizer_tensors(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """State of AdamW as named tensors."""
    return {
        f"optimizer.{name}.{key}": value
        for name, parameter in parameters.items()
        if parameter in optimizer.state
        for key, value in optimizer.state[parameter].items()
    }


def _load_optimizer_tensors(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, Tensor], tensors: Mapping[str, Tensor]
) -> None:
    """Put back what `_optimizer_tensors` gave. AdamW's step counter stays on the CPU."""
    for name, parameter in parameters.items():
        prefix = f"optimizer.{name}."
        state = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        if state:
            optimizer.state[parameter] = {
                k: v if k == "step" else v.to(parameter.device) for k, v in state.items()
            }
