"""A cell after which the server's answer comes when everybody has looked for it."""

import importlib
import threading

serving = importlib.import_module("jupyter_wshandler.notebook.serve")
looked = threading.Event()


def late(link, answer, wait, look=serving.await_answer):
    try:
        return look(link, answer, wait)
    finally:
        looked.set()


serving.await_answer = late


def answered(self, what, details, answer=serving.ServerAnswer.__call__):
    # The answer comes after everybody has looked.
    threading.Thread(
        target=lambda: (looked.wait(20), serving._link.call(lambda: answer(self, what, details)))
    ).start()


serving.ServerAnswer.__call__ = answered
