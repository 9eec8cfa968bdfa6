"""An identity provider and an Authorizer whose answers turn to no."""

from jupyter_server.auth import AllowAllAuthorizer, User
from jupyter_server.auth.identity import PasswordIdentityProvider
from tornado.web import HTTPError

now = {"turn": ""}


class Provider(PasswordIdentityProvider):
    # A proxy's word first; else Jupyter's own logins.
    async def get_user(self, handler):
        chat = handler.request.path in ("/chat", "/beside")
        if chat and now["turn"] == "the provider says 401":
            raise HTTPError(401)
        if chat and now["turn"] == "the provider says nobody":
            return None
        name = handler.request.headers.get("X-Forwarded-User")
        user = User(name) if name else await super().get_user(handler)
        if user is not None:
            gone = now["turn"] == "the user has left the group"
            user.groups = [] if gone else ["staff"]
        return user


class Authorizer(AllowAllAuthorizer):
    def is_authorized(self, handler, user, action, resource):
        if resource == "wshandler:chat":
            if now["turn"] == "the authorizer raises 403":
                raise HTTPError(403)
            return now["turn"] != "the authorizer says no"
        return True


async def echo(handler, message):
    return message


async def turn(handler, message):
    now["turn"] = message
    return message
