"""Bots that a link lets others in to: one says who is there, one is for none but logins."""

import json


def on_message(handler, message):
    user = handler.current_user
    return json.dumps(
        {
            "said": message,
            "kind": getattr(user, "kind", "user"),
            "name": user.name,
            "username": user.username,
            "args": sorted(handler.args),
            "room": handler.path_kwargs.get("room"),
        }
    )
