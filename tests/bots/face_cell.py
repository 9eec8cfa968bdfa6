"""A cell that serves a bot that says how its client came."""

import jupyter_wshandler as wsh


def on_message(handler, message):
    handler.state.count = handler.state.get("count", 0) + 1
    return {
        "route": handler.route,
        "name": handler.name,
        "args": handler.args,
        "kwargs": dict(handler.path_kwargs),
        "count": handler.state.count,
        "path": handler.request.path,
        "agent": handler.request.headers["DNT"],
        "ip": handler.request.remote_ip,
        "user": handler.current_user.username,
        "protocol": handler.subprotocol,
        "options": dict(handler.kwargs),
    }


bot = wsh.serve(
    "/face/{room}", on_message=on_message, name="face", subprotocols=["chat"], max_message="64KiB"
)
