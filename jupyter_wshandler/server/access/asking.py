"""One question to the identity provider or the Authorizer, and what its answer means.

They are somebody else's code, and may ask somebody else in turn. Who says no, by answering or by
raising, has answered; who cannot be reached, and who fails, has not. Nothing of ours is called
where their exceptions are caught, so that a fault of ours never reads as an answer of theirs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from inspect import isawaitable
from typing import Any, TypeVar

from jupyter_server.base.call_context import CallContext
from jupyter_server.base.handlers import JupyterHandler
from tornado.httpclient import HTTPClientError
from tornado.httputil import HTTPHeaders
from tornado.web import Application, Finish, HTTPError

from ...connection.request import Request
from ...guard import is_interrupt
from ..requests import without_client
from .waiting import GivenUp, Waiting

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds that an answer about an open connection may take."""

IDENTITY, AUTHORIZER = "the identity provider", "the Authorizer"
"""Who is asked."""

_NETWORK = {
    ("aiohttp", "ClientConnectionError"),
    ("httpx", "TransportError"),
    ("urllib3", "HTTPError"),
}
"""Exceptions of other HTTP clients that say that somebody cannot be reached, by package."""


class Denied(Exception):
    """A no: who was asked has raised it, or has answered the request itself.

    Args:
        error: What was raised: an HTTPError, or Finish.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


class ClientGone(Exception):
    """The end of a question whose answer nobody waits for any more."""


class Unanswered(Exception):
    """A question to which nobody has said yes or no.

    Args:
        asked: Who was asked.
        error: What came instead of an answer.
        late: Whether it is only that nothing came in time.
    """

    def __init__(self, asked: str, error: BaseException, *, late: bool = False) -> None:
        super().__init__(f"{asked} has not answered")
        self.asked = asked
        self.error = error
        self.late = late

    @property
    def result(self) -> str:
        """Whether somebody cannot be reached, or code has failed."""
        return "unreachable" if is_unreachable(self.error) else "failed"


def is_unreachable(error: BaseException) -> bool:
    """Return whether an exception says that somebody who has to be asked cannot be.

    Args:
        error: What an identity provider or an Authorizer has raised.
    """
    if isinstance(error, HTTPError):
        return error.status_code >= 500
    if isinstance(error, HTTPClientError):
        return error.code >= 500
    if isinstance(error, OSError):
        return True
    names = {(cls.__module__.partition(".")[0], cls.__name__) for cls in type(error).__mro__}
    return bool(names & _NETWORK)


class AskedAgain(JupyterHandler):
    """The handler of a request of before: what is answered to it goes nowhere.

    A provider may send a browser to its login, and nobody is there.
    """

    answered = False
    """Whether there was an answer."""

    def is_from(self, user: Any) -> None:
        """Let the handler know who the request is from.

        Whatever else is asked of it goes by that; without it Jupyter raises. Only its own `prepare`
        sets the second attribute, which checks more than is asked here.

        Args:
            user: Jupyter's user, or None.
        """
        self.current_user = self._jupyter_current_user = user

    def flush(self, include_footers: bool = False) -> asyncio.Future[None]:
        """Drop what has been written."""
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    def finish(self, chunk: Any = None) -> asyncio.Future[None]:
        """Take note that there was an answer, and drop it."""
        self.answered = self._finished = True
        return self.flush()


def handler_of(application: Application, request: Request) -> AskedAgain:
    """Return a handler for an opening request of before, to ask about it again.

    Its `current_user` has to be set before anything else is asked of it.

    Args:
        application: Jupyter's web application.
        request: The opening request.
    """
    headers = HTTPHeaders()
    for name, value in request.headers.items():
        headers.add(name, value)
    # With what proves the identity: it has no public name, as callbacks are not to see it.
    again = without_client(request._whole_uri, headers)
    again.remote_ip = request.remote_ip
    again.protocol = request.protocol
    handler = AskedAgain(application, again)
    # Tornado sets these when it runs a handler, and what is asked may look at them.
    handler.path_args, handler.path_kwargs = [], {}
    return handler


class Asker:
    """The questions that are not answered yet, and the one way to ask more."""

    def __init__(self) -> None:
        self._open: set[Waiting[Any]] = set()
        self._left: set[asyncio.Task[None]] = set()
        self._stopped = False

    async def who(self, handler: AskedAgain, patience: float = PATIENCE) -> Any:
        """Ask the identity provider who a request is from, and let the handler know.

        Args:
            handler: From `handler_of`.
            patience: Seconds that the answer may take.

        Returns:
            The user, or None for nobody.

        Raises:
            Unanswered: Nobody can say.
        """
        provider = handler.identity_provider
        try:
            user = await self.ask(IDENTITY, lambda: provider.get_user(handler), handler, patience)
        except Denied:
            user = None
        if handler.answered:
            # It has sent the browser elsewhere: to its login.
            user = None
        handler.is_from(user)
        return user

    async def ask(
        self,
        asked: str,
        question: Callable[[], Any],
        handler: JupyterHandler,
        patience: float = PATIENCE,
        gone: asyncio.Future[None] | None = None,
    ) -> Any:
        """Ask a question, and return its answer.

        Args:
            asked: Who is asked.
            question: Asks; may return an awaitable.
            handler: The request that it is about.
            patience: Seconds that the answer may take.
            gone: Done when nobody waits for the answer any more.

        Raises:
            Denied: It has said no by raising.
            Unanswered: It has failed, or has said nothing in time.
            ClientGone: `gone` is done.
        """
        if self._stopped and gone is None:
            raise asyncio.CancelledError  # nothing is asked about open connections any more
        task = asyncio.current_task()
        cancelled = 0 if task is None else task.cancelling()
        CallContext.set(CallContext.JUPYTER_HANDLER, handler)
        raised: BaseException | None = None
        try:
            answer = question()
            waits = isawaitable(answer)  # which looks at what it is given
        except BaseException as error:  # one that ends a loop, too
            answer, waits, raised = None, False, error
        if waits:
            answer, raised = await self._wait(asked, answer, patience, gone)
        if task is not None and task.cancelling() > cancelled and not self._stopped:
            # Nobody else cancels the task of a request, or that of the recheck before it stops.
            raised = raised or asyncio.CancelledError()
            await _uncancel(task, cancelled)
        if raised is None:
            return answer
        if isinstance(raised, Unanswered):
            raise raised
        if isinstance(raised, Finish):
            raise Denied(raised)
        if isinstance(raised, HTTPError) and raised.status_code < 500:
            raise Denied(raised)
        raise Unanswered(asked, raised)

    async def _wait(
        self,
        asked: str,
        answer: Awaitable[Any],
        patience: float,
        gone: asyncio.Future[None] | None,
    ) -> tuple[Any, BaseException | None]:
        """Return an answer that may take a while, or what was raised instead."""
        waiting = Waiting(_outcome(answer), patience, gone)
        self._open.add(waiting)
        try:
            return await waiting
        except GivenUp:
            self._leave(waiting)
            if gone is not None and (gone.done() or self._stopped):
                raise ClientGone from None
            if self._stopped:
                raise asyncio.CancelledError from None
            error = TimeoutError(f"no answer within {patience:g} s")
            raise Unanswered(asked, error, late=True) from None
        finally:
            self._open.discard(waiting)

    async def stop(self) -> None:
        """Give up on all questions."""
        self._stopped = True
        given_up = set(self._open)
        for waiting in given_up:
            waiting.give_up()
        while given_up & self._open:  # noqa: ASYNC110 # who asked leaves them in the next turn
            await asyncio.sleep(0)
        for left in self._left:
            left.cancel()
        if self._left:
            # What does not let itself be cancelled must not keep the server from stopping.
            await asyncio.wait(set(self._left), timeout=1.0)

    def _leave(self, waiting: Waiting[Any]) -> None:
        """Let a question that was given up come to its end, with nobody waiting for it."""
        task = asyncio.get_running_loop().create_task(
            waiting.leave(), name="wshandler leaves a question"
        )
        self._left.add(task)
        task.add_done_callback(self._left.discard)


def at_once(asked: str, question: Callable[..., T], *args: Any) -> T:
    """Ask a question that is answered without waiting, and return its answer.

    Args:
        asked: Who is asked.
        question: Asks.
        args: What it gets.

    Raises:
        HTTPError: It has said no by raising.
        Finish: It has answered the request itself.
        Unanswered: It has failed.
    """
    try:
        return question(*args)
    except (Unanswered, Finish):
        raise
    except BaseException as error:
        if is_interrupt(error):
            raise
        if isinstance(error, HTTPError) and error.status_code < 500:
            raise
        raise Unanswered(asked, error) from error


async def _outcome(answer: Awaitable[Any]) -> tuple[Any, BaseException | None]:
    try:
        return await answer, None
    except BaseException as error:
        return None, error


async def _uncancel(task: asyncio.Task[Any], cancelled: int) -> None:
    """Take back that code that was asked has cancelled the task that it was asked in.

    Args:
        task: This task.
        cancelled: How often it had been cancelled before.
    """
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(0)
    while task.cancelling() > cancelled:
        task.uncancel()
