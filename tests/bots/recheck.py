"""A chat whose permission is withdrawn while it is open, and its Authorizer."""

import asyncio

from jupyter_server.auth import AllowAllAuthorizer
from jupyter_server.serverapp import ServerApp

questions = []


class Authorizer(AllowAllAuthorizer):
    denied = set()

    def is_authorized(self, handler, user, action, resource):
        questions.append(resource)
        return resource not in self.denied


async def on_message(handler, message):
    return "echo " + message


decision = asyncio.Event()


async def decide(handler):
    print("deciding")
    await decision.wait()
    return True


async def on_close(handler):
    print("closed", handler.id, handler.close_code)


async def admin(handler, message):
    word, _, rest = message.partition(" ")
    if word == "rotate":
        ServerApp.instance().identity_provider.token = rest
    elif word == "deny":
        Authorizer.denied.add(rest)
    elif word == "allow":
        Authorizer.denied.discard(rest)
    elif word == "decide":
        decision.set()
    elif word == "forget":
        questions.clear()
    return {"questions": [q for q in questions if q == "wshandler:chat"]}
