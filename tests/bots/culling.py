"""A bot that helps to look at what counts as activity."""

from jupyter_server.serverapp import ServerApp
from tornado.ioloop import PeriodicCallback


async def answer(handler, message):
    if message == "session":
        return handler.session["id"]
    if message == "idle timeouts":
        manager = ServerApp.instance().web_app.settings["wshandler_manager"]
        return {route.name: route.config.idle_timeout for route in manager.table}
    if message == "look often":
        # Jupyter looks once a minute; the same look, but sooner.
        PeriodicCallback(ServerApp.instance().shutdown_no_activity, 250).start()
    return message


async def closed(handler):
    print(f"on_close {handler.route} {handler.close_code}", flush=True)
