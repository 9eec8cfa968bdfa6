"""A notebook's cell whose bots fork."""

import os
import time

import jupyter_wshandler as wsh


def wait(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def on_thread(handler, message):
    pid = os.fork()
    if pid:
        if message == "sleep":
            handler.close(4001, "the parent closes")
            return None
        return {"code": wait(pid)}
    if message == "sleep":
        time.sleep(5)
        os._exit(0)
    if message == "write":
        try:
            handler.write_message("from the child")
        except wsh.ConnectionClosed as error:
            os._exit(33 if "fork" in str(error) else 34)
    return "the child's answer"


async def on_loop(handler, message):
    return on_thread(handler, message)


one = wsh.serve("/one", on_message=on_thread)
two = wsh.serve("/two", on_message=on_loop)
