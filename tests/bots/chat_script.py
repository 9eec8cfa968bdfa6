"""A script that talks to a bot and closes nothing."""

from jupyter_wshandler.testing import Chat


def on_message(handler, message):
    print("bot:", message)


chat = Chat(on_message, on_close=lambda handler: print("closed", handler.close_code))
chat.send("hi")
print(chat.handler.closed)
