"""Functions that tell what they were called with."""

import helper


def greet(handler, message):
    return "hello " + message


def told(*args, **kwargs):
    """Answer with what it was given, a handler by its route."""

    def shown(value):
        return "handler of " + value.route if hasattr(value, "route") else value

    handler = next(a for a in [*args, *kwargs.values()] if hasattr(a, "route"))
    handler.write_message(
        {"args": [shown(a) for a in args], "kwargs": {k: shown(v) for k, v in kwargs.items()}}
    )


def told_without_a_handler(*args):
    helper.told.append(args)


def what_was_told(handler, message):
    return {"told": helper.told}


def where(handler, message):
    return {
        "route": handler.name,
        "args": handler.args,
        "path_args": list(handler.path_args),
        "path_kwargs": dict(handler.path_kwargs),
    }


def members(handler, message):
    request = handler.request
    try:
        handler.write("x")
    except TypeError as error:
        refusal = str(error)
    handler.ping()
    handler.write_message(
        {
            "name": handler.name,
            "kwargs": dict(handler.kwargs),
            "conf": dict(handler.conf),
            "args": handler.args,
            "path_args": list(handler.path_args),
            "path_kwargs": dict(handler.path_kwargs),
            "session": sorted(handler.session),
            "user": handler.current_user.username,
            "write": refusal,
            "request": [
                request.path,
                request.query,
                request.uri,
                request.host,
                request.protocol,
                request.remote_ip,
                request.headers["upgrade"],
                request.arguments,
            ],
        }
    )
    handler.close(4000, "enough")


def opened(handler):
    handler.state.opened = True


def opened_where(handler, message):
    return {"opened": handler.state.opened} | where(handler, message)
