"""A bot that says who talks to it, for pages that connect by a link."""


def on_message(handler, message):
    user = handler.current_user
    return f"{getattr(user, 'kind', 'user')} {user.name}: {message}"
