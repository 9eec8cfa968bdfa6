"""A conversation with a bot: what is typed goes to it, what it answers is printed as it comes.

One thread asks, as `input` and signals need the main one; another one prints what comes.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Iterator
from queue import Empty, SimpleQueue
from types import FrameType

from ..client.answers import Answer
from ..client.client import Client
from ..client.connector import Connector
from ..engine.asking import UNKNOWN
from ..errors import ConnectError, ConnectionClosed, HandshakeRefused, QueueFull, ServerNotFound
from .breaks import BACK, Breaks
from .terminal import BOT, Terminal
from .transcript import Ended, Transcript, harmless
from .words import of_the_command_line

LOOK = 0.25
"""Seconds between two looks whether a key was pressed, where the system does not say so itself."""

QUIET = 1.0
"""Seconds of silence after which a server that does not say where answers end has answered."""

PATIENCE = 30.0
"""Seconds that such a server has for its first word."""

LATE = 5.0
"""Seconds that a message has for its answer after its callback has ended: a task may send it."""

AGAIN = (1001, 1006, 1011, 1012, 1013)
"""Close codes after which a terminal connects again, as a page does."""

TRIES = 9
"""Attempts in a row to connect again; the pauses between them add up to some 60 s."""

LONGEST = 15.0
"""Seconds between two attempts, at most."""

INTERRUPTED = 130
"""Exit code after Ctrl-C, as a shell's own."""

ENDS_WELL = (1000, 1001, 1005)


class _Closed:
    """The end of the connection, as it is told.

    Args:
        error: What says so.
        speaks: Whether it was one of `wsh.v1`, which comes back by itself where that can be.
    """

    def __init__(self, error: ConnectionClosed, *, speaks: bool = False) -> None:
        self.code = error.code or 1006
        self.reason = error.reason
        self.again = self.code in AGAIN and (not speaks or self.code == 1011)

    def __str__(self) -> str:
        said = f"{self.code} {self.reason}".rstrip()
        return f"the bot has closed the connection: {harmless(said)}"


