"""A help desk that repeats what it is told, and has never heard of filters."""


def on_message(handler, message):
    """Answer in two pieces."""
    yield f"You say: {message}"
    yield "Somebody will look after it."
