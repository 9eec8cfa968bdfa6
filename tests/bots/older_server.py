"""Makes the server that imports it speak the bridge's language of an earlier version."""

from __future__ import annotations

from jupyter_server.serverapp import ServerApp

from jupyter_wshandler.server.kernels import wire

wire.PROTOCOL -= 1


async def on_message(handler, message):
    """Have the server look for the kernels that run, as one does that has just started."""
    (app,) = ServerApp.instance().extension_manager.extension_apps["jupyter_wshandler"]
    await app.kernels.stop()
    app.kernels.start()
    return "again"