class Conversation:
    """One conversation with a bot, from the first prompt to the end.

    Args:
        client: The open connection.
        connector: What opens another one, where it is lost.
        breaks: Says what becomes of it.
    """

    def __init__(self, client: Client, connector: Connector, breaks: Breaks) -> None:
        self._client = client
        self._connector = connector
        self._chats = False  # whether the server says where answers end
        self._terminal = Terminal()
        self._typing = self._terminal.typing
        self._shown = self._terminal.shown
        # What the main thread waits for; a signal handler may put, too (it is reentrant).
        self._events: SimpleQueue[Ended | _Closed | str] = SimpleQueue()
        self._closed: _Closed | None = None
        self._waiting = False  # for a line to say
        self._interrupts = 0  # Ctrl-C that nobody has taken yet
        self._lock = threading.RLock()  # who writes, and whether a line is waited for
        self._answer: Answer | None = None
        self._failures = 0
        self._said = 0  # what the bot had said before this message
        self._silent = False  # a message has got no answer: the next is not waited for as long
        self._tries = 0  # to connect again, since something was said
        prefix = BOT if self._shown else ""
        self._transcript = Transcript(self._terminal.write, prefix, chats=self._chats)
        breaks.say = self._say_between

    def hold(self) -> int:
        """Talk until somebody ends it; return the exit code."""
        before = signal.signal(signal.SIGINT, self._interrupted)
        try:
            if self._shown:
                self._terminal.edit_lines()
                path = self._client.url.partition("?")[0]
                self._say(f"{path}: Ctrl-C stops an answer, Ctrl-D ends.")
            self._listen()
            code = self._talk()
            while self._typing and self._closed and self._connect_again():
                code = self._talk()
            return code
        except KeyboardInterrupt:
            return INTERRUPTED
        finally:
            self._closed = self._closed or _Closed(ConnectionClosed("", 1000))
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # who cannot wait for a goodbye
            with contextlib.suppress(Exception):
                self._client.close()
            signal.signal(signal.SIGINT, before)

    def _listen(self) -> None:
        self._chats = self._transcript.chats = self._client.speaks
        self._reader = threading.Thread(target=self._read, name="wshandler chat", daemon=True)
        self._reader.start()

    def _connect_again(self) -> bool:
        """Connect again after an end that need not be one; return whether it has worked."""
        if self._closed is None or not self._closed.again:
            return False
        self._reader.join(1)
        while self._tries < TRIES:
            self._tries += 1
            try:
                self._waiting = True  # Ctrl-C ends it
                time.sleep(min(0.25 * 2**self._tries, LONGEST) if self._tries > 1 else 0)
                client = self._connector.open()
            except KeyboardInterrupt:
                return False
            except HandshakeRefused as error:
                if error.status in (401, 403):
                    self._say(harmless(of_the_command_line(str(error))))
                    return False
                continue  # it may be on its way, as a bot whose kernel is restarted is
            except (ConnectError, ServerNotFound, TimeoutError):
                continue
            finally:
                self._waiting = False
            with contextlib.suppress(Exception):
                self._client.close()
            self._client, self._closed, self._events = client, None, SimpleQueue()
            self._answer = None
            self._say(BACK)
            self._listen()
            return True
        self._say("[cannot connect again]")
        return False

    # ---- the main thread -----------------------------------------------------------------------

    def _talk(self) -> int:
        for line in self._lines():
            self._interrupts = self._tries = 0
            self._said = self._transcript.shown
            try:
                if self._chats:
                    self._answer = self._client.stream(line)
                else:
                    self._client.send(line)
            except ConnectionClosed as error:
                self._closed = self._closed or _Closed(error, speaks=self._chats)
                return self._ended_early()
            except QueueFull as error:
                self._failures += not self._typing
                self._say(f"[not sent: {error}]")
                continue
            code = self._hear_out()
            if code is not None:
                return code
        if self._closed and (self._typing or self._unwell() or not self._terminal.at_end()):
            return self._ended_early()
        return 1 if self._failures else 0

    def _lines(self) -> Iterator[str]:
        """Yield what is to be said."""
        number = 0
        while not self._closed:
            number += 1
            try:
                with self._lock:
                    self._transcript.end_line()
                    self._waiting = True
                line = self._line(number)
                self._waiting = False
            except EOFError:
                break
            except KeyboardInterrupt:
                if not self._typing and not self._closed:
                    raise
                break
            if line or (line is not None and not self._typing):
                yield line
        self._waiting = False
        if self._shown and not self._closed:
            self._terminal.write("\n")

    def _line(self, number: int) -> str | None:
        """Return the next line; None for one that cannot be sent. Raise as `read_line` does."""
        try:
            return self._terminal.read_line()
        except UnicodeError:
            self._failures += not self._typing
            self._say(f"line {number} is no UTF-8 and was not sent")
            return None

    def _hear_out(self) -> int | None:
        """Wait for the end of an answer; return an exit code where it is the end of all."""
        stopped = False
        patience = None if self._chats else (LOOK if self._shown else PATIENCE)
        while True:
            event = self._next(patience)
            if event is None:  # a server that does not say where an answer ends
                self._check_answered(PATIENCE)
                return None
            if isinstance(event, Ended):
                if self._answer is not None and event.number == self._answer.number:
                    code = self._hear_late() if self._is_unanswered(event) else self._judge(event)
                    return INTERRUPTED if stopped and not self._typing else code
            elif isinstance(event, _Closed):
                # All that has come is printed; whether there was more to say, the lines know.
                return self._ended_early() if self._typing or self._unwell() else None
            elif event == "heard":
                patience = None if self._chats else (LOOK if self._shown else QUIET)
            elif event == "gone":
                return self._terminal.let_go()
            elif stopped or not self._chats:
                return INTERRUPTED if not self._typing else 0
            else:
                stopped, self._interrupts = True, 0
                if self._answer is not None:
                    self._answer.stop()

    def _is_unanswered(self, event: Ended) -> bool:
        return not self._typing and event.how == "done" and self._transcript.shown == self._said

    def _hear_late(self) -> int | None:
        """Wait for an answer that a task sends; return as `_hear_out` does."""
        while True:
            if self._transcript.shown == self._said:
                patience = 0.0 if self._silent else LATE
            else:
                patience = PATIENCE if self._transcript.in_line else QUIET
            event = self._next(patience)
            if event is None:
                self._check_answered(LATE)
                return None
            if isinstance(event, _Closed):
                return self._ended_early() if self._unwell() else None
            if event == "gone":
                return self._terminal.let_go()
            if event == "interrupt":
                return INTERRUPTED

    def _check_answered(self, patience: float) -> None:
        """Say that a line from a pipe has got no answer, and count it."""
        if self._typing or self._transcript.shown > self._said:
            return
        self._failures += 1
        if not self._silent:
            self._silent = True
            self._say(f"[no answer within {patience:g} s; the next ones are waited for less long]")

    def _judge(self, event: Ended) -> int | None:
        if event.how == "stopped":
            self._say("[stopped]")
            return None if self._typing else INTERRUPTED
        if event.how == "refused" and event.error == "message":
            self._say("[refused: the bot does not take this message]")
        elif event.how == "refused":
            self._say("[refused: too many messages for this route's ratelimit]")
        elif event.how == UNKNOWN:
            self._say("[the answer is lost; the bot may have handled the message, or not]")
        elif event.how == "failed":
            self._say("[failed; the server's log or the bot's cell has the error]")
        self._failures += not self._typing and event.how != "done"
        return None

    def _next(self, patience: float | None) -> Ended | _Closed | str | None:
        """Return what has happened; None for nothing within some seconds."""
        if patience is not None:
            with contextlib.suppress(Empty):
                return self._events.get(timeout=patience)
            return None
        while True:
            # Where waiting cannot be interrupted, Ctrl-C is seen between two short ones.
            with contextlib.suppress(Empty):
                return self._events.get(timeout=LOOK)

    def _unwell(self) -> bool:
        return self._closed is not None and self._closed.code not in ENDS_WELL

    def _ended_early(self) -> int:
        again = self._typing and self._closed is not None and self._closed.again
        self._say(f"{self._closed}" + _after(self._closed, again))
        return 0 if self._typing and not self._unwell() else 1

    def _interrupted(self, signum: int, frame: FrameType | None) -> None:
        if self._waiting:
            self._waiting = False
            raise KeyboardInterrupt
        if self._closed:
            return
        self._interrupts += 1
        if self._interrupts > 1:  # a bot that does not read holds up what is sent
            raise KeyboardInterrupt
        self._events.put("interrupt")

    # ---- the thread that prints ------------------------------------------------------------------

    def _read(self) -> None:
        try:
            while True:
                frame = self._client.recv(None)
                with self._lock:
                    if self._closed:
                        continue  # nobody wants to know any more
                    prompting = self._waiting and self._shown
                    if prompting and not self._transcript.in_line:
                        self._terminal.leave_prompt()
                    ended = self._transcript.receive(frame)
                    if prompting and not self._transcript.in_line:
                        self._terminal.prompt_again()
                if not self._chats or ended is None:
                    self._events.put("heard")
                if ended is not None:
                    self._events.put(ended)
        except ConnectionClosed as error:
            closed = _Closed(error, speaks=self._chats)
        except OSError:
            self._events.put("gone")
            self._wake()
            return
        except (ValueError, KeyError, TypeError):
            closed = _Closed(ConnectionClosed("", 1002, "it does not speak wsh.v1"))
        with self._lock:
            self._transcript.end_line()
            if self._closed is None:
                self._closed = closed
                self._events.put(closed)
                self._wake()

    def _wake(self) -> None:
        """Bring the main thread back from a line that nobody needs any more."""
        if not self._waiting:
            return
        if self._shown:
            self._terminal.write("\n")
        main = threading.main_thread().ident
        if hasattr(signal, "pthread_kill") and main is not None:
            signal.pthread_kill(main, signal.SIGINT)

    def _say_between(self, sentence: str) -> None:
        """Write a sentence from another thread, also while somebody types."""
        with self._lock:
            if not self._shown:  # an answer that goes on stays one line
                print(sentence, file=sys.stderr, flush=True)
                return
            prompting = self._waiting
            if prompting and not self._transcript.in_line:
                self._terminal.leave_prompt()
            self._say(sentence)
            if prompting:
                self._terminal.prompt_again()

    def _say(self, sentence: str) -> None:
        """Write a sentence of our own, on a line of its own."""
        with self._lock:
            self._transcript.end_line()
            print(sentence, file=sys.stderr, flush=True)


def _after(closed: _Closed | None, again: bool) -> str:
    """Return what to do after a close code, as the end of a sentence."""
    if again and closed is not None and closed.code != 1011:
        return "; connecting again, Ctrl-C ends"
    advice = {
        1011: "; the server's log has the error",
        1012: "; start the command again",
        1013: "; try again later",
        4401: "; log in again",
    }
    return advice.get(closed.code, "") if closed else ""
