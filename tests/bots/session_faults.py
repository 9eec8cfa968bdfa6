"""A bot that counts, keeps and forgets."""


def on_message(handler, message):
    handler.session["n"] = handler.session.get("n", 0) + 1
    if message == "forget":
        handler.session.pop("kept", None)
    elif message == "keep":
        handler.session["kept"] = "yes"
    return {"n": handler.session["n"], "kept": handler.session.get("kept")}
