"""Whole runs: what is in the folder, exact resume, and that training learns to use the sensor."""

from __future__ import annotations

import contextlib
import csv
import errno
import json
import math
import resource
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from dataset_writer import write_folder_dataset
from small_models import changed, few_steps, small_model
from toy_scenes import write_scenes

from armseg_core.config.training import TrainConfig
from armseg_core.errors import CheckpointError, OutputError, UsageError
from armseg_core.interruption import exit_code
from armseg_core.learning import model_folder, resume_state, training
from armseg_core.learning.evaluation import evaluate
from armseg_core.learning.model_folder import load
from armseg_core.learning.run_folder import RunFolder
from armseg_core.learning.training import (
    dry_run,
    train,
)
from armseg_core.model.fusion import GatedSum

CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("scenes"))


@pytest.fixture
def config(tiny_clip, scenes: Path, tmp_path: Path):
    """A function that makes a TrainConfig of a few fast steps; options override it."""

    def make(model: dict[str, Any] | None = None, **options: Any) -> TrainConfig:
        return few_steps(tiny_clip, tmp_path, model, **({"data": (scenes,)} | options))

    return make


def rows_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    files = sorted(folder.rglob("*.safetensors"))
    return {
        f"{p.relative_to(folder)}:{n}": t for p in files for n, t in safetensors.torch.load_file(p).items()
    }


def interrupt_at(monkeypatch: pytest.MonkeyPatch, step: int, how: Any = None) -> None:
    """Ctrl-C (or `how()`) arrives during a step."""
    real = training.training_step

    def step_with_interruption(config, model, optimizer, batch, number):
        if number == step:
            (how or (lambda: signal.raise_signal(signal.SIGINT)))()
        return real(config, model, optimizer, batch, number)

    monkeypatch.setattr(training, "training_step", step_with_interruption)


def without_speed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "images_per_s"} for row in rows]


