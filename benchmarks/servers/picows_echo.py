"""The picows server, whose frames are read and written by compiled code, with its defaults."""

import asyncio
import sys

from picows import WSListener, WSMsgType, ws_create_server

subscribers = set()


class Listener(WSListener):
    def on_ws_frame(self, transport, frame):
        if frame.msg_type == WSMsgType.TEXT:
            self.on_text(transport, frame)
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()

    def on_text(self, transport, frame):
        pass


class Echo(Listener):
    def on_text(self, transport, frame):
        transport.send(WSMsgType.TEXT, frame.get_payload_as_memoryview())


class Push(Listener):
    def on_text(self, transport, frame):
        # the frame is gone when this function has returned
        self.pushing = asyncio.create_task(self.push(transport, frame.get_payload_as_bytes()))

    async def push(self, transport, message):
        transport.send(WSMsgType.TEXT, message)
        for _ in range(2):
            await asyncio.sleep(0.002)
            transport.send(WSMsgType.TEXT, message)


class Subscribe(Listener):
    def on_ws_connected(self, transport):
        subscribers.add(transport)

    def on_ws_disconnected(self, transport):
        subscribers.discard(transport)


class Publish(Listener):
    def on_text(self, transport, frame):
        message = frame.get_payload_as_bytes()
        for subscriber in subscribers:
            subscriber.send(WSMsgType.TEXT, message)


ROUTES = {"/echo": Echo, "/push": Push, "/sub": Subscribe, "/pub": Publish}


def listener(request):
    kind = ROUTES.get(request.path.decode())
    return kind and kind()


async def main(port):
    server = await ws_create_server(listener, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
