"""A bot for the chat under a cell: it answers in every shape that the chat shows."""

import time
from pathlib import Path


def on_message(handler, message):
    word, _, rest = message.partition(" ")
    if word == "id":
        return handler.id
    if word == "close":
        code, _, reason = rest.partition(" ")
        return handler.close(int(code), reason)
    if word == "markup":
        return "<b>bold</b><img src=x onerror=\"document.title='pwned'\">"
    if word == "bytes":
        return bytes(int(rest))
    if word == "json":
        return {"answer": 42, "words": ["a", "b"]}
    if word == "complain":
        return {"error": "no such table", "id": 7}
    if word == "error":
        return {"error": "internal error", "id": "ab12"}
    if word == "lines":
        for number in range(int(rest)):
            handler.write_message(f"line {number}")
        return None
    if word == "tokens":
        return ({"token": f"{number} "} for number in range(int(rest)))
    if word == "slow":
        while not Path("go").exists():
            time.sleep(0.02)
        return "slow done"
    if word == "three":
        for part in ("one", "two", "three"):
            handler.write_message(part)
        return None
    return "Got message: " + message
