"""Looks inside the server, by routes of a module that runs in it: at all, and at one kernel."""

import asyncio
import contextlib
import os
import socket

from jupyter_server.serverapp import ServerApp


def extension():
    (app,) = ServerApp.instance().extension_manager.extension_apps["jupyter_wshandler"]
    return app


def cut(port):
    """Lose the way to a kernel, as one may to another machine."""
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        with (
            contextlib.suppress(OSError, IndexError, TypeError),
            socket.socket(fileno=os.dup(descriptor)) as found,
        ):
            if found.getpeername()[1] == port:
                found.shutdown(socket.SHUT_RDWR)


async def server(handler, message):
    app = extension()
    if message.startswith("cut "):
        cut(app.kernels._wires[message[4:]]._kernel.shell_port)
    if message == "again":
        await app.kernels.stop()
        app.kernels.start()
    names = [task.get_name() for task in asyncio.all_tasks()]
    names = [name for name in names if name != "wshandler turn"]  # the one in stock, if there is
    return {
        "tasks": sorted(name for name in names if "wshandler" in name and handler.id not in name),
        "connections": len(app.manager.connections),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "wires": len(app.kernels._wires),
        "routes": sorted(app.manager.served.live),
    }


async def kernel(handler, message):
    what, kernel_id = message.split()
    wire = extension().kernels._wires[kernel_id]
    control = wire._control
    if what == "delete":
        await control.ask("delete_subshell_request", {"subshell_id": wire._subshell})
    if what == "deaf":  # an older ipykernel: nothing is said of a message for a deleted subshell
        wire._shell.stream.on_recv(control.received)
        await control.ask("delete_subshell_request", {"subshell_id": wire._subshell})
    if what == "unsure":
        for sent in wire._unsure:
            sent.at = wire._loop.time() + 3600
    if what == "refuse":
        refuse_once(control)
    subshells = await control.ask("list_subshell_request", {})
    return {"subshell": wire._subshell, "unsure": len(wire._unsure), **subshells}


def refuse_once(control):
    """Have the kernel refuse the next subshell that it is asked for."""
    asked = control.ask

    async def ask(kind, content):
        if kind == "create_subshell_request":
            control.ask = asked
            return {"status": "error", "evalue": "no more threads"}
        return await asked(kind, content)

    control.ask = ask
