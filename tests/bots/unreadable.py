"""Bots that raise and store what nobody can look at."""


class Named(type):
    @property
    def __name__(cls):
        raise RuntimeError("no name")


class Nameless(Exception, metaclass=Named):
    pass


class Closed(Exception):
    def __getattribute__(self, name):
        raise SystemExit(7)


def odd():
    error = SyntaxError("x")
    error.text, error.lineno, error.filename = 5, "n", object()
    return error


def long():
    return ValueError("M" * 10**6)


RAISED = {"nameless": Nameless, "closed": Closed, "odd": odd, "long": long}


def plain(handler, message):
    raise RAISED[message]()


async def loop(handler, message):
    raise RAISED[message]()


async def generator(handler, message):
    yield "begun"
    raise RAISED[message]()


def condition(handler):
    raise RAISED[handler.args["raise"][0]]()


async def condition_on_loop(handler):
    raise RAISED[handler.args["raise"][0]]()


def select(handler, offered):
    raise RAISED[handler.args["raise"][0]]()


class Stored(dict):
    def items(self):
        raise {"exit": SystemExit(3), "interrupt": KeyboardInterrupt(), "value": ValueError("x")}[
            self["how"]
        ]

    keys = values = __iter__ = items


def store(handler, message):
    handler.session["fine"] = message
    handler.session["value"] = Stored(how=message)
    return "stored"


async def echo(handler, message):
    return message
