"""Sends as many bytes as it is asked for, and closes or stays."""


def sends_and_closes(handler, message):
    handler.write_message(bytes(int(message)))
    handler.close(4000, "done")


def sends(handler, message):
    handler.write_message(bytes(int(message)))
