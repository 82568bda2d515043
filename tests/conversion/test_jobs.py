"""Worker processes and Ray: a dead worker, Ctrl-C, kill -9 at any moment, two nodes."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import raw_files
from places import REPOSITORY
from scene_folders import names, outputs, scenes

from armseg_core.conversion.folder import convert_folder
from armseg_core.conversion.jobs import _Worker, run_local, run_ray
from armseg_core.conversion.manifest import read_manifest
from armseg_core.errors import MissingExtraError

# --- workers ---------------------------------------------------------------------------------------------


def job(source: str, do: str) -> dict:
    """A job that does what it is told (runs in a worker process)."""
    if do == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    return {"status": "converted", "error": None, "source": source, "pid": os.getpid()}


def test_a_dead_worker_fails_only_its_job() -> None:
    jobs = [{"source": str(i), "do": "die" if i in (2, 5) else "work"} for i in range(8)]
    results = dict(run_local(job, jobs, workers=2))
    assert sorted(results) == list(range(8))
    failed = {number for number, outcome in results.items() if outcome["status"] == "failed"}
    assert failed == {2, 5}
    assert "worker process died (exit code -9" in results[2]["error"]


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "armseg_cli", "convert", *map(str, arguments)]


def start(arguments: list[str]) -> subprocess.Popen:
    return subprocess.Popen(
        arguments,
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=heed_ctrl_c,
    )


def heed_ctrl_c() -> None:
    """In the child: as in a terminal, also where the tests run in the background with SIGINT ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_for_output(out: Path, process: subprocess.Popen) -> None:
    end = time.monotonic() + 60
    while not list(out.rglob("*.h5")) and time.monotonic() < end:
        if process.poll() is not None:
            pytest.fail("ended too early: " + "".join(process.communicate()))
        time.sleep(0.005)


