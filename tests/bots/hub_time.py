"""A bot under a Hub whose Authorizer begins to say something else."""

import threading

decided = threading.Event()


async def echo(handler, message):
    return message


def wait(handler):
    print("deciding")
    return decided.wait(60)


async def decide(handler, message):
    decided.set()
    return message


async def turn(handler, message):
    # The Authorizer of this server, whatever it is, begins to say something else of one route.
    from jupyter_server.serverapp import ServerApp
    from tornado.web import HTTPError

    authorizer = ServerApp.instance().web_app.settings["authorizer"]

    def is_authorized(handler, user, action, resource):
        if resource != "wshandler:staff":
            return True
        if message == "raises":
            raise HTTPError(403)
        return message != "no"

    if message == "back":
        vars(authorizer).pop("is_authorized", None)
    else:
        authorizer.is_authorized = is_authorized
    return message
