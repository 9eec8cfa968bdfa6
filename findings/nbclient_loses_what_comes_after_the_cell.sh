#!/usr/bin/env bash
# nbclient 0.11.0 with ipykernel 7.4.0: what a task writes after its cell has ended is in no cell.
#
# Guess:  a notebook that is executed shows what JupyterLab would: the output of a task below the
#         cell that started it, also if it comes while a later cell runs.
# Seen:   print(), display() and the update of a display are lost without a word, although the
#         kernel has published them. If they come while their cell runs, they are there. What a
#         thread writes is kept, as ipykernel sends it to the cell that runs by then.
# Why:    a notebook with a bot and a cell that talks to it is executed by nbconvert or in CI: what
#         the bot wrote from a task of its own is not there. Let the cell that talks to it print
#         what matters.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq --disable-pip-version-check \
    nbclient==0.11.0 ipykernel==7.4.0 ipython==9.18.1 jupyter-client==8.10.0
mkdir "$dir/home"
cat >"$dir/main.py" <<'PY'
import sys

import nbformat.v4 as nbformat
from nbclient import NotebookClient

SETUP = """
import asyncio
import threading

from IPython.display import display

now = threading.Event()


def write(who):
    print(who, "prints")
    display(who + " displays")
    handle.update(who + " updates")


async def task():
    while not now.is_set():
        await asyncio.sleep(0.1)
    write("task")


def thread():
    now.wait(20)
    write("thread")


handle = display("nothing", display_id=True);
"""
START_TASK = "running = asyncio.create_task(task());"
START_THREAD = "threading.Thread(target=thread).start();"
GO = "now.set()\nawait asyncio.sleep(1)\nprint('end')"
NOTHING, END = ["'nothing'"], ["end"]
TASK = ["task prints", "'task displays'"]
THREAD = ["thread prints", "'thread displays'"]
EXPECTED = {
    # what the notebook does: what is below each of its cells
    "task, in its cell": [["'task updates'"], [*TASK, *END]],
    "task, later": [NOTHING, [], END],
    "thread, later": [["'thread updates'"], [], [*THREAD, *END]],
}
NOTEBOOKS = {
    "task, in its cell": [SETUP, START_TASK + "\n" + GO],
    "task, later": [SETUP, START_TASK, GO],
    "thread, later": [SETUP, START_THREAD, GO],
}


def execute(cells):
    notebook = nbformat.new_notebook(cells=[nbformat.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=30, kernel_name="python3").execute()
    return [
        [
            line
            for output in cell.outputs
            for line in (output.get("text") or output.data["text/plain"]).splitlines()
        ]
        for cell in notebook.cells
    ]


seen = {name: execute(cells) for name, cells in NOTEBOOKS.items()}
print("seen:", seen)
if seen != EXPECTED:
    sys.exit(f"nbclient behaves differently now; this finding said {EXPECTED}")
PY
cd "$dir"
env HOME="$dir/home" IPYTHONDIR="$dir/home" timeout 100 "$dir/venv/bin/python" main.py
