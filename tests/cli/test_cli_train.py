"""`armseg train`: runs, dry runs, interruption and resuming, and every option that cannot be right."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch
from one_line import assert_refused, files_below
from opened import count_opens
from places import REPOSITORY
from small_backbone import NAME, write_backbone
from small_models import SMALL, write_clip
from toy_scenes import write_scenes


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a CLIP, a data set and files that are wrong."""
    folder = tmp_path_factory.mktemp("place")
    write_clip(folder / "clip", layers=2)
    write_scenes(folder / "data")
    (folder / "empty").mkdir()
    (folder / "file").write_text("x")
    whole = (folder / "clip" / "clip.safetensors").read_bytes()
    (folder / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    return folder


CLIP = (
    "--guide",
    "clip/clip.json",
    "--guide-weights",
    "clip/clip.safetensors",
    *(part for key, value in SMALL.items() for part in ("--set", f"model.{key}={value}")),
)
FAST = ("--modalities", "depth", *CLIP, "--batch-size", "2", "--crop", "48x32", "--set", "warmup=2")


@pytest.fixture
def train(armseg, place: Path, tmp_path: Path):
    """Run `armseg train data ...` with the small CLIP, the run folder below tmp_path / "runs"."""

    def run(*arguments: str):
        return armseg("train", "data", *FAST, "--output", tmp_path / "runs", *arguments, cwd=place)

    return run


def test_a_run_and_what_is_said_about_it(train, tmp_path: Path) -> None:
    result = train("--steps", "3", "--name", "mine", "--seed", "5", "--set", "loss.dice=0.25")
    assert result.exit_code == 0, result.output
    run = tmp_path / "runs" / "mine-001"
    assert f"Next: armseg eval --model {run}" in result.stdout
    assert "rgb+depth" in result.stdout
    assert result.stderr == ""  # no progress bar without a terminal
    config = json.loads((run / "config.json").read_text())
    assert (config["steps"], config["seed"], config["crop"], config["batch_size"]) == (3, 5, [32, 48], 2)
    assert (config["loss"]["dice"], config["loss"]["cross_entropy"]) == (0.25, 1.0)
    assert (config["modalities"], config["model"]["lora_rank"]) == (["depth"], 2)
    assert config["data"] == [str(Path.cwd() / "data")]  # recorded paths hold from any folder
    assert config["model"]["guide_weights"] == str(Path.cwd() / "clip" / "clip.safetensors")


def test_what_a_data_set_says_is_read_once(
    armseg, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = ("dataset.toml", "train.txt", "val.txt", "test.txt")
    small = (*CLIP, "--batch-size", "2", "--crop", "48x32", "--steps", "1", "--output", tmp_path)
    opened = count_opens(monkeypatch)
    result = armseg("train", "data", *small, "--json", cwd=place)
    assert result.exit_code == 0, result.stderr
    assert [opened[name] for name in files] == [1, 1, 1, 0]
    opened.clear()
    result = armseg("eval", "data", "--model", json.loads(result.stdout)["run"])
    assert result.exit_code == 0, result.stderr
    assert [opened[name] for name in files] == [1, 0, 0, 1]


def test_json_is_all_that_is_printed(train, tmp_path: Path) -> None:
    result = train("--steps", "1", "--json")
    assert json.loads(result.stdout)["run"] == str(tmp_path / "runs" / "train-001")
    assert json.loads(result.stdout)["validation"]["scenes"].keys() == {"rgb", "rgb+depth"}


def test_without_modalities_every_sensor_of_the_data_is_trained(armseg, place: Path, tmp_path: Path) -> None:
    result = armseg("train", "data", *CLIP, "--dry-run", "--json", cwd=place)
    assert json.loads(result.stdout)["modalities"] == ["depth"]
    rgb = armseg("train", "data", *CLIP, "--modalities", "rgb", "--dry-run", "--json", cwd=place)
    assert json.loads(rgb.stdout)["modalities"] == []


def test_a_dry_run_prints_shapes_and_writes_nothing(train, place: Path, tmp_path: Path) -> None:
    before = files_below(place)
    result = train("--dry-run")
    assert result.exit_code == 0
    assert "batch sensors" in result.stdout
    assert "{'depth': [2, 3, 32, 48]}" in result.stdout
    assert "nothing was written" in result.stdout
    assert files_below(place) == before
    assert not list(tmp_path.iterdir())


def test_a_preset_sets_what_is_not_given_itself(armseg, place: Path, monkeypatch) -> None:
    seen = []
    monkeypatch.setattr(
        "armseg_core.learning.training.dry_run", lambda config, data: seen.append(config) or {}
    )

    def config(*arguments: str):
        assert armseg("train", "data", "--dry-run", *arguments, cwd=place).exit_code == 0
        return seen[-1]

    tiny = config("--preset", "tiny")
    assert (tiny.model, tiny.lr, tiny.backbone_lr) == (config().model, config().lr, None)
    names = {"s": "convnext_nano", "b": "convnext_tiny", "l": "convnext_base"}
    for name, backbone in names.items():
        made = config("--preset", name)
        assert (made.model.backbone, made.model.backbone_weights) == (backbone, "default")
        assert made.backbone_lr < made.lr < tiny.lr
    given = config(
        "--preset", "b", "--lr", "0.5", "--backbone-weights", "none", "--set", "model.sensor_width=8"
    )
    assert (given.lr, given.model.backbone_weights, given.model.sensor_width) == (0.5, None, 8)
    assert (given.model.backbone, given.backbone_lr) == ("convnext_tiny", made.backbone_lr)
    assert config("--preset", "l", "--backbone", "small").model.backbone == "small"


def test_backbones_are_listed_with_their_licenses(armseg, place: Path) -> None:
    result = armseg("train", "--backbone", "help", cwd=place)
    assert result.exit_code == 0, result.output
    lines = {line.split()[0]: line for line in result.stdout.splitlines() if line.strip()}
    assert {"small", "convnext_tiny", "tf_efficientnet_lite0"} <= lines.keys()
    assert "apache-2.0" in lines["convnext_tiny"]


@pytest.mark.parametrize("tune", ["frozen", "lora", "full"])
def test_a_backbone_from_a_file_is_trained_measured_and_used(
    armseg, place: Path, tmp_path: Path, tune: str
) -> None:
    file = write_backbone(tmp_path)["backbone_weights"]
    options = (*FAST, "--backbone", NAME, "--backbone-weights", file, "--tune", tune, "--steps", "2")
    result = armseg("train", "data", *options, "--output", tmp_path, "--json", cwd=place)
    assert result.exit_code == 0, result.output
    run = json.loads(result.stdout)["run"]
    moved = Path(file).rename(tmp_path / "moved.safetensors")
    image, depth = (place / "data" / kind / "test0.png" for kind in ("rgb", "depth"))
    wanted = ("predict", image, depth, "--modality", "depth", "--depth-unit", "mm", "-o", tmp_path)
    where = ("--backbone-weights", moved)
    if tune != "full":
        assert_refused(
            armseg("eval", "--model", run), "no such file of backbone weights", "--backbone-weights"
        )
    assert armseg("eval", "--model", run, *where).exit_code == 0
    assert armseg(*wanted, "--model", run, *where).exit_code == 0
    assert armseg("train", "--resume", run, *where).exit_code == 0


def test_a_training_without_a_guide(train, armseg, tmp_path: Path, place: Path) -> None:
    bare = (
        "--modalities",
        "depth",
        "--guide",
        "none",
        "--batch-size",
        "2",
        "--crop",
        "48x32",
        "--steps",
        "2",
    )
    result = armseg("train", "data", *bare, "--output", tmp_path, "--json", cwd=place)
    assert result.exit_code == 0, result.output
    assert "armseg-tiny" not in result.stderr
    assert armseg("eval", "--model", json.loads(result.stdout)["run"]).exit_code == 0


def weights(run: Path) -> dict[str, torch.Tensor]:
    files = sorted((run / "last").rglob("*.safetensors"))
    return {f"{p.relative_to(run)}:{n}": t for p in files for n, t in safetensors.torch.load_file(p).items()}


@pytest.mark.slow
def test_ctrl_c_in_a_terminal_keeps_the_state_and_the_run_goes_on(
    train, armseg, place: Path, tmp_path: Path
) -> None:
    """Ctrl-C reaches the training and its worker process, as in a terminal."""
    runs = tmp_path / "interrupted"
    command = [
        sys.executable,
        "-m",
        "armseg_cli",
        "train",
        "data",
        *FAST,
        "--output",
        str(runs),
        "--steps",
        "60",
        "--workers",
        "1",
    ]
    process = subprocess.Popen(
        command,
        cwd=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    metrics = runs / "train-001" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not metrics.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    last = err.strip().splitlines()[-1]
    step = int(last.split("stopped after step ")[1].split(";")[0])
    assert 10 <= step < 60
    assert (
        last
        == f"interrupted: stopped after step {step}; go on with: armseg train --resume {runs / 'train-001'}"
    )
    assert out == ""
    resumed = armseg("train", "--resume", runs / "train-001", cwd=tmp_path)  # from another folder
    assert resumed.exit_code == 0, resumed.output
    steps = [
        json.loads(line)["step"] for line in metrics.read_text().splitlines() if "loss" in json.loads(line)
    ]
    assert steps == [10, 20, 30, 40, 50, 60]
    assert train("--steps", "60").exit_code == 0
    expected, got = weights(tmp_path / "runs" / "train-001"), weights(runs / "train-001")
    assert expected.keys() == got.keys()
    assert all(torch.equal(t, got[n]) for n, t in expected.items())


@pytest.mark.slow
@pytest.mark.parametrize("how", ["the terminal is gone", "the whole job is ended"])
def test_a_training_in_a_terminal_keeps_its_state(armseg, place: Path, tmp_path: Path, how: str) -> None:
    """A dropped connection: SIGHUP, and no terminal to write to. A scheduler: SIGTERM to every process."""
    pty = pytest.importorskip("pty")
    master, terminal = pty.openpty()
    runs = tmp_path / "runs"
    train = [sys.executable, "-m", "armseg_cli", "train", "data", *FAST, "--output", str(runs)]
    process = subprocess.Popen(
        # setsid --ctty: the terminal is that of the session, which is told when it is gone
        ["setsid", "--ctty", *train, "--steps", "200", "--workers", "1", "--set", "save_every=300"],
        cwd=place,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    os.close(terminal)
    os.set_blocking(master, False)
    run = runs / "train-001"
    deadline = time.monotonic() + 120
    while not (run / "metrics.jsonl").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
        with contextlib.suppress(OSError):
            os.read(master, 100_000)
    if how == "the terminal is gone":
        os.close(master)
    else:
        os.killpg(process.pid, signal.SIGTERM)
    code = process.wait(60)
    if how != "the terminal is gone":
        os.close(master)
    assert code == (129 if how == "the terminal is gone" else 143)
    step = json.loads((run / "resume" / "state.json").read_text())["step"]
    assert 10 <= step < 200
    assert (run / "log.txt").read_text().endswith(f"interrupted at step {step}\n")
    assert not list(run.rglob(".*"))


def test_resume_takes_the_newest_run_and_keeps_its_options(
    train, armseg, place: Path, tmp_path: Path
) -> None:
    for name in ("old", "new"):
        assert train("--steps", "2", "--name", name).exit_code == 0
    result = armseg("train", "--resume", "latest", "--output", tmp_path / "runs", "--json", cwd=place)
    assert json.loads(result.stdout)["run"] == str(tmp_path / "runs" / "new-001")
    dry = armseg("train", "--resume", tmp_path / "runs" / "old-001", "--dry-run", "--json", cwd=place)
    assert json.loads(dry.stdout)["batch_rgb"] == [2, 3, 32, 48]


WRONG = {
    "missing data": (("nothing",), "nothing: no such folder"),
    "a file as data": (("file",), "not a folder"),
    "a folder that is no data set": (("empty",), "not a data set"),
    "unknown modality": (("data", "--modalities", "dept"), "unknown modality 'dept'", "depth"),
    "a sensor that the data lacks": (
        ("data", "--modalities", "thermal"),
        "no training sample has thermal",
        "depth",
    ),
    "option typo": (("data", "--modalites", "depth"), "no such option: --modalites. Try: --modalities"),
    "setting without a value": (("data", "--set", "steps"), "KEY=VALUE"),
    "unknown setting": (("data", "--set", "stps=3"), "unknown option 'stps'", "did you mean 'steps'"),
    "unknown nested setting": (("data", "--set", "loss.dise=1"), "unknown option 'loss.dise'", "'loss.dice'"),
    "unknown group": (("data", "--set", "los.dice=1"), "unknown option 'los.dice'", "'loss.dice'"),
    "a setting below a value": (
        ("data", "--set", "steps=3", "--set", "steps.x=3"),
        "unknown option 'steps.x'",
        "'steps'",
    ),
    "a setting of the wrong type": (("data", "--set", "steps=many"), "'steps' is 'many'", "a whole number"),
    "a setting out of range": (("data", "--set", "model.lora_rank=-1"), "'model.lora_rank' is -1", "0"),
    "settings that contradict": (
        ("data", "--set", "sensor_dropout=0.7", "--set", "rgb_dropout=0.7"),
        "below 1",
    ),
    "no loss at all": (("data", "--set", "loss.cross_entropy=0", "--set", "loss.dice=0"), "above 0"),
    "data by --set": (("data", "--set", "data=x"), "unknown option 'data'", "armseg train DATA"),
    "a flag and a setting that disagree": (
        ("data", "--steps", "3", "--set", "steps=4"),
        "--steps and --set steps disagree",
        "one of 3 and 4",
    ),
    "a flag of another name and a setting that disagree": (
        ("data", "--guide", "x.json", "--set", "model.guide=y.json"),
        "--guide and --set model.guide disagree",
    ),
    "an option of a sensor": (
        ("data", "--set", "depth-unit=mm"),
        "unknown option 'depth_unit'",
        "dataset.toml: [modalities.depth] options = { depth_unit = VALUE }",
    ),
    "a size as rows and columns": (("data", "--set", "size=[48,64]"), "is not a size", "640x480"),
    "the former flag of the output": (("data", "--out", "x"), "no such option: --out. Try: --output"),
    "modalities by --set": (("data", "--set", "modalities=x"), "--modalities"),
    "zero steps": (("data", "--steps", "0"), "--steps", "greater than or equal to 1"),
    "bad size": (("data", "--size", "big"), "'big' is not a size", "640x480"),
    "bad precision": (("data", "--precision", "fp16"), "precision", "bf16"),
    "bad device": (("data", "--device", "gpu"), "unknown device 'gpu'"),
    "a name with a slash": (("data", "--name", "a/b"), "name", "without /"),
    "unknown CLIP": (("data", "--guide", "ViT-B-17"), "unknown CLIP model 'ViT-B-17'", "ViT-B-16"),
    "CLIP without weights": (
        ("data", "--guide", "ViT-B-16-quickgelu"),
        "needs weights",
        "--guide-pretrained",
    ),
    "unknown tag": (
        ("data", "--guide", "ViT-B-16", "--guide-pretrained", "openal"),
        "no pretrained tag 'openal'",
    ),
    "a tag of the other activation": (
        ("data", "--guide", "ViT-B-16", "--guide-pretrained", "openai"),
        "QuickGELU",
        "--guide ViT-B-16-quickgelu",
    ),
    "missing CLIP config": (
        ("data", "--guide", "no.json", "--guide-weights", "file"),
        "no.json: CLIP config cannot be read",
    ),
    "missing weights": (
        ("data", "--guide", "clip/clip.json", "--guide-weights", "no.safetensors"),
        "no such file of CLIP",
    ),
    "truncated weights": (
        ("data", "--guide", "clip/clip.json", "--guide-weights", "cut.safetensors"),
        "truncated",
    ),
    "output below a file": (
        ("data", *FAST, "--output", "file/runs", "--steps", "1"),
        "cannot make a run folder",
    ),
    "resume of nothing": (("--resume", "nothing"), "nothing: no such run folder"),
    "resume of a folder that is no run": (("--resume", "data"), "not a run folder"),
    "resume without any run": (("--resume", "latest"), "no run to go on with"),
    "resume with another option": (
        ("--resume", "runs/x", "--steps", "9"),
        "--steps cannot be changed with --resume",
    ),
    "resume with the first seed": (("--resume", "runs/x", "--seed", "0"), "--seed cannot be changed"),
    "resume with other data": (("data", "--resume", "runs/x"), "DATA cannot be changed"),
    "resume with a preset": (("--resume", "runs/x", "--preset", "b"), "--preset cannot be changed"),
    "resume with another backbone": (("--resume", "runs/x", "--backbone", "small"), "--backbone cannot be"),
    "unknown preset": (("data", "--preset", "xl"), "unknown preset 'xl'", "tiny, s, b, l"),
    "unknown backbone": (
        ("data", "--backbone", "convnext_tinny", "--dry-run"),
        "unknown backbone 'convnext_tinny'",
        "--backbone convnext_tiny",
    ),
    "a frozen backbone of random weights": (("data", "--tune", "frozen"), "tune = frozen", "weights"),
    "an unknown way to tune": (("data", "--tune", "some"), "model.tune", "frozen, lora or full"),
    "missing weights of the backbone": (
        ("data", "--backbone-weights", "no.pt", "--dry-run"),
        "no.pt: no such file of backbone weights",
    ),
    "clip as backbone without a guide": (("data", "--backbone", "clip", "--guide", "none"), "a guide"),
    "the former flag of the guide": (("data", "--clip", "x"), "no such option: --clip. Try: --guide"),
    "the former flag of the tag": (("data", "--pretrained", "x"), "--pretrained. Try: --guide-pretrained"),
    "the former flag of the weights": (("data", "--weights", "x"), "--weights. Try: --guide-weights"),
    "resume with another CLIP": (("--resume", "runs/x", "--guide", "ViT-B-16"), "--guide cannot be changed"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_right_is_one_line(name: str, armseg, place: Path) -> None:
    arguments, *words = WRONG[name]
    before = files_below(place)
    assert_refused(armseg("train", *arguments, cwd=place), *words)
    assert files_below(place) == before
