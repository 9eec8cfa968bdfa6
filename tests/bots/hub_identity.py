"""A bot that tells who the Hub says its visitor is."""


def who(handler, message):
    user = handler.current_user
    return {
        "username": user.username,
        "name": user.name,
        "kind": user.kind,
        "groups": user.groups,
        "scopes": user.scopes,
    }


def may(handler):
    return handler.current_user.username in ("bob", "root")
