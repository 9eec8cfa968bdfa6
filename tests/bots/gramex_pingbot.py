"""Gramex's sample bot, as its documentation describes it."""


def open(handler):
    print("Chatbot opened for", handler.session["id"])


def on_message(handler, message):
    handler.write_message("Got message: " + message)


def on_close(handler):
    print("Chatbot closed for", handler.session["id"])
