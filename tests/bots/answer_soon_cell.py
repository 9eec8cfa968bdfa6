"""A cell after which the server's answer is there before anybody looks for it."""

import importlib

serving = importlib.import_module("jupyter_wshandler.notebook.serve")


def soon(link, answer, wait, look=serving.await_answer):
    assert answer.came.wait(20)
    return look(link, answer, wait)


serving.await_answer = soon
