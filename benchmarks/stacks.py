"""Read the stacks that `servers/sampled.py` has noted, and say where the time goes."""

from __future__ import annotations

import ast
import linecache
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

CHECKOUT = Path(__file__).resolve().parents[1]

_FRAME = re.compile(r'  File "(?P<file>.*)", line (?P<line>\d+|\?\?\?) in (?P<name>.*)')
_BEGINS = "(most recent call first):"
_COLLECTING = "  Garbage-collecting"
_LIBRARY = re.compile(r".*/(?:site-packages|lib/python3\.\d+)/")
_MAIN = "sampled.py"


class Frame(NamedTuple):
    """One line of a stack: where the thread was, or waited for what it had called."""

    file: str
    line: int
    name: str

    @property
    def function(self) -> str:
        """Its file and the whole name of its function, as in `direct.py: Direct.read`."""
        return f"{short(self.file)}: {qualified(self.file, self.line, self.name)}"


Stack = tuple[Frame, ...]
"""The frames of one sample, the innermost first."""


class Share(NamedTuple):
    """What one function or line took of all samples: by itself, and with what it called."""

    name: str
    own: float
    whole: float


def read(text: str) -> list[Stack]:
    """Return the stacks in what faulthandler wrote; a sample of no Python code is left out.

    Args:
        text: The notes.
    """
    stacks: list[Stack] = []
    frames: list[Frame] = []
    for line in text.splitlines():
        if line.endswith(_BEGINS):
            stacks.append(tuple(frames))
            frames = []
        elif line.startswith(_COLLECTING):
            frames.append(Frame("", 0, "garbage collection"))
        elif found := _FRAME.fullmatch(line):
            number = int(found["line"]) if found["line"].isdigit() else 0
            frames.append(Frame(found["file"], number, found["name"]))
    return [stack for stack in (*stacks, tuple(frames)) if stack]


def functions(stacks: Sequence[Stack]) -> list[Share]:
    """Return what each function took, the largest first.

    Args:
        stacks: From `read`.
    """
    own = Counter(stack[0].function for stack in stacks)
    whole = Counter(name for stack in stacks for name in {frame.function for frame in stack})
    shares = [Share(name, own[name] / len(stacks), n / len(stacks)) for name, n in whole.items()]
    return sorted(shares, key=lambda share: (-share.own, -share.whole, share.name))


def lines(stacks: Sequence[Stack]) -> list[tuple[Frame, float]]:
    """Return what each line took by itself and in functions of C that it called, largest first.

    Args:
        stacks: From `read`.
    """
    found = Counter(stack[0]._replace(name="") for stack in stacks)
    return [(frame, n / len(stacks)) for frame, n in found.most_common()]


def modules(stacks: Sequence[Stack]) -> list[tuple[str, float]]:
    """Return what the functions of each module took by themselves, the largest first.

    Args:
        stacks: From `read`.
    """
    found = Counter(short(stack[0].file) for stack in stacks)
    return [(name, n / len(stacks)) for name, n in found.most_common()]


def on_main_thread(stacks: Sequence[Stack]) -> float:
    """Return the share of the samples in which the main thread worked, that of the event loop.

    Args:
        stacks: From `read`.
    """
    return sum(Path(stack[-1].file).name == _MAIN for stack in stacks) / len(stacks)


def folded(stacks: Iterable[Stack]) -> str:
    """Return a line for each stack, outermost first, and how often: as flame graphs are drawn from.

    Args:
        stacks: From `read`.
    """
    found = Counter(";".join(frame.function for frame in reversed(stack)) for stack in stacks)
    return "".join(f"{stack} {n}\n" for stack, n in found.most_common())


@cache
def short(file: str) -> str:
    """Return a file's name without the folders that say nothing.

    Args:
        file: As Python names it.
    """
    inside = file.removeprefix(f"{CHECKOUT}/")
    return _LIBRARY.sub("", inside) or "(the interpreter)"


@cache
def qualified(file: str, line: int, name: str) -> str:
    """Return a function's name with those of the classes and functions around it.

    Args:
        file: Where it stands.
        line: A line of it.
        name: What it is called.
    """
    around = [
        (first, last, whole) for first, last, whole in _definitions(file) if _ends(whole, name)
    ]
    # of nested functions with one name, the innermost is the one that runs
    inside = [(first, whole) for first, last, whole in around if first <= line <= last]
    return max(inside)[1] if inside else name


def _ends(whole: str, name: str) -> bool:
    return whole.rpartition(".")[2] == name


@cache
def _definitions(file: str) -> list[tuple[int, int, str]]:
    try:
        tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return []
    found: list[tuple[int, int, str]] = []

    def look(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            inner = prefix
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                whole = prefix + child.name
                inner = f"{whole}."
                if not isinstance(child, ast.ClassDef):
                    found.append((child.lineno, child.end_lineno or child.lineno, whole))
            look(child, inner)

    look(tree, "")
    return found


def source(frame: Frame) -> str:
    """Return the line of source text where a frame was.

    Args:
        frame: The frame.
    """
    return linecache.getline(frame.file, frame.line).strip()
