"""A server extension as one writes it today: WebSocketMixin on Tornado's WebSocketHandler."""

import asyncio
from typing import ClassVar

from jupyter_server.auth.decorator import ws_authenticated
from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.base.websocket import WebSocketMixin
from jupyter_server.utils import ensure_async, url_path_join
from tornado.web import HTTPError
from tornado.websocket import WebSocketHandler


class Plain(WebSocketMixin, WebSocketHandler, JupyterHandler):
    auth_resource = "bench"

    @ws_authenticated
    async def get(self, *args, **kwargs):
        allowed = self.authorizer.is_authorized(self, self.current_user, "execute", "bench")
        if not await ensure_async(allowed):
            raise HTTPError(403)
        await super().get(*args, **kwargs)


class Echo(Plain):
    def on_message(self, message):
        self.write_message(message)


class Push(Plain):
    async def on_message(self, message):
        self.write_message(message)
        for _ in range(2):
            await asyncio.sleep(0.002)
            self.write_message(message)


class Subscribe(Plain):
    everyone: ClassVar[set["Subscribe"]] = set()

    def open(self, *args, **kwargs):
        super().open(*args, **kwargs)
        self.everyone.add(self)

    def on_message(self, message):
        pass

    def on_close(self):
        self.everyone.discard(self)


class Publish(Plain):
    def on_message(self, message):
        for subscriber in Subscribe.everyone:
            subscriber.write_message(message)


def _jupyter_server_extension_points():
    return [{"module": "jupyter_plain"}]


def _load_jupyter_server_extension(serverapp):
    base = serverapp.web_app.settings["base_url"]
    routes = {"echo": Echo, "push": Push, "sub": Subscribe, "pub": Publish}
    serverapp.web_app.add_handlers(
        ".*$", [(url_path_join(base, path), handler) for path, handler in routes.items()]
    )
