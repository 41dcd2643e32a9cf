"""Work in a process of its own: peak memory that nothing else has touched, and turns to take.

:func:`apart` runs one function and gives its result. A :class:`Worker` stays: it makes one step
whenever asked, so that several, also ones on another Python, can be timed in turn, round after
round. Only the standard library is imported, so that a worker runs wherever its own packages are.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

Step = Callable[[], None]


def peak_resident() -> int:
    """The most memory this process has had resident, in bytes."""
    try:
        # Linux counts here from the process' own start; getrusage adds what its parent had reached.
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """``function(*arguments)`` in a fresh process, which ends with it.

    The process is a copy of one that has imported torch and done nothing else, so that it starts
    in a moment and with a peak of its own.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "quadric.kernels.reference"])
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


class WorkerFailed(Exception):
    """A worker ended; the last line that it wrote is the message."""


class Worker:
    """A process that makes steps when asked, one at a time.

    Args:
        python: the interpreter.
        file: the script, which calls :func:`serve`.
        options: what the script's ``build`` gets.
    """

    def __init__(self, python: str | Path, file: Path, options: Mapping[str, Any]) -> None:
        """Start it; :meth:`ready` waits until its step is built."""
        self._complaints = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in close()
        # Answers have a pipe of their own: libraries print.
        answers, theirs = os.pipe()
        self._answers = os.fdopen(answers)
        try:
            self._process = subprocess.Popen(
                [str(python), str(file), json.dumps(options), str(theirs)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._complaints,
                pass_fds=[theirs],
                bufsize=0,
            )
        finally:
            os.close(theirs)

    def ready(self) -> dict[str, str]:
        """Wait for it; the versions of the packages that it runs on.

        Raises:
            WorkerFailed: it could not build its step.
        """
        versions: dict[str, str] = self._answer()
        return versions

    def step(self) -> tuple[float, int]:
        """One step: its seconds, and the peak in bytes over the process before it was built.

        Raises:
            WorkerFailed: the step failed.
        """
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # why it ended stands in what it wrote
            self._process.stdin.write(b"\n")
        answer = self._answer()
        return answer["seconds"], answer["bytes"]

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        for stream in (self._process.stdin, self._answers, self._complaints):
            stream.close()

    def _answer(self) -> Any:
        line = self._answers.readline()
        if line:
            return json.loads(line)
        code = self._process.wait()
        self._complaints.seek(0)
        lines = self._complaints.read().strip().splitlines()
        # A process that ran out of memory is killed without a word.
        raise WorkerFailed(lines[-1] if lines else f"ended with status {code}")


def serve(
    build: Callable[..., Step], small: Mapping[str, Any], versions: Mapping[str, str]
) -> None:
    """Be a worker: build the step that the command line describes, then make it when asked.

    Args:
        build: makes a step from the options.
        small: options that replace the given ones in a first step, for what libraries allocate
            once, which no step's memory is to include.
        versions: packages and their versions.
    """
    options = json.loads(sys.argv[1])
    answers = os.fdopen(int(sys.argv[2]), "w")
    build(**{**options, **small})()
    before = peak_resident()
    step = build(**options)
    print(json.dumps(dict(versions)), file=answers, flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        step()
        seconds = time.perf_counter() - started
        answer = {"seconds": seconds, "bytes": peak_resident() - before}
        print(json.dumps(answer), file=answers, flush=True)
