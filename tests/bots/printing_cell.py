"""A cell with bots that print and log."""


def on_message(handler, message):
    print("print", message)
    return "ok"


async def speak(handler, message):
    print("async", message)
    handler.log.warning("logged")
    return "ok"
