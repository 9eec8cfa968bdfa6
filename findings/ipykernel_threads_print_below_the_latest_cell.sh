#!/usr/bin/env bash
# ipykernel 7.4.0: what a thread prints goes to the cell that ran last; not so with asyncio.to_thread.
#
# Guess:  what runs in the background writes below the cell that started it, a thread like a task,
#         and `loop.run_in_executor` like `asyncio.to_thread`, which is built on it.
# Seen:   print() and display() of tasks, of call_later and of asyncio.to_thread arrive at the cell
#         that started them. Those of a Thread, of a thread pool and of run_in_executor arrive at
#         the cell that ran last, whatever it is.
# Why:    a bot answers while its owner runs other cells: what a `def` prints in a thread appears
#         below a plot it has nothing to do with, and `async def` beside it writes elsewhere.
#         Carry the context along: `contextvars.copy_context().run` in the thread does it.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq --disable-pip-version-check \
    ipykernel==7.4.0 ipython==9.18.1 jupyter-client==8.10.0
mkdir "$dir/home"
cat >"$dir/main.py" <<'PY'
import queue
import sys
import time

from jupyter_client import KernelManager

FIRST = """
import asyncio
import contextvars
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from IPython.display import display

later = threading.Event()
loop = asyncio.get_running_loop()
pool = ThreadPoolExecutor(8)


def say(who):
    print(who + "\\n", end="")  # one write, as several threads print here
    display(who)


def wait(who):
    later.wait(20)
    time.sleep(0.3)
    say(who)


async def task():
    while not later.is_set():
        await asyncio.sleep(0.1)
    say("task")
    loop.call_later(0.1, say, "call_later")


tasks = [asyncio.create_task(task()), asyncio.create_task(asyncio.to_thread(wait, "to_thread"))]
tasks.append(loop.run_in_executor(pool, wait, "run_in_executor"))
threading.Thread(target=wait, args=["Thread"]).start()
pool.submit(wait, "pool")
pool.submit(contextvars.copy_context().run, wait, "pool with the context");
"""
HERE, LAST = ["first cell"], ["last cell"]
EXPECTED = {
    # who writes: (where print() arrives, where display() does)
    "task": (HERE, HERE),
    "call_later": (HERE, HERE),
    "to_thread": (HERE, HERE),
    "pool with the context": (HERE, HERE),
    "run_in_executor": (LAST, LAST),
    "Thread": (LAST, LAST),
    "pool": (LAST, LAST),
}


def messages(client, seconds):
    """Everything that the kernel publishes within some seconds."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        try:
            yield client.get_iopub_msg(timeout=left)
        except queue.Empty:
            return


def main():
    manager = KernelManager()
    manager.start_kernel(stderr=sys.stderr)
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=40)
        cells = {}
        for name, code in (("first cell", FIRST), ("last cell", "later.set()")):
            reply = client.execute_interactive(code, timeout=20, output_hook=lambda message: None)
            assert reply["content"]["status"] == "ok", reply["content"]
            cells[reply["parent_header"]["msg_id"]] = name
        printed, displayed = ({who: set() for who in EXPECTED} for _ in range(2))
        for message in messages(client, 5):
            cell, content = cells.get(message["parent_header"].get("msg_id")), message["content"]
            if message["msg_type"] == "stream":
                for who in content["text"].split("\n"):
                    if who:
                        printed[who].add(cell)
            elif message["msg_type"] == "display_data":
                displayed[content["data"]["text/plain"].strip("'")].add(cell)
        return {who: (sorted(printed[who]), sorted(displayed[who])) for who in EXPECTED}
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


seen = main()
print("seen:", seen)
if seen != EXPECTED:
    sys.exit(f"ipykernel behaves differently now; this finding said {EXPECTED}")
PY
env HOME="$dir/home" IPYTHONDIR="$dir/home" timeout 100 "$dir/venv/bin/python" "$dir/main.py"
