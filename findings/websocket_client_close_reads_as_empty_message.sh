#!/usr/bin/env bash
# websocket-client 1.9.2: recv() returns a server's close as an empty text, and its code is gone.
#
# Guess:  after the server closes with 4401 "login", `recv()` raises
#         WebSocketConnectionClosedException with the code, as WebSocketApp's on_close has it.
# Seen:   `recv()` returns '' first, which an empty text message returns as well; only the call
#         after it raises, saying that the connection was lost, and neither carries 4401.
# Why:    a bot's loop `answer(ws.recv())` handles one message that nobody sent, and then takes a
#         refused login for a broken network: it tries again for ever.
#         (`recv_data()` tells the two apart by the opcode and has the code in its bytes.)
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq --disable-pip-version-check websocket-client==1.9.2 websockets==17.4
timeout 60 "$dir/venv/bin/python" - <<'PY'
import sys
import threading

import websocket
from websockets.sync.server import serve

EXPECTED = {
    "messages": ["", "hello", ""],  # the last one is the close
    "exception": "WebSocketConnectionClosedException",
    "code told": False,
    "recv_data": (8, b"\x11\x31login"),
}


def bot(ws):
    ws.send("")
    ws.send("hello")
    ws.close(4401, "login")


with serve(bot, "127.0.0.1", 0) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"ws://127.0.0.1:{server.socket.getsockname()[1]}/"
    seen = {"messages": []}
    ws = websocket.create_connection(url, timeout=5)
    try:
        for _ in range(4):
            seen["messages"].append(ws.recv())
    except Exception as exc:
        seen["exception"] = type(exc).__name__
        seen["code told"] = "4401" in f"{exc} {vars(exc)}"
    ws = websocket.create_connection(url, timeout=5)
    ws.recv(), ws.recv()
    seen["recv_data"] = ws.recv_data(control_frame=True)
    ws.close()
    server.shutdown()
print("seen:", seen)
if seen != EXPECTED:
    sys.exit(f"websocket-client behaves differently now; this finding said {EXPECTED}")
PY
