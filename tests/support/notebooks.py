"""The notebooks of `notebooks/`, run on a real server; ``python -m support.notebooks`` keeps it.

What they show is made stable first: a port, an id or a path is another one in every run.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nbformat

from support.notebook import Cell, Notebook, notebook
from support.server import RunningServer, running_server

FOLDER = Path(__file__).parent.parent.parent / "notebooks"
FAILS = "raises-exception"
"""The tag of a cell that is meant to fail; Jupyter's own tools know it, too."""

PACKAGES = re.compile(r"(?<![\w./-])/[\w./-]*/(?=(?:jupyter_wshandler|site-packages)/)")
STABLE = (
    # A user whom Jupyter knows by a token only, by name and as people are shown them.
    (re.compile(r"\b[0-9a-f]{32}\b"), "ada"),
    (re.compile(r"\bAnonymous [A-Z]\w*"), "Ada"),
    (re.compile(r"(?i)(?<=connection )[0-9a-f]{16}\b"), "5f1d8a0c93b7e264"),
    (re.compile(r'(?<=, error )[0-9a-f]{8}\b|(?<="id":")[0-9a-f]{8}(?=")'), "7c31e0d9"),
    (re.compile(r"(?<=wshandler-)([^\"\s]+)-[0-9a-f]{6,}(?=\")"), r"\1-1"),  # an element's id
    # A share: its link, its names, and when it was made.
    (re.compile(r"(?<=share_token=)[\w-]{22}"), "5f1d8a0c93b7e264AAAAAA"),
    (re.compile(r'(?<="id": ")[0-9a-f]{12}(?=")'), "5f1d8a0c93b7"),
    (re.compile(r'(?<="expires": )[0-9.]+'), "1790000000.0"),
    (re.compile(r"\bguest[ /][0-9a-f]{4}(?:[0-9a-f]{8})?\b"), "guest 5f1d"),
    (re.compile(r"(?<= runs in a thread for )[0-9.]+ s\b"), "0.1 s"),
    (PACKAGES, ".../"),
)

SETTLED = """
import sys, time
import jupyter_wshandler as wsh
deadline = time.monotonic() + 10
while any(bot._link.manager.connections for bot in wsh.bots.values()) or any(
    isinstance(value, wsh.Share) and value._due for value in tuple(globals().values())
):
    if time.monotonic() > deadline:
        raise TimeoutError("the notebook leaves connections open, so their bots may still print")
    time.sleep(0.01)
sys.stdout.flush()
sys.stderr.flush()
"""
"""Wait until the last callback of every connection has ended and cells show of every share how it
stands, and bring out what they have printed.

A kernel's messages stay in order: at the end of this cell all output of the others is there.
"""


class NotebookFailed(AssertionError):
    """Report a cell that failed and should not, or the other way round."""


def paths() -> list[Path]:
    """Return the notebooks in order."""
    return sorted(FOLDER.glob("*.ipynb"))


def run(server: RunningServer, path: Path) -> nbformat.NotebookNode:
    """Run a notebook from top to bottom in a kernel of its own; return it with its outputs.

    Raises:
        NotebookFailed: A cell has raised an exception without the tag `FAILS`, or has none with it.
    """
    ran = nbformat.read(path, as_version=4)
    codes = [cell for cell in ran.cells if cell.cell_type == "code"]
    with notebook(server, path=path.name) as book:
        done = [_run_cell(book, cell, path) for cell in codes]
        book.run(SETTLED)
    for cell, result in zip(codes, done, strict=True):
        cell.execution_count = result.reply["execution_count"]
        cell.outputs = [nbformat.from_dict(o) for o in stable(server, merged(result.outputs))]
    return ran


def _run_cell(book: Notebook, cell: nbformat.NotebookNode, path: Path) -> Cell:
    result = book.run(cell.source, fails=True)
    meant = FAILS in cell.metadata.get("tags", ())
    failed = result.reply["status"] != "ok"
    if failed != meant:
        what = result.error if failed else f"it has the tag {FAILS} and has not failed"
        raise NotebookFailed(f"{path.name}:\n{cell.source}\n\n{what}\n{result.text}")
    return result


def merged(outputs: Iterable[dict]) -> list[dict]:
    """Return outputs with one block for each stream, where the stream was first written to.

    A kernel sends its streams in pieces and by the clock, so neither the pieces nor the turns of
    two streams are the same in the next run.
    """
    streams: dict[str, dict] = {}
    kept = []
    for output in outputs:
        known = streams.get(output.get("name", ""))
        if known is not None:
            known["text"] += output["text"]
            continue
        output = {key: value for key, value in output.items() if key != "transient"}
        kept.append(output)
        if output["output_type"] == "stream":
            streams[output["name"]] = output
    return kept


def stable(server: RunningServer, value: Any) -> Any:
    """Return outputs without what is another one in every run."""
    if isinstance(value, dict):
        return {key: stable(server, entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [stable(server, entry) for entry in value]
    if not isinstance(value, str):
        return value
    value = value.replace(f"{server.host}:{server.port}", "localhost:8888")
    value = value.replace(str(server.folder), "/home/ada")
    for pattern, replacement in STABLE:
        value = pattern.sub(replacement, value)
    return value


ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
FRAMES = re.compile(r"^-{70,}\n.*\n\n(?=\S)", re.DOTALL | re.MULTILINE)


def shown(ran: nbformat.NotebookNode) -> list[str]:
    """Return what each code cell has printed, shown as text, or raised.

    Of a traceback it is the last line: colours and frames are those of an IPython's version.
    """
    return ["\n".join(map(_text, c.outputs)) for c in ran.cells if c.cell_type == "code"]


def _text(output: dict) -> str:
    if output["output_type"] == "stream":
        text = FRAMES.sub("", ESCAPES.sub("", output["text"]))
        return f"{output['name']}: {text}".strip()
    if output["output_type"] == "error":
        return f"{output['ename']}: {output['evalue']}"
    return output["data"].get("text/plain", "")


def main(names: list[str]) -> None:
    """Run the notebooks with these stems, or all, and write what they show into the files."""
    with tempfile.TemporaryDirectory() as folder, running_server(folder=Path(folder)) as server:
        for path in paths():
            if not names or path.stem in names:
                nbformat.write(run(server, path), path)
                print(path.relative_to(FOLDER.parent))


if __name__ == "__main__":
    main(sys.argv[1:])
