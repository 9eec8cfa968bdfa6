"""What a client does not want any more: the answer that is given, or one that would come."""

from __future__ import annotations

from sys import getsizeof

from ..types import Question
from .receiving import LIGHT, Incoming, ReceivingHalf, messages_in, weight


class StoppingHalf(ReceivingHalf):
    """The half of a connection that receives, and stops what its client wants no more of.

    A client that speaks `wsh.v1` says which answer that is. A plain one sends the route's
    `stop_message`, and means the answer that is given now.
    """

    __slots__ = ()

    @property
    def is_answering(self) -> bool:
        """Whether its client waits for the end of an answer that it has asked for."""
        answers = self._answers
        if answers is None or answers.current > 0:
            return answers is not None
        # A thread may take one from it meanwhile.
        return any(type(one) is Question and one.number for one in tuple(self._inbox))

    def _obey(self, events: list[Incoming], word: str) -> list[Incoming]:
        """Return the events without the text messages by which a plain client stops an answer."""
        kept: list[Incoming] = []
        for event in events:
            if event != word or type(event) is not str:
                kept.append(event)
                continue
            self._active = True
            self._tell_refused()  # it is no message that anybody handles
            if self.admits_control() and not self.stop_oldest():
                # What came in one piece with it has no answer yet.
                first = next((e for e in kept if type(e) is str or type(e) is bytes), None)
                if first is not None:
                    kept.remove(first)
                    self._tell_refused()
        return kept

    def stop_oldest(self) -> bool:
        """Stop the answer that is given now, or take back the message whose turn it is.

        Returns:
            Whether there was one.
        """
        work = self._work
        if work is not None and work.callback is not None and work.callback.event == "on_message":
            if work.answers is not None and work.answers.current > 0:
                work.answers.stop(work.answers.current)
            else:
                self.stop_callback()
            return True
        for message in self._inbox:
            if type(message) is Question and message.number and self._answers is not None:
                return self._answers.skip(message.number)
            if isinstance(message, (str, bytes)):
                self._inbox.remove(message)
                if len(message) > LIGHT:
                    self._waiting_size -= getsizeof(message)
                self._tell_refused(None)
                return True
        return False

    def stop_callback(self) -> bool:
        """Interrupt the callback that runs, as its client wants no more of the answer.

        Returns:
            Whether it is interrupted. What runs in a thread cannot be: a function ends by itself,
            and a generator that it returns is closed when it yields.
        """
        work = self._work
        if work is None or work.callback is None:
            return False
        if work.callback.inline or work.streaming:
            self.cancel("stopped")
            return True
        if work.why is None:
            work.why, work.cancelled_at = "stopping", self._io.loop.time()
        return False

    def take_back(self, number: int) -> bool:
        """Take a message from the inbox that nobody wants an answer to any more.

        Args:
            number: The client's id of it.

        Returns:
            Whether it was there.
        """
        inbox = self._inbox
        for place, message in enumerate(inbox):
            if type(message) is Question and message.number == number:
                later = messages_in(inbox[place + 1 :])
                inbox.remove(message)
                self._waiting_size -= weight(message)
                self._tell_refused(later)
                return True
        return False
