"""A raw Tornado WebSocketHandler: the reference that every ratio stands on."""

import asyncio
import sys
from typing import ClassVar

from tornado.web import Application
from tornado.websocket import WebSocketHandler


class Echo(WebSocketHandler):
    def on_message(self, message):
        self.write_message(message)


class Deflate(Echo):
    def get_compression_options(self):
        return {}


class Push(WebSocketHandler):
    async def on_message(self, message):
        self.write_message(message)
        for _ in range(2):
            await asyncio.sleep(0.002)
            self.write_message(message)


class Subscribe(WebSocketHandler):
    everyone: ClassVar[set["Subscribe"]] = set()

    def open(self):
        self.everyone.add(self)

    def on_message(self, message):
        pass

    def on_close(self):
        self.everyone.discard(self)


class Publish(WebSocketHandler):
    def on_message(self, message):
        for subscriber in Subscribe.everyone:
            subscriber.write_message(message)


class Packed:
    def get_compression_options(self):
        return {}


class PackedEcho(Packed, Echo):
    pass


class PackedSubscribe(Packed, Subscribe):
    pass


class PackedPublish(Packed, Publish):
    pass


async def main(port, certificate=None, key=None):
    ssl_options = {"certfile": certificate, "keyfile": key} if certificate else None
    routes = [("/echo", Echo), ("/push", Push), ("/sub", Subscribe), ("/pub", Publish)]
    routes += [("/echo_deflate", Deflate), ("/packed", PackedEcho)]
    routes += [("/packed_sub", PackedSubscribe), ("/packed_pub", PackedPublish)]
    Application(routes).listen(port, "127.0.0.1", ssl_options=ssl_options)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), *sys.argv[2:]))
