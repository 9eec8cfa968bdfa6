#!/usr/bin/env bash
# websocket-client 1.9.2: with `run_forever(reconnect=...)` no callback is told why it was closed.
#
# Guess:  when the server closes, `on_close` is called with its code, and then the client connects
#         again; or, as the README has it, it does not connect again after a standard close code.
# Seen:   it connects again after each code, 1000 as well as 4401, and calls nothing in between:
#         neither `on_close` nor `on_error`. `on_close` comes once, at the program's own `close()`,
#         with that connection's 1000. Without `reconnect` both are called, with the code.
# Why:    a bot that has `on_close` stop it after 4401 (login) works until `reconnect` is added to
#         have it survive restarts: then a refused login is asked for again for ever, at the same
#         interval, and no log of the bot says so.
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

CODES = (1000, 1001, 1012, 4401)
EXPECTED = {
    "without": {code: ["open", f"error {code}", f"close {code}"] for code in CODES},
    "reconnect": {code: ["open", "again", "again", "close 1000"] for code in CODES},
}


def run(code, **options):
    """Have the server close the first two connections, and close the third one here."""
    told = []
    count = 0

    def bot(ws):
        nonlocal count
        count += 1
        if count <= 2:
            ws.close(code, "why")
        else:
            list(ws)  # until the client closes

    def on_reconnect(app):
        told.append("again")
        if told.count("again") == 2:
            app.close()

    with serve(bot, "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        app = websocket.WebSocketApp(
            f"ws://127.0.0.1:{server.socket.getsockname()[1]}/",
            on_open=lambda app: told.append("open"),
            on_reconnect=on_reconnect,
            on_error=lambda app, exc: told.append(f"error {getattr(exc, 'status_code', exc)}"),
            on_close=lambda app, code, reason: told.append(f"close {code}"),
        )
        app.run_forever(**options)
        server.shutdown()
    return told


seen = {
    "without": {code: run(code) for code in CODES},
    "reconnect": {code: run(code, reconnect=0.2) for code in CODES},
}
print("without:  ", seen["without"])
print("reconnect:", seen["reconnect"])
if seen != EXPECTED:
    sys.exit(f"websocket-client behaves differently now; this finding said {EXPECTED}")
PY
