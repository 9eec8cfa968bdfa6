"""Run a module or a script as Python would, and note its stacks while it is on the processor.

    python sampled.py NOTES (-m MODULE | SCRIPT) [ARGUMENT...]

The signal BEGIN begins; END ends, and writes NOTES. In between the kernel sends SIGPROF for each
bit of CPU time, and Python calls the handler on the main thread, between two of its instructions. A
stack weighs what its thread has used of the processor since the last note, by the thread's own
clock, so a thread that only waits weighs nothing.

What the main thread does is seen where it does it. Other threads are seen only when the main
thread has the interpreter, at the call in which they have let go of it: how much they use is right,
where is not.
"""

from __future__ import annotations

import json
import runpy
import signal
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path
from types import FrameType

# SIGUSR1 and SIGUSR2 are taken: Jupyter Server answers the first with a line in its log
BEGIN = signal.SIGRTMIN + 3
END = signal.SIGRTMIN + 4

EVERY = 0.001
"""Seconds of CPU time between two notes; a kernel that counts in larger ticks gives fewer."""

Place = tuple[str, int, str]


class Sampler:
    """Weigh the stacks of a process's threads.

    Args:
        notes: Where they are written.
    """

    def __init__(self, notes: Path) -> None:
        self._notes = notes
        self._main = threading.main_thread().ident
        self._clocks: dict[int, float] = {}
        self._weights: dict[tuple[bool, tuple[Place, ...]], float] = defaultdict(float)
        self._count = 0

    def begin(self, *_: object) -> None:
        """Begin anew."""
        self._weights.clear()
        self._clocks.clear()
        self._count = 0
        for ident in sys._current_frames():
            self._used(ident)
        signal.setitimer(signal.ITIMER_PROF, EVERY, EVERY)

    def note(self, _number: int, interrupted: FrameType | None) -> None:
        """Note where each thread is that has worked."""
        self._count += 1
        for ident, frame in sys._current_frames().items():
            used = self._used(ident)
            seen = interrupted if ident == self._main else frame
            if used > 0 and seen is not None:
                self._weights[ident == self._main, _stack(seen)] += used
        # what noting costs belongs to nobody
        if self._main is not None:
            self._used(self._main)

    def end(self, *_: object) -> None:
        """Write what was noted; the file is there when it is complete."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        found = [[weight, main, stack] for (main, stack), weight in self._weights.items()]
        fresh = self._notes.with_suffix(".fresh")
        fresh.write_text(json.dumps({"count": self._count, "stacks": found}), encoding="utf-8")
        fresh.replace(self._notes)

    def _used(self, ident: int) -> float:
        """Return the CPU time of a thread since it was last asked for, in seconds."""
        try:
            now = time.clock_gettime(time.pthread_getcpuclockid(ident))
        except OSError:
            return 0.0
        before = self._clocks.get(ident, now)
        self._clocks[ident] = now
        return now - before


def _stack(frame: FrameType | None) -> tuple[Place, ...]:
    """Return where a frame and those that called it are, the innermost first."""
    found = []
    while frame is not None:
        code = frame.f_code
        found.append((code.co_filename, frame.f_lineno or 0, code.co_qualname))
        frame = frame.f_back
    return tuple(found)


def main() -> None:
    notes, *command = sys.argv[1:]
    sampler = Sampler(Path(notes))
    signal.signal(signal.SIGPROF, sampler.note)
    signal.signal(BEGIN, sampler.begin)
    signal.signal(END, sampler.end)
    if command[0] == "-m":
        sys.argv = command[1:]
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = command
        sys.path.insert(0, str(Path(command[0]).parent))
        runpy.run_path(command[0], run_name="__main__")


if __name__ == "__main__":
    main()
