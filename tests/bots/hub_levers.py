"""A bot that reports which settings of the administrator's hold."""

from jupyter_server.serverapp import ServerApp


async def echo(handler, message):
    return message


async def admins(handler, message):
    return "the administrator's"


async def users(handler, message):
    return "the user's"


async def report(handler, message):
    server = ServerApp.instance()
    [app] = server.extension_manager.extension_apps["jupyter_wshandler"]
    config = app.manager.config
    return {
        "traits": {name: getattr(app, name) for name in ("kernel_routes", "allow_public_routes")},
        "broken": [route.name for route in config.broken],
        "most": {route.name: route.max_connections.user for route in config.routes},
        "largest": {route.name: route.max_message for route in config.routes},
    }
