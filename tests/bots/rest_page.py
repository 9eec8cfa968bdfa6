"""The bots of the server that docs/rest.md asks."""


def chat(handler, message):
    handler.broadcast(message)


def divide(handler, message):
    top, bottom = message.split("/")
    return int(top) / int(bottom)
