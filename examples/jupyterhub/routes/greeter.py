"""A bot that knows its user from the Hub."""


def on_open(handler):
    """Greet whoever comes in; on a shared server that need not be its owner."""
    user = handler.current_user
    groups = ", ".join(user.groups) or "none"
    handler.write_message(f"Hello {user.name}, your groups: {groups}")


def on_message(handler, message):
    """Answer with the message and its sender's name."""
    return f"{handler.current_user.name} said: {message}"
