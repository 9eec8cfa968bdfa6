"""A bot that all users of a Hub talk to on one server, each under their own name."""

from jupyter_wshandler import connections


def on_open(handler):
    """Greet whoever comes in."""
    user = handler.current_user
    groups = ", ".join(sorted(user.groups)) or "none"
    handler.write_message(f"Hello {user.name}, your groups: {groups}")


def on_message(handler, message):
    """Answer, and say how many people are here."""
    people = {one.current_user.username for one in connections("helpdesk")}
    return f"{handler.current_user.name} asks: {message} (people here: {len(people)})"
