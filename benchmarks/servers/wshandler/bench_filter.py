"""A filter that looks at each message and changes none."""


def nothing(handler, message, way):
    return message
