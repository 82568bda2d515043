"""Running many independent jobs: local processes, or the machines of a Ray cluster.

A job is a picklable function called with plain keyword arguments; it returns a plain dict and does not raise
for bad input. Results come in the order in which jobs end.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from multiprocessing import connection, resource_tracker
from typing import Any

from armseg_core.errors import UsageError, require_extra

Function = Callable[..., dict[str, Any]]
Result = tuple[int, dict[str, Any]]  # number of the job, its outcome


def run_local(function: Function, jobs: Sequence[dict[str, Any]], workers: int) -> Generator[Result]:
    """Run jobs in `workers` processes of their own (in this process for one worker).

    A worker that dies (out of memory, crash of a native library) fails only the job it had. When this
    process is interrupted the workers end at once and leave no temporary file; when it is killed they notice
    and end too.

    Yields:
        (number of the job, outcome); the outcome of a job whose worker died has status "failed".
    """
    if workers <= 1 or len(jobs) <= 1:
        for number, job in enumerate(jobs):
            yield number, function(**job)
        return
    todo = list(enumerate(jobs))[::-1]
    busy: dict[_Worker, int] = {}
    idle = [_Worker(function, workers) for _ in range(min(workers, len(jobs)))]
    try:
        while todo or busy:
            while todo and idle:
                worker = idle.pop()
                number, job = todo.pop()
                busy[worker] = number
                worker.give(job)
            ready = connection.wait([worker.pipe for worker in busy])
            for worker in [worker for worker in busy if worker.pipe in ready]:
                number = busy.pop(worker)
                outcome = worker.take()
                if outcome is None:
                    outcome = {"status": "failed", "error": worker.obituary(jobs[number])}
                    worker.stop()
                    worker = _Worker(function, workers) if todo else worker
                if worker.alive:
                    idle.append(worker)
                yield number, outcome
    finally:
        for worker in (*busy, *idle):
            worker.stop()


class _Worker:
    """One process and the pipe to it."""

    def __init__(self, function: Function, workers: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(function, theirs, workers), daemon=True)
        with _interrupt_held_back():  # the process inherits this until it has handlers of its own
            self._process.start()
        theirs.close()
        self.alive = True

    def give(self, job: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # a dead worker is noticed when its answer is taken
            self.pipe.send(job)

    def take(self) -> dict[str, Any] | None:
        """The outcome of the job, None when the worker died."""
        try:
            outcome: dict[str, Any] = self.pipe.recv()
        except (EOFError, OSError):
            return None
        return outcome

    def obituary(self, job: dict[str, Any]) -> str:
        self._process.join(5)
        return (
            f"{job.get('source', 'job')}: the worker process died (exit code {self._process.exitcode}; "
            "-9 is usually lack of memory). Try: fewer --workers"
        )

    def stop(self) -> None:
        """End the process: politely (it removes its temporary file), then by force."""
        self.alive = False
        for _ in range(20):  # Python drops an exit that is raised inside a finalizer: ask again
            self._process.terminate()
            self._process.join(0.25)
            if not self._process.is_alive():
                break
        else:
            self._process.kill()
            self._process.join()
        self.pipe.close()


def bars_without_semaphore() -> None:
    """Let progress bars of this process lock between threads only.

    The lock that tqdm makes by itself is a semaphore of the system: where a signal ends the process, Python's
    resource tracker finds it left behind and complains on stderr in several lines.
    """
    from tqdm import tqdm

    tqdm.set_lock(threading.RLock())


@contextlib.contextmanager
def _interrupt_held_back() -> Iterator[None]:
    """Ctrl-C waits until the block ends (Windows: no effect)."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # it would let Ctrl-C through again when it starts inside the block
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(function: Function, pipe: connection.Connection, workers: int) -> None:
    """Body of a worker process: one job after the other until the other end of the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the parent decides
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # so does a lost terminal
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds, so that temporary files are removed
    sys.unraisablehook = _quiet_exit
    threading.Thread(target=_end_with_parent, daemon=True).start()
    bars_without_semaphore()
    _limit_threads(max(1, (os.cpu_count() or 1) // workers))
    with contextlib.suppress(EOFError, OSError):
        while True:
            pipe.send(function(**pipe.recv()))


def _quiet_exit(dropped: sys.UnraisableHookArgs) -> None:
    """Say nothing of an exit that Python dropped: the parent asks again."""
    if not isinstance(dropped.exc_value, SystemExit):
        sys.__unraisablehook__(dropped)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)  # the parent was killed: a half-written file keeps its temporary name


def _limit_threads(count: int) -> None:
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = str(count)
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(count)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)


def run_ray(function: Function, jobs: Sequence[dict[str, Any]]) -> Generator[Result]:
    """Run jobs on an existing Ray cluster (RAY_ADDRESS, or the one this machine belongs to).

    Every node needs armseg and the same paths (a shared file system). A job of a lost node is started again.

    Yields:
        (number of the job, outcome).

    Raises:
        MissingExtraError: Ray is not installed. UsageError: there is no cluster to connect to.
    """
    ray = require_extra("ray", "ray", "--engine ray")
    mine = not ray.is_initialized()
    if mine:
        try:
            ray.init(address="auto", log_to_driver=False, logging_level="ERROR")
        except ConnectionError as error:
            raise UsageError(
                "no Ray cluster found",
                where="--engine ray",
                expected="RAY_ADDRESS, or a machine of the cluster",
                hint="ray start --head, or --engine local",
            ) from error
    remote = ray.remote(num_cpus=1, max_retries=3)(function)
    pending: dict[Any, int] = {}
    try:
        pending = {remote.remote(**job): number for number, job in enumerate(jobs)}
        while pending:
            done, _ = ray.wait(list(pending), num_returns=1)
            number = pending.pop(done[0])
            try:
                yield number, ray.get(done[0])
            except ray.exceptions.RayError as error:
                text = " ".join(str(error).split())[:300]
                yield number, {"status": "failed", "error": f"{jobs[number].get('source', 'job')}: {text}"}
    finally:
        for reference in pending:
            ray.cancel(reference)
        if mine:
            ray.shutdown()
