"""Every kind of function that a configuration may name."""

import functools

from tornado import gen


def plain(handler, message):
    pass


async def coroutine(handler, message):
    pass


def generator(handler, message):
    yield 1


async def async_generator(handler, message):
    yield 1


async def extra(n, handler, message):
    pass


partial = functools.partial(functools.partial(extra), 5)
partial_generator = functools.partial(generator)


class Bot:
    @staticmethod
    async def static(handler, message):
        pass

    @classmethod
    def of_class(cls, handler, message):
        pass

    async def method(self, handler, message):
        pass

    async def stream(self, handler, message):
        yield 1

    async def __call__(self, handler, message):
        yield 1


bot = Bot()


@functools.wraps(coroutine)
def blocking(*args):
    return coroutine(*args)


@functools.wraps(plain)
async def wrapped_async(*args):
    pass


@gen.coroutine
def tornado(handler, message):
    yield


@functools.wraps(tornado)
def wrapped_tornado(handler, message):
    return tornado(handler, message)
