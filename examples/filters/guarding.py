"""Filters: an audit log, card numbers that are hidden, and a count of one's own."""

import logging
import re
from collections import Counter

from jupyter_wshandler import RefuseMessage

audit = logging.getLogger("audit")

CARD = re.compile(r"\b(?:\d[ -]?){12,18}\d\b")


class Audit:
    """Write down who comes and goes, what they say, and what they are told."""

    def on_open(self, handler):
        self.write(handler, "open")

    def incoming(self, handler, message):
        self.write(handler, f"in {message!r}")
        return message

    def outgoing(self, handler, message):
        self.write(handler, f"out {message!r}")
        return message

    def on_error(self, handler, exc):
        self.write(handler, f"failed {exc!r}")

    def on_close(self, handler):
        self.write(handler, f"close {handler.close_code}")

    def write(self, handler, what):
        user = getattr(handler.current_user, "username", None)
        audit.info("%s %s %s %s", handler.route, handler.id, user, what)


class Cards:
    """Let no number of a card pass, in neither direction."""

    hidden = Counter()

    def incoming(self, handler, message):
        if isinstance(message, str) and CARD.search(message):
            raise RefuseMessage("never tell a bot the number of a card")
        return message

    def outgoing(self, handler, message):
        if not isinstance(message, str):
            return message
        message, count = CARD.subn("(card)", message)
        self.hidden[handler.route] += count
        return message
