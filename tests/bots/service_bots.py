"""Bots of a service under a Hub, and an Authorizer that keeps one of them from everybody."""

from jupyter_server.auth import AllowAllAuthorizer


def on_message(handler, message):
    return f"{handler.current_user.name}: {message}"


class Authorizer(AllowAllAuthorizer):
    def is_authorized(self, handler, user, action, resource):
        return resource != "wshandler:refused"