@pytest.fixture(scope="module")
def undisturbed(tiny_clip, scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 23 steps, with dropout, so that the random state matters."""
    folder = tmp_path_factory.mktemp("whole")
    settings = few_steps(tiny_clip, folder, {"lora_dropout": 0.2}, data=(scenes,), steps=23, eval_every=7)
    return train(settings, progress=False)


def test_a_run_folder_holds_what_is_documented(config) -> None:
    settings = config(steps=12, eval_every=5)
    run = train(settings, progress=False)
    assert run == settings.out / "train-001"
    assert {p.name for p in run.iterdir()} == {
        "config.json",
        "metrics.jsonl",
        "metrics.csv",
        "log.txt",
        "best",
        "last",
        "resume",
        "plots",
        "metrics",
    }
    assert TrainConfig.parse(json.loads((run / "config.json").read_text())) == settings
    rows = rows_of(run)
    assert [r["step"] for r in rows if "loss" in r] == [10, 12]
    assert [r["step"] for r in rows if "val" in r] == [5, 10, 12]
    assert rows[-1]["val"].keys() == {"scenes"}
    assert rows[-1]["val"]["scenes"].keys() == {"rgb", "rgb+depth"}
    assert rows[-1]["miou"] == rows[-1]["val"]["scenes"]["rgb+depth"]
    assert rows[-1]["miou_rgb_only"] == rows[-1]["val"]["scenes"]["rgb"]
    losses_logged = next(r for r in rows if "loss" in r)
    assert losses_logged["epoch"] == pytest.approx(10 * 2 / 12, abs=1e-3)
    assert losses_logged["images_per_s"] > 0
    with open(run / "metrics.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [int(r["step"]) for r in table] == [r["step"] for r in rows]
    assert {p.name for p in (run / "plots").iterdir()} == {"curves.png", "confusion.png"}
    assert json.loads((run / "metrics" / "confusion.json").read_text())["class_names"] == ["near", "far"]
    assert "done" in (run / "log.txt").read_text()
    best = max((r for r in rows if "val" in r), key=lambda r: r["miou"])
    assert load(run / "best").metrics["step"] == best["step"]
    assert load(run / "last").metrics["step"] == 12
    assert not list(run.rglob("*.tmp"))
    assert train(config(steps=1), progress=False).name == "train-002"


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(config) -> None:
    a, b, c = (weights_of(train(config(steps=3, seed=s), progress=False) / "last") for s in (0, 0, 1))
    assert not changed(a, b)
    assert changed(a, c)


@pytest.mark.parametrize("step", [0, 9, 14])
def test_a_run_that_was_interrupted_ends_with_the_same_bits(
    config, undisturbed: Path, monkeypatch, step: int
) -> None:
    settings = config(steps=23, model={"lora_dropout": 0.2}, eval_every=7)
    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        interrupt_at(patch, step)
        with pytest.raises(KeyboardInterrupt) as caught:
            train(settings, progress=False)
    run = settings.out / "train-001"
    assert caught.value.__notes__ == [
        f"stopped after step {step + 1}; go on with: armseg train --resume {run}"
    ]
    assert signal.getsignal(signal.SIGINT) is handler
    assert train(resume=run, progress=False) == run
    for folder in ("last", "best"):
        expected = weights_of(undisturbed / folder)
        assert expected
        assert not changed(expected, weights_of(run / folder))
    assert [(r["step"], "val" in r) for r in rows_of(run)] == [
        (r["step"], "val" in r) for r in rows_of(undisturbed)
    ]
    assert without_speed(rows_of(run)) == without_speed(rows_of(undisturbed))


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_other_signals_keep_the_state_as_ctrl_c_does(config, monkeypatch, name: str) -> None:
    number = getattr(signal, name, None)
    if number is None:
        pytest.skip("not on this system")

    def twice() -> None:  # a lost terminal is often told twice
        signal.raise_signal(number)
        signal.raise_signal(number)

    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", GoneTerminal())
        interrupt_at(patch, 3, twice)
        with pytest.raises(KeyboardInterrupt) as caught:
            train(config(), progress=False)
    assert exit_code(caught.value) == 128 + number
    run = config().out / "train-001"
    assert json.loads(RunFolder(run).state_file.read_text())["step"] == 4
    assert signal.getsignal(number) is signal.SIG_DFL


class GoneTerminal:
    """A stream that a lost terminal leaves behind."""

    def write(self, text: str) -> int:
        raise OSError(errno.EIO, "Input/output error")

    def flush(self) -> None:
        raise OSError(errno.EIO, "Input/output error")


def test_a_signal_that_is_ignored_does_not_stop_a_training(config, monkeypatch) -> None:
    former = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        interrupt_at(monkeypatch, 0, lambda: signal.raise_signal(signal.SIGTERM))
        train(config(steps=2), progress=False)
    finally:
        signal.signal(signal.SIGTERM, former)


def states(folder: Path) -> dict[Path, tuple[int, int, int]]:
    """What tells whether a file was written or replaced."""
    found = {path: path.stat() for path in folder.rglob("*")}
    return {path: (stat.st_ino, stat.st_size, stat.st_mtime_ns) for path, stat in found.items()}


def test_two_trainings_never_write_into_one_run(config, monkeypatch) -> None:
    pytest.importorskip("fcntl")
    settings, refused = config(), []

    def another() -> None:
        run = settings.out / "train-001"
        before = states(run)
        with pytest.raises(OutputError, match="train-001: another training is writing here") as caught:
            train(resume=run, progress=False)
        refused.append(caught.value.exit_code)
        assert states(run) == before

    interrupt_at(monkeypatch, 3, another)
    run = train(config(save_every=2), progress=False)
    assert refused == [2]
    assert not (run / ".lock").exists()


@contextlib.contextmanager
def full_disk(room: int = 0) -> Iterator[None]:
    """No file can grow beyond `room` bytes in the block."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


WRITERS = {
    "the numbers": (RunFolder, "record", 400),  # a part of the row fits
    "the log": (RunFolder, "log", 120),
    "the models": (training, "save", 300),
    "the adapters": (model_folder, "save_adapters", 0),
    "the resume state": (training, "save_state", 300),
    "the name of the resume state": (resume_state, "atomic_path", 0),
    "the confusion matrix": (RunFolder, "save_confusion", 0),
    "the pictures": (training, "save_png", 0),
}


@pytest.mark.parametrize("what", WRITERS)
def test_on_a_full_disk_the_last_state_is_kept_and_goes_on(
    config, undisturbed: Path, monkeypatch, what: str
) -> None:
    place, name, room = WRITERS[what]
    real = getattr(place, name)
    settings = config(steps=23, model={"lora_dropout": 0.2}, eval_every=7, save_every=3)
    run = settings.out / "train-001"

    def write(*arguments: Any, **options: Any) -> Any:
        with full_disk(room) if RunFolder(run).state_file.is_file() else contextlib.nullcontext():
            if name != "atomic_path":
                return real(*arguments, **options)
        raise OutputError("cannot write: No space left on device", where=arguments[0])

    with monkeypatch.context() as patch:
        if name == "atomic_path":
            saved = []

            def second(path: Path) -> Any:
                saved.append(path)
                return write(path) if len(saved) == 6 else real(path)

            patch.setattr(place, name, second)
        else:
            patch.setattr(place, name, write)
        with pytest.raises(OutputError, match=r"cannot write: .*armseg train --resume") as caught:
            train(settings, progress=False)
    assert caught.value.exit_code == 2
    assert not list(run.rglob(".*"))
    text = (run / "metrics.jsonl").read_text() if (run / "metrics.jsonl").exists() else ""
    assert not text or text.endswith("\n")
    assert (run / "log.txt").read_text().endswith("\n")
    train(resume=run, progress=False)
    assert without_speed(rows_of(run)) == without_speed(rows_of(undisturbed))
    for folder in ("last", "best"):
        assert not changed(weights_of(undisturbed / folder), weights_of(run / folder))


def test_what_a_killed_training_left_is_removed_when_it_goes_on(config) -> None:
    pytest.importorskip("fcntl")
    run = train(config(steps=2), progress=False)
    left = [
        run / ".lock",
        run / ".metrics.jsonl.abcd1234.tmp",
        run / "resume" / ".state.json.abcd1234.tmp",
        run / "resume" / ".state-00000001.safetensors.abcd1234.tmp",
        run / "resume" / "state-00000001.safetensors",
        run / "plots" / ".curves.png.abcd1234.tmp",
        run / "metrics" / ".confusion.json.abcd1234.tmp",
    ]
    for path in left:
        path.write_text("half")
    (run / ".best.abcd1234.tmp" / "best").mkdir(parents=True)
    mine = [run / ".notes.abcd1234.tmp", run / "resume" / "notes.safetensors"]
    for path in mine:
        path.write_text("of the user")
    expected = {path for path in run.rglob("*") if path not in left and ".best." not in str(path)}
    train(resume=run, progress=False)
    assert set(run.rglob("*")) == expected


def test_a_run_that_was_killed_goes_on_from_its_last_state(config, undisturbed: Path, monkeypatch) -> None:
    settings = config(steps=23, model={"lora_dropout": 0.2}, eval_every=7, save_every=6)

    def die() -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        interrupt_at(patch, 16, die)
        with pytest.raises(RuntimeError, match="killed"):
            train(settings, progress=False)
    run = settings.out / "train-001"
    assert json.loads(RunFolder(run).state_file.read_text())["step"] == 12
    assert [r["step"] for r in rows_of(run)] == [7, 10, 14]
    with open(run / "metrics.jsonl", "a") as file:
        file.write('{"step": 15, "lo')  # a line torn by the crash
    train(resume=run, progress=False)
    assert not changed(weights_of(undisturbed / "last"), weights_of(run / "last"))
    assert without_speed(rows_of(run)) == without_speed(rows_of(undisturbed))
    with open(run / "metrics.csv", newline="") as file:
        assert [int(r["step"]) for r in csv.DictReader(file)] == [7, 10, 14, 20, 21, 23, 23]
    assert len(list((run / "resume").glob("*.safetensors"))) == 1


def test_a_finished_run_that_is_resumed_stays_as_it_is(config) -> None:
    run = train(config(steps=3), progress=False)
    before, rows = weights_of(run / "last"), rows_of(run)
    assert train(resume=run, progress=False) == run
    assert not changed(before, weights_of(run / "last"))
    assert rows_of(run) == rows


def test_runs_that_cannot_go_on(config, tmp_path: Path) -> None:
    run = train(config(steps=2), progress=False)

    def refuse(match: str, folder: Path = run) -> None:
        with pytest.raises(CheckpointError, match=match):
            train(resume=folder, progress=False)

    refuse("no such run folder", tmp_path / "nothing")
    refuse("not a run folder", tmp_path)
    state = run / "resume" / "state.json"
    kept = state.read_text()
    state.write_text('{"step": 2}')
    refuse("resume state is damaged")
    state.write_text(kept)
    tensors = next((run / "resume").glob("*.safetensors"))
    whole = tensors.read_bytes()
    tensors.write_bytes(whole[:1000])
    refuse("resume state is damaged")
    tensors.write_bytes(whole)
    settings = run / "config.json"
    values = json.loads(settings.read_text())
    settings.write_text(json.dumps(values | {"model": values["model"] | {"dsrm": False}}))
    refuse("of another model")
    settings.write_text("{")
    refuse("config.json is damaged")
    state.unlink()
    refuse("stopped before anything was saved")


def test_without_a_validation_split_the_last_model_is_the_best(config, tmp_path: Path) -> None:
    data = write_scenes(tmp_path / "data", {"train": 3})
    run = train(config(data=(data,), steps=2), progress=False)
    assert not changed(weights_of(run / "last"), weights_of(run / "best"))
    assert not any("val" in r for r in rows_of(run))


def test_rgb_only_and_several_data_sets(config, scenes: Path, tmp_path: Path) -> None:
    other = write_folder_dataset(tmp_path / "other", modalities=("thermal",), size=(40, 48))
    run = train(config(data=(scenes, other), modalities=("depth", "thermal"), steps=6), progress=False)
    val = rows_of(run)[-1]["val"]
    assert {name: set(rows) for name, rows in val.items()} == {
        "scenes": {"rgb", "rgb+depth"},
        "toy": {"rgb", "rgb+thermal"},
    }
    model = load(run)
    assert [d.name for d in model.datasets] == ["scenes", "toy"]
    assert model.modalities == ("depth", "thermal")
    plain = train(config(modalities=(), steps=2), progress=False)
    assert rows_of(plain)[-1]["val"]["scenes"].keys() == {"rgb"}


@pytest.mark.parametrize(("precision", "expected"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_the_precision_of_a_run_is_that_of_its_steps_and_validations(
    config, precision: str, expected: torch.dtype
) -> None:
    seen: set[tuple[bool, torch.dtype]] = set()

    def note(module: torch.nn.Module, _: object, out: torch.Tensor) -> None:
        if isinstance(module, GatedSum):
            seen.add((module.training, out.dtype))

    handle = torch.nn.modules.module.register_module_forward_hook(note)
    try:
        train(config(steps=2, sensor_dropout=0.0, precision=precision), progress=False)
    finally:
        handle.remove()
    assert seen == {(True, expected), (False, expected)}


def test_half_precision_trains_on_the_cpu_too(config) -> None:
    rows = rows_of(train(config(steps=2, precision="bf16"), progress=False))
    assert math.isfinite(rows[-2]["loss"])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_run_on_a_gpu_can_be_resumed_and_read_on_the_cpu(config, monkeypatch) -> None:
    settings = config(steps=6, device="cuda")
    with monkeypatch.context() as patch:
        interrupt_at(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            train(settings, progress=False)
    run = train(resume=settings.out / "train-001", progress=False)
    assert next(load(run).segmenter.parameters()).device == CPU


def test_every_step_runs_in_training_mode_also_after_a_validation(config, monkeypatch) -> None:
    seen, real = [], training.training_step

    def watch(config, model, *rest):
        dropouts = [m for n, m in model.segmenter.named_modules() if "lora_dropout" in n]
        seen.append(model.segmenter.training and all(m.training for m in dropouts))
        return real(config, model, *rest)

    monkeypatch.setattr(training, "training_step", watch)
    train(config(steps=3, eval_every=1, model={"lora_dropout": 0.1}), progress=False)
    assert seen == [True] * 3


def test_a_dry_run_writes_nothing(config, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    facts = dry_run(config(workers=1))
    assert sorted(tmp_path.rglob("*")) == before
    assert facts["training_samples"] == {"scenes": 12}
    assert facts["validation_samples"] == {"scenes": 3}
    assert facts["batch_rgb"] == [2, 3, 32, 32]
    assert facts["batch_sensors"] == {"depth": [2, 3, 32, 32]}
    model = small_model(config().model_dump()["model"] | {}, ("depth",))
    assert facts["frozen_parameters"] == sum(
        p.numel() for p in model.segmenter.parameters() if not p.requires_grad
    )
    assert facts["lora_parameters"] == sum(
        p.numel() for n, p in model.segmenter.named_parameters() if "lora_" in n
    )
    assert json.loads(json.dumps(facts))["loss"] == pytest.approx(sum(facts["terms"].values()))


def test_a_run_cannot_be_made_below_a_file(config, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot make a run folder"):
        train(config(out=tmp_path / "file" / "runs", steps=1), progress=False)


def test_no_run_folder_is_left_when_the_options_cannot_work(config, tmp_path: Path) -> None:
    for wrong, match in (
        ({"modalities": ("thermal",)}, "no training sample has thermal"),
        ({"data": ()}, "no data set"),
        ({"device": "gpu"}, "unknown device 'gpu'"),
        ({"precision": "auto", "device": "cuda:77"}, "CUDA"),
    ):
        with pytest.raises(UsageError, match=match):
            train(config(**wrong), progress=False)
    assert not (tmp_path / "runs").exists()


def test_it_learns_to_read_the_sensor_and_another_scenes_frame_destroys_it(config, scenes: Path) -> None:
    """RGB is noise and the class is in the depth map alone."""
    run = train(
        config(steps=60, batch_size=4, lr=5e-3, warmup=5, crop=(32, 48), eval_every=60), progress=False
    )
    report = evaluate(run, [scenes], "test", controls=True, progress=False)
    miou = {row.inputs.title: row.matrix.miou for row in report.rows}
    assert miou["rgb+depth"] > 0.9
    assert miou["depth"] > 0.9
    assert miou["rgb"] < 0.6
    assert miou["rgb+depth (other scene)"] < 0.6
    logged = [r["loss"] for r in rows_of(run) if "loss" in r]
    assert np.isfinite(logged).all()
