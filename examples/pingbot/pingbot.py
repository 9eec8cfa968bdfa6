"""A bot that answers every message with the message."""


def on_open(handler):
    """Be called when a connection opens, before its first message."""
    print("Chatbot opened for", handler.session["id"])


def on_message(handler, message):
    """Be called for each message: text arrives as str, a binary frame as bytes."""
    if isinstance(message, bytes):
        handler.write_message(b"Got message: " + message)
    else:
        handler.write_message("Got message: " + message)


def on_close(handler):
    """Be called once when the connection has ended, whoever ended it."""
    print("Chatbot closed for", handler.session["id"])
