#!/usr/bin/env bash
# jupyter-server 2.21.1: a second SIGTERM calls every stop hook again, and cuts the first call off.
#
# Guess:  a server that is stopping takes a second signal as what it is doing already: each
#         extension's `stop_extension` runs once, to its end.
# Seen:   the hook is called a second time while the first call still waits. If the second call
#         returns at once, because its work is under way, the event loop ends and the process with
#         it, exit code 0: the first call never comes back. With one signal it runs to its end.
# Why:    a hook that says goodbye to visitors or writes their sessions takes a moment, in which
#         a supervisor may repeat itself: what the hook has not written by then is lost. Let a
#         second call of the hook wait for the first one.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq --disable-pip-version-check jupyter-server==2.21.1
mkdir "$dir/home"
cd "$dir"
cat >slowly.py <<'PY'
"""A server extension whose stop hook takes two seconds."""

import asyncio
import os

from jupyter_server.extension.application import ExtensionApp


def say(line):
    with open(os.environ["SAID"], "a") as file:
        print(line, file=file)


class Slowly(ExtensionApp):
    name = "slowly"
    calls = 0

    async def _start_jupyter_server_extension(self, serverapp):
        say("up")

    async def stop_extension(self):
        self.calls += 1
        call = self.calls
        say(f"call {call} begins")
        if call == 1:
            await asyncio.sleep(2)
        say(f"call {call} ends")


def _jupyter_server_extension_points():
    return [{"module": "slowly", "app": Slowly}]
PY
cat >main.py <<'PY'
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

FIRST = ["up", "call 1 begins"]
EXPECTED = {
    # signals: (what the hook has said, exit code)
    1: ([*FIRST, "call 1 ends"], 0),
    2: ([*FIRST, "call 2 begins", "call 2 ends"], 0),
}


def lines(path):
    return path.read_text().splitlines() if path.exists() else []


def wait_for(path, line):
    for _ in range(300):
        if line in lines(path):
            return
        time.sleep(0.1)
    sys.exit(f"the server did not say {line!r}")


def run(signals):
    said = Path(f"said{signals}").resolve()
    home = str(Path("home").resolve())
    env = os.environ | {"SAID": str(said), "HOME": home, "PYTHONPATH": str(Path.cwd())}
    env = {name: value for name, value in env.items() if not name.startswith("JUPYTER")}
    command = [sys.executable, "-m", "jupyter_server", "--ip=127.0.0.1", "--port=0"]
    command += ["--no-browser", "--allow-root", "--ServerApp.jpserver_extensions={'slowly': True}"]
    with open(f"log{signals}", "w") as log:
        server = subprocess.Popen(command, env=env, cwd=home, stdout=log, stderr=log)
    try:
        wait_for(said, "up")
        server.send_signal(signal.SIGTERM)
        wait_for(said, "call 1 begins")
        if signals == 2:
            server.send_signal(signal.SIGTERM)
        code = server.wait(15)
        return lines(said), code
    finally:
        server.kill()
        server.wait()


seen = {signals: run(signals) for signals in EXPECTED}
print("seen:", seen)
if seen != EXPECTED:
    sys.exit(f"jupyter-server behaves differently now; this finding said {EXPECTED}")
PY
timeout 100 venv/bin/python main.py
