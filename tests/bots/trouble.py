"""A bot that fails, closes, and sends what a page must not take for markup."""


def on_message(handler, message):
    if message == "fail":
        raise RuntimeError("a secret of the server")
    if message == "whoami":
        return handler.session["id"]
    if message == "markup":
        return "<b>bold</b><img src=x onerror=\"document.title='pwned'\">"
    if message == "bytes":
        return bytes([0, 1, 255])
    code, _, reason = message.partition(" ")
    handler.close(int(code), reason)
    return None
