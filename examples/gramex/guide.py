"""A guide that speaks first when its visitor is silent: functions, a dict, and a Tornado timer.

Nothing here knows where it runs. The dict of conversations is the module's, its keys are sessions,
and the timer is set in a plain function, as one does in Gramex.
"""

import random

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


def open(handler):
    talk = conversations[handler.session["id"]] = {"asked": 0, "quiet": True}

    def nudge():
        if talk["quiet"]:
            handler.write_message(random.choice(IDLE))
        talk["quiet"] = True

    talk["timer"] = PeriodicCallback(nudge, SILENCE)
    talk["timer"].start()
    handler.write_message(random.choice(GREETINGS))


def on_message(handler, message):
    talk = conversations[handler.session["id"]]
    talk["asked"] += 1
    talk["quiet"] = False
    for place, way in PLACES.items():
        if place in message.lower():
            handler.write_message(way)
            return
    handler.write_message(f"I know the way to: {', '.join(sorted(PLACES))}.")


def on_close(handler):
    conversations.pop(handler.session["id"])["timer"].stop()
