#!/usr/bin/env bash
# ipykernel 7.4.0: between cells an interrupt does not reach what the kernel is doing.
#
# Guess:  a task that a cell has left behind, and that blocks the kernel in a call of its own
#         (`time.sleep`, a computation), gets the KeyboardInterrupt when the kernel is interrupted, as
#         it would in a Python program that gets SIGINT. So it does while another cell waits.
# Seen:   it gets nothing and runs to its end; the kernel answers nobody until then. While a cell
#         waits in `await` it is the same, and the cell is what is cancelled, once the call has ended.
#         async-kernel 0.23.1 ends the call at once in both cases.
# Why:    an `async def` that answers messages in a kernel and computes for minutes cannot be stopped
#         with the button that stops every cell: there is only the restart, which loses everything. Let
#         such work run in a thread or a process, and give it a way to end.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -qq --disable-pip-version-check \
    ipykernel==7.4.0 async-kernel==0.23.1 ipython==9.18.1 jupyter-client==8.10.0
mkdir home
cat >main.py <<'PY'
import sys
import time
from pathlib import Path

from jupyter_client import KernelManager

FUNCTIONS = """
import asyncio
import time
from pathlib import Path


async def block(mark):
    await asyncio.sleep(0.5)
    begin, how = time.monotonic(), "to its end"
    Path(mark).touch()
    try:
        time.sleep(4)
    except BaseException:
        how = "interrupted"
    print(how, "early" if time.monotonic() - begin < 3.5 else "late")
"""
EXPECTED = {
    # kernel: (between cells, while a cell waits, the end of that cell)
    "python3": ("to its end late", "to its end late", "CancelledError"),
    "async": ("interrupted early", "interrupted early", "CancelledError"),
}


def hear(client, ident, kind):
    """Return the next message of a kind that belongs to a cell."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        message = client.get_iopub_msg(timeout=20)
        if message["parent_header"].get("msg_id") == ident and message["msg_type"] == kind:
            content = message["content"]
            if kind != "stream" or content["name"] == "stdout":
                return content
    raise TimeoutError(kind)


def interrupt_while_blocked(manager, mark):
    while not Path(mark).exists():
        time.sleep(0.05)
    time.sleep(0.5)
    manager.interrupt_kernel()


def run(name):
    manager = KernelManager(kernel_name=name)
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=30)
        client.execute_interactive(FUNCTIONS, timeout=20)
        first = client.execute(f"task = asyncio.create_task(block('{name}-1'))")
        interrupt_while_blocked(manager, f"{name}-1")
        between = hear(client, first, "stream")["text"].strip()
        client.execute_interactive("await task", timeout=20)
        second = client.execute(f"task = asyncio.create_task(block('{name}-2'))")
        waiting = client.execute("await asyncio.sleep(15)")
        interrupt_while_blocked(manager, f"{name}-2")
        meanwhile = hear(client, second, "stream")["text"].strip()
        return between, meanwhile, hear(client, waiting, "error")["ename"]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


seen = {name: run(name) for name in EXPECTED}
print("the blocking call between cells, and beside a cell that waits; that cell:", seen)
if seen != EXPECTED:
    sys.exit(f"the kernels behave differently now; this finding said {EXPECTED}")
PY
HOME=$dir/home PATH=$dir/venv/bin:$PATH timeout 90 venv/bin/python main.py
