"""A process that has imported Jupyter Server once and forks itself for each server of a test.

Most of the time that a server needs to start goes into imports, the same ones each time. What
`start` returns is a process of its own with a session, an environment, a folder and a log of its
own; only that the modules of Jupyter Server are there already. The package itself is not among
them: each server imports it, and a test that saves a module sees it loaded.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import json
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

IMPORTED = (
    "jupyter_server.serverapp",
    "jupyter_server.kernelspecs.handlers",
    "jupyter_server.nbconvert.handlers",
    "jupyter_server.services.api.handlers",
)
"""What a server imports in any case."""

INHERITED = {"PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "default"}
"""What Python itself reads before it runs anything; a fork finds it done."""

UNDERSTOOD = {*INHERITED, "PYTHONPATH", "PYTHONDONTWRITEBYTECODE"}

PR_SET_CHILD_SUBREAPER = 36


class Forked:
    """A process that was forked for this one, as `subprocess.Popen` would show it."""

    def __init__(self, pid: int, args: Sequence[str]) -> None:
        self.pid = pid
        self.args = args
        self.returncode: int | None = None
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """Return the exit code, the negative number of a signal, or None while it runs."""
        with self._lock:
            if self.returncode is None:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    self.returncode = os.waitstatus_to_exitcode(status)
            return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; raise `subprocess.TimeoutExpired` after so many seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = 0.0005
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                assert timeout is not None
                raise subprocess.TimeoutExpired(list(self.args), timeout)
            time.sleep(pause)
            pause = min(2 * pause, 0.05)
        return code

    def send_signal(self, sig: int) -> None:
        """Send a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, sig)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def can_fork(environment: Mapping[str, str]) -> bool:
    """Return whether a fork would be what a new Python with this environment is."""
    heard = ("PYTHON", "LD_", "MALLOC")
    # `make PYTHON=...` hands its own variable on, which Python does not read.
    given = {k: v for k, v in environment.items() if k.startswith(heard) and k != "PYTHON"}
    same = all(given.get(name) == value for name, value in INHERITED.items())
    return sys.platform == "linux" and same and given.keys() <= UNDERSTOOD


class _ForkServer:
    """The process that forks, started when it is first asked."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def start(
        self, module: str, arguments: Sequence[str], cwd: Path, env: Mapping[str, str], log: Path
    ) -> Forked:
        """Fork a process that runs ``python -m MODULE ARGUMENTS``, and writes to `log`."""
        order = {"module": module, "arguments": [*arguments], "cwd": str(cwd), "env": dict(env)}
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._process = self._run()
            process = self._process
            assert process.stdin is not None
            assert process.stdout is not None
            # The fork's parent ends at once: whoever asks the kernel for it becomes the parent.
            _adopt(True)
            try:
                process.stdin.write(json.dumps({**order, "log": str(log)}) + "\n")
                process.stdin.flush()
                said = process.stdout.readline()
                if not said.strip():
                    raise RuntimeError("the process that forks servers has ended: see above why")
                pid = int(said)
            except BaseException:
                # A time-out of the test, say: the next one must not read this one's answer.
                self._process = None
                process.kill()
                process.wait()
                raise
            finally:
                _adopt(False)
        return Forked(pid, [sys.executable, "-m", module, *arguments])

    def _run(self) -> subprocess.Popen[str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "JPY_"))}
        process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            cwd=Path(__file__).parents[1],
            env={**kept, **INHERITED},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        atexit.register(_end, process)
        return process


def _end(process: subprocess.Popen[str]) -> None:
    """Let a process that forks come to its end, which it does where it is asked nothing more."""
    with contextlib.suppress(BrokenPipeError, subprocess.TimeoutExpired):
        process.communicate(timeout=5)
    process.kill()
    process.wait()


def _adopt(wanted: bool) -> None:
    """Have processes whose parent ends become children of this one, or of nobody here again."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, int(wanted), 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


fork_server = _ForkServer()
"""That of this process."""


# ---- the process that forks ----------------------------------------------------------------------


def main() -> None:
    """Fork for each line of standard input, and write the number of the process."""
    for name in IMPORTED:
        __import__(name)
    gc.collect()
    gc.freeze()
    assert len(os.listdir("/proc/self/task")) == 1, "a thread would not be there in a fork"
    for line in sys.stdin:
        order = json.loads(line)
        read, write = os.pipe()
        between = os.fork()
        if between == 0:
            os.close(read)
            pid = os.fork()
            if pid == 0:
                os.close(write)
                become(order)
                return
            os.write(write, b"%d" % pid)
            os._exit(0)
        os.close(write)
        os.waitpid(between, 0)
        print(os.read(read, 20).decode(), flush=True)
        os.close(read)


def become(order: dict) -> None:
    """Be a new Python that runs a module, to its end."""
    os.setsid()
    os.chdir(order["cwd"])
    null = os.open(os.devnull, os.O_RDONLY)
    log = os.open(order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    for target, source in enumerate((null, log, log)):
        os.dup2(source, target)
    for descriptor in (null, log):
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(order["env"])
    time.tzset()
    more = order["env"].get("PYTHONPATH", "").split(os.pathsep)
    own = [path for path in sys.path if path != str(Path(__file__).parents[1])]
    sys.path[:] = [order["cwd"], *filter(None, more), *own]
    sys.argv[:] = [order["module"], *order["arguments"]]
    runpy.run_module(order["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
