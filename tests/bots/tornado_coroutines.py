"""Coroutines of Tornado with the parameters of a callback, and with others."""

import functools

from tornado.gen import coroutine


@coroutine
def one(handler):
    yield


@coroutine
def both(handler, message):
    return message


class Bot:
    @staticmethod
    @coroutine
    def one(handler):
        yield

    @coroutine
    def both(self, handler, message):
        return message

    @coroutine
    def __call__(self, handler):
        yield


class Instance:
    @coroutine
    def one(self, handler):
        yield


@coroutine
def extra(n, handler):
    yield


bot = Bot()
instance = Instance()
partial = functools.partial(extra, 1)
