"""Read the stacks that `servers/sampled.py` has noted, and say where the time goes."""

from __future__ import annotations

import json
import linecache
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeVar

CHECKOUT = Path(__file__).resolve().parents[1]

T = TypeVar("T")

_LIBRARY = re.compile(r".*/(?:site-packages|lib/python3\.\d+)/")


class Frame(NamedTuple):
    """One line of a stack: where the thread was, or waited for what it had called."""

    file: str
    line: int
    name: str

    @property
    def function(self) -> str:
        """Its file and the whole name of its function, as in `direct.py: Direct.read`."""
        return f"{short(self.file)}: {self.name}"


class Stack(NamedTuple):
    """Some CPU time, and where it was used: the frames, the innermost first."""

    seconds: float
    on_main: bool
    frames: tuple[Frame, ...]


class Share(NamedTuple):
    """What one function took of all the time: by itself, and with what it called."""

    name: str
    own: float
    whole: float


def read(text: str) -> tuple[list[Stack], int]:
    """Return the stacks of the notes, and how often they were taken.

    Args:
        text: What `servers/sampled.py` has written.
    """
    notes = json.loads(text)
    stacks = []
    for seconds, on_main, found in notes["stacks"]:
        frames = tuple(Frame(*frame) for frame in found)
        stacks.append(Stack(seconds, on_main, frames if on_main else _thread(frames)))
    return stacks, notes["count"]


def _thread(frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
    """Return the function that a thread runs: of those within it, we do not know which worked."""
    own = [frame for frame in frames if Path(frame.file).name != "threading.py"] or [*frames]
    return (own[-1]._replace(line=0, name=f"{own[-1].name} (a thread)"),)


def functions(stacks: Sequence[Stack]) -> list[Share]:
    """Return what each function took, the largest first.

    Args:
        stacks: From `read`.
    """
    own = dict(_shares(stacks, lambda stack: {stack.frames[0].function}))
    whole = _shares(stacks, lambda stack: {frame.function for frame in stack.frames})
    shares = [Share(name, own.get(name, 0.0), part) for name, part in whole]
    return sorted(shares, key=lambda share: (-share.own, -share.whole, share.name))


def lines(stacks: Sequence[Stack]) -> list[tuple[Frame, float]]:
    """Return what each line took by itself and in functions of C that it called, largest first.

    Args:
        stacks: From `read`.
    """
    return _shares(stacks, lambda stack: {_line(stack.frames[0])})


def _line(frame: Frame) -> Frame:
    return frame._replace(name="") if frame.line else frame


def modules(stacks: Sequence[Stack]) -> list[tuple[str, float]]:
    """Return what the functions of each module took by themselves, the largest first.

    Args:
        stacks: From `read`.
    """
    return _shares(stacks, lambda stack: {short(stack.frames[0].file)})


def on_main_thread(stacks: Sequence[Stack]) -> float:
    """Return the share of the main thread, that of the event loop.

    Args:
        stacks: From `read`.
    """
    return dict(_shares(stacks, lambda stack: {stack.on_main})).get(True, 0.0)


def folded(stacks: Iterable[Stack]) -> str:
    """Return a line for each stack, outermost first, and its microseconds.

    That is what programs that draw flame graphs read.

    Args:
        stacks: From `read`.
    """
    found: Counter[str] = Counter()
    for stack in stacks:
        name = ";".join(frame.function for frame in reversed(stack.frames))
        found[name] += round(stack.seconds * 1e6)
    return "".join(f"{name} {weight}\n" for name, weight in found.most_common())


def _shares(stacks: Sequence[Stack], of: Callable[[Stack], set[T]]) -> list[tuple[T, float]]:
    """Return the share of the time for each thing that a stack counts for, the largest first."""
    found: dict[T, float] = defaultdict(float)
    for stack in stacks:
        for one in of(stack):
            found[one] += stack.seconds
    total = sum(stack.seconds for stack in stacks) or 1.0
    shares = [(one, seconds / total) for one, seconds in found.items()]
    return sorted(shares, key=lambda share: -share[1])


@cache
def short(file: str) -> str:
    """Return a file's name without the folders that say nothing.

    Args:
        file: As Python names it.
    """
    return _LIBRARY.sub("", file.removeprefix(f"{CHECKOUT}/"))


def source(frame: Frame) -> str:
    """Return the line of source text where a frame was.

    Args:
        frame: The frame.
    """
    return linecache.getline(frame.file, frame.line).strip() if frame.line else ""
