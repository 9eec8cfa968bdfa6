"""A program that prints the rules by which a Jupyter server finds handlers."""

import asyncio
import json
import logging

from jupyter_server.serverapp import ServerApp


async def main():
    app = ServerApp(log_level=logging.CRITICAL, port=0, open_browser=False)
    app.initialize(argv=[], find_extensions=False, new_httpserver=False)
    rules = [rule.matcher.regex.pattern for rule in app.web_app.wildcard_router.rules]
    print("RULES" + json.dumps(rules))


asyncio.run(main())