def wait_until_gone(group: int) -> None:
    """No process of the group is left (helpers of multiprocessing end a moment after the main process)."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
    pytest.fail("a process is left")


def test_ctrl_c_stops_workers_and_leaves_nothing_unfinished(tmp_path: Path) -> None:
    root, out = scenes(tmp_path / "in", 300), tmp_path / "out"
    process = start(command(root, "-o", out, "--workers", 2))
    wait_for_output(out, process)
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the whole group
    stderr = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert len(stderr.splitlines()) == 1, stderr
    assert "run the same command again" in stderr
    assert 0 < len(outputs(out)) < 300
    assert not [name for name in names(out) if name.endswith((".tmp", ".lock"))]
    wait_until_gone(process.pid)


def double(number: int) -> dict[str, int]:
    return {"twice": 2 * number}


def test_a_worker_outlives_ctrl_c_from_its_very_start() -> None:
    """It reaches a process that has only begun to import: the parent alone decides."""
    worker = _Worker(double, 1)
    try:
        assert worker._process.pid is not None
        os.kill(worker._process.pid, signal.SIGINT)
        worker.give({"number": 21})
        assert worker.take() == {"twice": 42}
    finally:
        worker.stop()


@pytest.mark.slow
def test_kill_9_at_random_moments(tmp_path: Path) -> None:
    """20 times: whatever is finished is whole; in the end all is there and equals an undisturbed run."""
    root = scenes(tmp_path / "in", 40)
    for i in range(2):
        raw_files.events(root / f"event{i}" / "events.h5", seed=i, count=20_000)
    convert_folder([root], tmp_path / "undisturbed", workers=2)
    expected = outputs(tmp_path / "undisturbed")
    assert len(expected) == 42

    out, moments, seen = tmp_path / "out", random.Random(0), []
    for _ in range(20):
        process = start(command(root, "-o", out, "--workers", 2))
        wait_for_output(out, process) if not seen else time.sleep(moments.uniform(0, 1.2))
        time.sleep(moments.uniform(0, 0.3))
        os.kill(process.pid, signal.SIGKILL)  # the workers are not told: they have to notice
        process.communicate(timeout=60)
        finished = outputs(out) if out.exists() else {}  # raises for a file that is not whole
        assert all(expected[name] == frames for name, frames in finished.items())
        assert len(finished) >= len(seen), "a finished output was lost"
        seen = list(finished)
        if len(seen) == len(expected):  # start over, so that all 20 kills hit a run at work
            for path in out.rglob("*.h5"):
                path.unlink()
            seen = []

    last = convert_folder([root], out, workers=2)
    assert last.failed == 0
    assert outputs(out) == expected
    assert not [name for name in names(out) if name.endswith((".tmp", ".lock"))]
    entries = read_manifest(out / "manifest.jsonl")
    assert len(entries) == 42
    assert {entry["status"] for entry in entries} <= {"converted", "skipped"}


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    root, out = scenes(tmp_path / "in", 300), tmp_path / "out"
    process = start(command(root, "-o", out, "--workers", 2))
    wait_for_output(out, process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    wait_until_gone(process.pid)
    assert len(outputs(out)) < 300


# --- Ray -------------------------------------------------------------------------------------------------


def node(source: str) -> dict:
    """A job that says which node it ran on."""
    import ray

    time.sleep(0.3)
    return {"status": "converted", "node": ray.get_runtime_context().get_node_id()}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Ray itself
def test_a_ray_cluster_of_two_nodes(tmp_path: Path) -> None:
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    root = scenes(tmp_path / "in", 6)
    convert_folder([root], tmp_path / "local", workers=1)
    (root / "part0" / "bad").mkdir()
    (root / "part0" / "bad" / "depth.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        cluster.add_node(num_cpus=1)
        paths = os.pathsep.join(
            [str(REPOSITORY), str(Path(__file__).parent), str(REPOSITORY / "tests" / "support")]
        )
        ray.init(address=cluster.address, runtime_env={"env_vars": {"PYTHONPATH": paths}})
        nodes = {outcome["node"] for _, outcome in run_ray(node, [{"source": str(i)} for i in range(8)])}
        made = convert_folder([root], tmp_path / "ray", engine="ray", progress=False)
        ray.shutdown()
        again = subprocess.run(  # the command line finds the cluster by itself
            command(root, "-o", tmp_path / "ray", "--engine", "ray", "--json"),
            cwd=REPOSITORY,
            check=False,
            capture_output=True,
            text=True,
            env=os.environ | {"RAY_ADDRESS": cluster.address},
            timeout=120,
        )
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert len(nodes) == 2
    assert (made.converted, made.failed) == (6, 1)
    assert again.returncode == 1, again.stderr
    second = json.loads(again.stdout)
    assert (second["skipped"], second["failed"]) == (6, 1)
    assert outputs(tmp_path / "ray") == outputs(tmp_path / "local")


def test_ray_without_the_package(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    root = scenes(tmp_path / "in", 1)
    with pytest.raises(MissingExtraError, match=r"armseg\[ray\]"):
        convert_folder([root], tmp_path / "out", engine="ray")


def test_ray_without_a_cluster(tmp_path: Path, armseg) -> None:
    pytest.importorskip("ray")
    root = scenes(tmp_path / "in", 1)
    result = armseg("convert", root, "-o", tmp_path / "out", "--engine", "ray")
    assert result.exit_code == 2
    assert "no Ray cluster found" in result.stderr


def test_a_progress_bar_leaves_no_semaphore_to_the_resource_tracker() -> None:
    """What is registered when a signal ends the process is complained about on stderr."""
    code = (
        "from multiprocessing import synchronize\n"
        "def refuse(*_): raise AssertionError('a semaphore of the system')\n"
        "synchronize.SemLock.__init__ = refuse\n"
        "from armseg_core.conversion.jobs import bars_without_semaphore\n"
        "bars_without_semaphore()\n"
        "from tqdm import tqdm\n"
        "with tqdm(total=1, disable=True) as bar: bar.update()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPOSITORY)
