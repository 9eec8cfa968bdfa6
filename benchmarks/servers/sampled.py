"""Run a module or a script as Python would, and note its stack while it is on the processor.

    python sampled.py NOTES (-m MODULE | SCRIPT) [ARGUMENT...]

The signals BEGIN and END are what they say. In between the kernel sends SIGPROF for each bit of CPU
time, to the thread that used it, and faulthandler writes that thread's stack to NOTES from within
the signal. It waits for no other thread, so that a thread is seen where it works, and not only
where it lets others go on, as a sampler in a thread of its own would see it.
"""

from __future__ import annotations

import faulthandler
import runpy
import signal
import sys
from pathlib import Path

# SIGUSR1 and SIGUSR2 are taken: Jupyter Server answers the first with a line in its log
BEGIN = signal.SIGRTMIN + 3
END = signal.SIGRTMIN + 4

EVERY = 0.001
"""Seconds of CPU time between two notes; a kernel that counts in larger ticks gives fewer."""


def main() -> None:
    notes, *command = sys.argv[1:]
    # unbuffered, and open for as long as the process lives: the signal writes to its descriptor
    faulthandler.register(signal.SIGPROF, open(notes, "wb", 0), all_threads=False)  # noqa: SIM115
    signal.signal(BEGIN, lambda *_: signal.setitimer(signal.ITIMER_PROF, EVERY, EVERY))
    signal.signal(END, lambda *_: signal.setitimer(signal.ITIMER_PROF, 0))
    if command[0] == "-m":
        sys.argv = command[1:]
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = command
        sys.path.insert(0, str(Path(command[0]).parent))
        runpy.run_path(command[0], run_name="__main__")


if __name__ == "__main__":
    main()
