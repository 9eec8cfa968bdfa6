"""Bots of which one asks another with the client, as a notebook of the server does."""

from jupyter_wshandler.client import connect


def echo(handler, message):
    return f"{handler.current_user.username}: {message}"


def relay(handler, message):
    # What a notebook of this server does: no address, no token.
    with connect("/echo") as bot:
        bot.send(message)
        return bot.recv()
