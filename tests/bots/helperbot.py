"""A bot that gives back what it gets, and closes as it is told."""


def on_message(handler, message):
    if isinstance(message, bytes):
        return message[::-1]
    word, _, rest = message.partition(" ")
    if word == "close":
        code, _, reason = rest.partition(" ")
        return handler.close(int(code), reason)
    if word == "protocol":
        return str(handler.subprotocol)
    return "Got message: " + message
