"""Everybody who brings "person-NAME" as a token is NAME."""

from pathlib import Path

from jupyter_server.auth.identity import PasswordIdentityProvider, User


class People(PasswordIdentityProvider):
    async def get_user_token(self, handler):
        token = self.get_token(handler) or ""
        if not token.startswith("person-"):
            return await super().get_user_token(handler)
        name = token.removeprefix("person-")
        if Path(__file__).with_name(f"{name}.unknown").exists():
            raise RuntimeError("the people's registry does not answer")
        return User(username=name, name=name)
