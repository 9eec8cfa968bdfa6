"""The kernel's side of jupyter_naive.py: a cell runs this text."""

from comm import get_comm_manager

naive = set()


def _opened(comm, message):
    naive.add(comm)
    comm.on_close(lambda message: naive.discard(comm))

    @comm.on_msg
    def received(message):
        text = message["content"]["data"].get("text", "")
        if text.startswith("stream "):
            for number in range(int(text.split()[1])):
                comm.send({"text": f"item {number:6}"})
        else:
            comm.send(message["content"]["data"], buffers=message["buffers"])


get_comm_manager().register_target("naive", _opened)
