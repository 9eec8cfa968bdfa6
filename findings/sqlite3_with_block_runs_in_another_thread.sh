#!/usr/bin/env bash
# sqlite3 of Python 3.11 to 3.13: in another thread, `with connection:` refuses only after its block.
#
# Guess:  a connection is usable in the thread that opened it only, so `with connection:` raises
#         ProgrammingError in another one before its block begins, as connection.execute() does.
# Seen:   entering asks nothing: the block runs, and leaving it raises, even if the block has not
#         touched the database. An error of the block itself becomes the context of that
#         ProgrammingError, so that `except ValueError` around it does not catch it.
# Why:    callbacks run in threads of a pool, and a connection is often a global. What such a block
#         does before its first statement (a message sent, a file written) is done, then comes the
#         error; and a test for the block's own errors does not see them.
# How:    nothing is installed: it is python3 itself that is asked.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
timeout 60 python3 - <<'PY'
import platform
import sqlite3
import sys
from concurrent.futures import ThreadPoolExecutor

OWN, OTHER = "the thread that opened it", "another thread"
WRONG = "ProgrammingError"
EXPECTED = {
    # (thread, what is done): (how far it came, what it raised, a ValueError is its context)
    (OWN, "execute"): (["did it"], None, False),
    (OWN, "with"): (["block begins", "block ends"], None, False),
    (OWN, "with, error inside"): (["block begins"], "ValueError", False),
    (OTHER, "execute"): ([], WRONG, False),
    (OTHER, "with"): (["block begins", "block ends"], WRONG, False),
    (OTHER, "with, error inside"): (["block begins"], WRONG, True),
}
connection = sqlite3.connect(":memory:")


def execute(steps):
    connection.execute("SELECT 1")
    steps.append("did it")


def block(steps):
    with connection:
        steps.append("block begins")
        steps.append("block ends")


def error_inside(steps):
    with connection:
        steps.append("block begins")
        raise ValueError("not such a message")


ACTS = {"execute": execute, "with": block, "with, error inside": error_inside}


def hidden(exc):
    while exc := exc.__context__:
        if isinstance(exc, ValueError):
            return True
    return False


def attempt(name):
    steps = []
    try:
        ACTS[name](steps)
    except Exception as exc:
        return steps, type(exc).__name__, hidden(exc)
    return steps, None, False


with ThreadPoolExecutor(1) as pool:
    seen = {(OWN, name): attempt(name) for name in ACTS}
    seen |= {(OTHER, name): pool.submit(attempt, name).result() for name in ACTS}
connection.close()
print("seen with Python", platform.python_version(), seen)
if seen != EXPECTED:
    sys.exit(f"sqlite3 behaves differently now; this finding said {EXPECTED}")
PY
