#!/usr/bin/env bash
# prompt_toolkit 3.0.53: of words that are flushed one by one above its prompt only the last is seen.
#
# Guess:  under `patch_stdout()`, which draws what is printed above the prompt rather than over it,
#         `print(word, end=" ", flush=True)` shows an answer word by word on one line above the
#         prompt, and all of it stands there in the end.
# Seen:   each word erases the one before, and when the line ends nothing of it is left. Without
#         `flush` the words appear together once their line has ended, complete: what has no newline
#         yet is not part of what stands above the prompt, and a flush shows it all the same.
# Why:    the client of a bot that streams its answer to a terminal with a prompt loses the answer, and
#         only there: through a pipe or without the prompt every word is there. Print whole lines, or
#         collect the words and show them in the prompt's own toolbar until the line has ended.
# How:    the terminal is pyte, so that the script needs none; a tmux 3 showed the same.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -qq --disable-pip-version-check \
    prompt_toolkit==3.0.53 pexpect==4.9.0 pyte==0.8.2
cat >chat.py <<'PY'
import asyncio
import sys

from prompt_toolkit import PromptSession
from prompt_toolkit.patch_stdout import patch_stdout


async def answer(flush):
    for word in "The quick brown fox".split():
        print(word, end=" ", flush=flush)
        await asyncio.sleep(0.5)
    print()
    print("That was it.")


async def main():
    session = PromptSession()
    with patch_stdout():
        prompt = asyncio.create_task(session.prompt_async("> "))
        await asyncio.sleep(1)
        await answer(sys.argv[1] == "flush")
        await prompt


asyncio.run(main())
PY
cat >main.py <<'PY'
import sys
import time

import pexpect
import pyte

EXPECTED = {
    # how it prints: (words that were on the screen at some time, at most on one screen; in the end)
    "flush": (4, 1, ["That was it.", ">"]),
    "no flush": (4, 4, ["The quick brown fox", "That was it.", ">"]),
}


def watch(kind):
    """Return what a terminal of 60 columns shows."""
    child = pexpect.spawn(sys.executable, ["chat.py", kind], dimensions=(20, 60), encoding="utf-8")
    screen = pyte.Screen(60, 20)
    screen.write_process_input = child.send  # it answers where its cursor is, as terminals do
    stream = pyte.Stream(screen)
    words, most, lines = set(), 0, []
    end = time.monotonic() + 20
    while time.monotonic() < end and lines[-2:] != ["That was it.", ">"]:
        try:
            stream.feed(child.read_nonblocking(4096, 0.1))
        except pexpect.TIMEOUT:
            pass
        lines = [line.rstrip() for line in screen.display if line.strip()]
        there = {"The", "quick", "brown", "fox"} & set(" ".join(lines).split())
        words |= there
        most = max(most, len(there))
    child.terminate(force=True)
    return len(words), most, lines


seen = {kind: watch(kind) for kind in EXPECTED}
print("words, at most at one time, the screen in the end:", seen)
if seen != EXPECTED:
    sys.exit(f"prompt_toolkit behaves differently now; this finding said {EXPECTED}")
PY
TERM=xterm-256color timeout 60 venv/bin/python main.py
