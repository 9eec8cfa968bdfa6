"""A cell that can send its server batches byte for byte."""

import select
import sys
import time

import jupyter_wshandler as wsh

bot = wsh.serve("/raw", lambda handler, message: message)
link = sys.modules["jupyter_wshandler.notebook.serve"]._link


def say(batch):
    link.call(lambda: link._transmit(link._comm_id, link._pipe, batch, []))


def publish(batch):
    link._comms.publish(link._comm_id, batch, [])


def flood(seconds):
    """Write messages that say nothing into the pipe, as fast as it takes them."""
    descriptor, data, end = link._pipe._sock, b"\0\0\0\2\0\0\0\0{}" * 10_000, time.time() + seconds
    while time.time() < end:
        select.select([], [descriptor], [], 0.1)
        try:
            data = data[descriptor.send(data) :] or b"\0\0\0\2\0\0\0\0{}" * 10_000
        except BlockingIOError:
            continue
