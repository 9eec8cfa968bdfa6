"""A bot that runs the command to share, as its user does in a terminal of the same server."""

import json
import subprocess
import sys


def run(handler, message):
    ended = subprocess.run(
        [sys.executable, "-m", "jupyter_wshandler", *json.loads(message)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    return {"code": ended.returncode, "out": ended.stdout, "said": ended.stderr}


def who(handler, message):
    return {"kind": getattr(handler.current_user, "kind", "user"), "said": message}
