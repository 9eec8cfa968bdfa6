"""The exceptions, where they meet other people's code."""

import subprocess
import sys

PROGRAM = """
import sys
import jupyter_wshandler as wsh
from jupyter_wshandler.errors import WSHandlerError

closed = wsh.ConnectionClosed("early")
assert "tornado" not in sys.modules, "nobody has asked for Tornado"

from tornado.websocket import WebSocketClosedError

for _ in range(2):
    try:
        raise wsh.ConnectionClosed("the connection is closed", 1001, "away")
    except WebSocketClosedError as error:
        assert isinstance(error, WSHandlerError)
        assert (str(error), error.code, error.reason) == ("the connection is closed", 1001, "away")
assert wsh.ConnectionClosed.__mro__.count(WebSocketClosedError) == 1
try:
    raise WebSocketClosedError("of somebody else's socket")
except wsh.ConnectionClosed:
    raise SystemExit("not ours")
except WebSocketClosedError:
    print("fine")
"""


def test_tornados_exception_catches_ours_and_nobody_loads_tornado_for_it() -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM], capture_output=True, text=True, timeout=60
    )
    assert (ran.stdout, ran.stderr) == ("fine\n", "")
