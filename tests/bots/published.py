"""A bot whose clients are sent to from outside, the people who do it, and what each may do."""

from jupyter_server.auth.authorizer import Authorizer
from jupyter_server.auth.identity import PasswordIdentityProvider, User

MAY_NOT = {
    ("reader", "write", "wshandler"),
    ("outsider", "write", "wshandler:push"),
    ("stranger", "execute", "wshandler:push"),
    ("blind", "read", "wshandler"),
    ("viewer", "execute", "wshandler"),
}


class People(PasswordIdentityProvider):
    """Everybody who brings "person-NAME" as a token is NAME."""

    async def get_user_token(self, handler):
        token = self.get_token(handler) or ""
        if not token.startswith("person-"):
            return await super().get_user_token(handler)
        name = token.removeprefix("person-")
        return User(username=name, name=name)


class Keeper(Authorizer):
    """Let everybody do everything but what is listed."""

    def is_authorized(self, handler, user, action, resource):
        return (user.username, action, resource) not in MAY_NOT


def echo(handler, message):
    return message


def never(handler):
    return False


def lets_in(handler, room):
    return True


def lets_all_in(handler):
    return True
