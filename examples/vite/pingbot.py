"""The bot behind the page: it says what it was told."""


def on_message(handler, message):
    return f"Got message: {message}"
