"""Compile the programs in C: the load client, and the server that is the floor."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.machine import BenchmarkError

BUILD = Path(__file__).with_name("build")


def build(source: Path, *extras: Sequence[str]) -> Path:
    """Compile a program if its source is newer; return the program's path.

    Args:
        source: One file of C.
        extras: Options of the compiler, to be tried one after the other until it compiles.

    Raises:
        BenchmarkError: There is no compiler, or it does not compile.
    """
    program = BUILD / source.stem
    if program.exists() and program.stat().st_mtime >= source.stat().st_mtime:
        return program
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        raise BenchmarkError("no C compiler: install one (Debian: apt install gcc libc6-dev)")
    BUILD.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD) as folder:
        # built aside and moved, so that two runs at once never start half a program
        fresh = Path(folder) / source.stem
        base = [*compiler.split(), "-O2", "-o", str(fresh), str(source)]
        for extra in extras or ([],):
            done = subprocess.run([*base, *extra], capture_output=True, text=True, timeout=120)
            if done.returncode == 0:
                fresh.replace(program)
                return program
    raise BenchmarkError(f"{source.name} does not compile:\n{done.stderr.strip()}")
