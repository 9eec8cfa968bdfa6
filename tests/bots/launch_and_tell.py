"""A program that starts a Jupyter server and writes its rules to rules.json.

Its first argument is the folder of the tests; the rest is for the server.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, sys.argv.pop(1))

from jupyter_server.serverapp import main
from support.rules import described

from jupyter_wshandler.server.app import WSHandlerApp

start = WSHandlerApp._start_jupyter_server_extension


async def started(self, serverapp):
    await start(self, serverapp)
    written = Path("rules.json.new")
    written.write_text(json.dumps(described(serverapp.web_app)))
    written.rename("rules.json")


WSHandlerApp._start_jupyter_server_extension = started

main()
