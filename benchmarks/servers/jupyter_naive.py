"""A bridge to a kernel as one writes it without ours: one comm message for each event, unbatched.

Each WebSocket is a comm to the main shell of the kernel. The sockets to the kernel are shared by
all WebSockets, as a careful author would have it, and there is no flow control.
"""

import contextlib
import uuid

from jupyter_plain import Plain
from tornado.websocket import WebSocketClosedError

TARGET = "naive"


class Bridge:
    """Own the sockets to one kernel, and give each comm message to its WebSocket."""

    def __init__(self, kernel):
        self.session = kernel.session.clone()
        self.shell, self.iopub = kernel.connect_shell(), kernel.connect_iopub()
        self.iopub.on_recv(self.published)
        self.comms = {}

    def send(self, kind, comm_id, buffers=None, **content):
        self.session.send(self.shell, kind, {"comm_id": comm_id, **content}, buffers=buffers)

    def published(self, frames):
        _, frames = self.session.feed_identities(frames)
        message = self.session.deserialize(frames)
        if message["msg_type"] == "comm_msg":
            comm = self.comms.get(message["content"]["comm_id"])
            if comm is not None:
                buffers = message["buffers"]
                text = message["content"]["data"].get("text")
                # what a callback of the stream raises would leave the stream without its events
                with contextlib.suppress(WebSocketClosedError):
                    comm.write_message(bytes(buffers[0]) if buffers else text, binary=bool(buffers))


class Naive(Plain):
    def open(self, kernel_id):
        super().open()
        bridges = self.settings.setdefault("naive_bridges", {})
        if kernel_id not in bridges:
            bridges[kernel_id] = Bridge(self.settings["kernel_manager"].get_kernel(kernel_id))
        self.bridge, self.comm_id = bridges[kernel_id], uuid.uuid4().hex
        self.bridge.comms[self.comm_id] = self
        self.bridge.send("comm_open", self.comm_id, target_name=TARGET, data={})

    def on_message(self, message):
        if isinstance(message, bytes):
            self.bridge.send("comm_msg", self.comm_id, [message], data={})
        else:
            self.bridge.send("comm_msg", self.comm_id, data={"text": message})

    def on_close(self):
        if self.bridge.comms.pop(self.comm_id, None):
            self.bridge.send("comm_close", self.comm_id, data={})


def _jupyter_server_extension_points():
    return [{"module": "jupyter_naive"}]


def _load_jupyter_server_extension(serverapp):
    base = serverapp.web_app.settings["base_url"]
    serverapp.web_app.add_handlers(".*$", [(f"{base}naive/([0-9a-f-]+)", Naive)])
