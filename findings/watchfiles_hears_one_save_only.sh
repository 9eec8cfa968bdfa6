#!/usr/bin/env bash
# watchfiles 1.3.0 on Linux: a watched file that was replaced once is never reported again.
#
# Guess:  `awatch("bots.yaml")` reports every change of what has this name, also where an editor
#         writes another file and renames it over the old one, or a folder is removed and made anew.
# Seen:   the first replacement is reported as "deleted" and "modified", a second one and all later
#         writes are not. A folder that was removed and made again stays unheard likewise. The
#         loop goes on without an error. A watch on the folder above hears all of it.
# Why:    a bot that loads its prompt or its table of answers again when the file changes does so
#         once with most editors, then never. Watch the folder and look for the name in it.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq --disable-pip-version-check watchfiles==1.3.0
cd "$dir"
timeout 90 "$dir/venv/bin/python" - <<'PY'
import asyncio
import os
import shutil
import sys
from pathlib import Path

from watchfiles import awatch

EXPECTED = {
    # (what is watched, what is done): whether each of these was heard
    ("the file", "write"): [True, True, True],
    ("the file", "replace"): [True, False, False],
    ("the folder above the file", "replace"): [True, True, True],
    ("the folder", "remove and make"): [True, False, False],
    ("the folder above the folder", "remove and make"): [True, True, True],
}


def prepare(name):
    top = Path(name).resolve()
    (top / "bots").mkdir(parents=True)
    (top / "bots" / "chat.yaml").write_text("0")
    return top


def write(top, text):
    (top / "bots" / "chat.yaml").write_text(text)


def replace(top, text):
    (top / "bots" / "new").write_text(text)
    os.replace(top / "bots" / "new", top / "bots" / "chat.yaml")


def remove_and_make(top, text):
    shutil.rmtree(top / "bots")
    (top / "bots").mkdir()
    write(top, text)


CASES = {
    ("the file", "write"): ("bots/chat.yaml", write),
    ("the file", "replace"): ("bots/chat.yaml", replace),
    ("the folder above the file", "replace"): ("bots", replace),
    ("the folder", "remove and make"): ("bots", remove_and_make),
    ("the folder above the folder", "remove and make"): (".", remove_and_make),
}


async def watch(number, below, act):
    top = prepare(f"case{number}")
    stop, heard, got = asyncio.Event(), [], []

    async def listen():
        async for changes in awatch(top / below, stop_event=stop, watch_filter=None, debounce=300):
            got.extend(changes)

    listener = asyncio.create_task(listen())
    await asyncio.sleep(1)  # the watch is up
    for text in ("1", "2", "3"):
        before = len(got)
        act(top, text)
        await asyncio.sleep(2)
        heard.append(len(got) > before)
    assert not listener.done()  # it still waits, without an error
    stop.set()
    await asyncio.wait_for(listener, 10)
    return heard


async def main():
    cases = enumerate(CASES.values())
    results = await asyncio.gather(*(watch(number, *case) for number, case in cases))
    seen = dict(zip(CASES, results, strict=True))
    print("seen:", seen)
    if seen != EXPECTED:
        sys.exit(f"watchfiles behaves differently now; this finding said {EXPECTED}")


asyncio.run(main())
PY
