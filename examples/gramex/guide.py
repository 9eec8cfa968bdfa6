"""A guide that speaks first when its visitor is silent: functions, a dict, and a Tornado timer.

Nothing here knows where it runs. The dict of conversations is the module's, its keys are sessions,
and the timer is set in a plain function, as one does in Gramex. All tabs of a browser have one
session, so they share its conversation; what is one tab's own is an attribute of its handler.
"""

import random
import threading

from tornado.ioloop import PeriodicCallback

SILENCE = 4000  # milliseconds
GREETINGS = ("Welcome!", "Good to see you.", "Hello there.")
IDLE = ("Still there?", "Take your time.", "Ask me where things are.", "It is quiet here...")
PLACES = {
    "library": "Up the stairs, then left.",
    "coffee": "In the yard, until five.",
    "exit": "Follow the green signs.",
}

conversations = {}
lock = threading.Lock()  # two tabs may come and go at the same time


def open(handler):
    with lock:
        talk = conversations.setdefault(handler.session["id"], {"asked": 0, "tabs": 0})
        talk["tabs"] += 1
    handler.quiet = True

    def nudge():
        if handler.quiet:
            handler.write_message(random.choice(IDLE))
        handler.quiet = True

    handler.timer = PeriodicCallback(nudge, SILENCE)
    handler.timer.start()
    handler.write_message(random.choice(GREETINGS))


def on_message(handler, message):
    with lock:
        conversations[handler.session["id"]]["asked"] += 1
    handler.quiet = False
    for place, way in PLACES.items():
        if place in message.lower():
            handler.write_message(way)
            return
    handler.write_message(f"I know the way to: {', '.join(sorted(PLACES))}.")


def on_close(handler):
    handler.timer.stop()
    with lock:
        talk = conversations[handler.session["id"]]
        talk["tabs"] -= 1
        if not talk["tabs"]:  # the last tab of this browser
            del conversations[handler.session["id"]]
