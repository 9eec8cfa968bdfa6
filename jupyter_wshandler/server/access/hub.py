"""JupyterHub's part of identity: who a token belongs to, asked in time and once for all.

Under JupyterHub every login is a token of the Hub's: in the ``Authorization`` field, in the query,
or in the cookie that the login at the Hub has left. `HubAuth` asks the Hub whose it is and keeps
the answer for 300 s, so that for so long a revoked token would open sockets; and it asks once for
each request that comes before the first answer.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic
from typing import Any, NamedTuple

from jupyter_server.base.handlers import JupyterHandler
from tornado.web import HTTPError

_fresh_for: ContextVar[float] = ContextVar("_fresh_for", default=0.0)
"""Seconds that an answer of the Hub's is good for in this context; 0 leaves it to HubAuth."""

PATIENCE = 20.0
"""Seconds that the Hub has for an answer."""

RETRY = 1.0
"""Seconds after a question that was not answered, before the Hub is asked the same again."""

ANSWERS_AT_MOST = 10_000
"""Answers that are kept; the oldest are forgotten first."""


class HubAnswer(NamedTuple):
    """What the Hub said: when (monotonic), and of whom; None for nobody."""

    at: float
    user: dict[str, Any] | None


class HubLogins:
    """Whose the logins are that JupyterHub has given, as far as it has been asked.

    Args:
        hub_auth: What asks the Hub (``jupyterhub.services.auth.HubOAuth``). Its
            `user_for_token` and `clear_cookie` are replaced by ones that do more.
        logged_out: Called with the credential of a browser that logs out at this server.
    """

    def __init__(self, hub_auth: Any, logged_out: Callable[[str], None]) -> None:
        self._hub_auth = hub_auth
        self._ask_hub = hub_auth.user_for_token
        self._clear_cookie = hub_auth.clear_cookie
        self._logged_out = logged_out
        self._answers: dict[str, HubAnswer] = {}
        self._failures: dict[str, float] = {}
        self._questions: dict[str, asyncio.Task[dict[str, Any] | None]] = {}
        hub_auth.user_for_token = self._user_for_token
        hub_auth.clear_cookie = self._forget_browser

    @contextmanager
    def fresh(self, seconds: float) -> Iterator[None]:
        """Take no answer of the Hub's that is older, in this context.

        Args:
            seconds: The oldest that an answer may be; 0 leaves it to HubAuth.
        """
        before = _fresh_for.set(seconds)
        try:
            yield
        finally:
            _fresh_for.reset(before)

    def credential(self, handler: JupyterHandler) -> str | None:
        """Return the digest of the token that a request has proved its identity with.

        Args:
            handler: A handler whose identity has been asked for.
        """
        if getattr(handler, "_token_authenticated", False):
            token = self._hub_auth.get_token(handler, in_cookie=False)
        else:
            token = self._cookie(handler)
        return _digest(token) if token else None

    def answered_at(self, credential: str) -> float | None:
        """Return when (monotonic) the Hub was asked about a credential last, if it was."""
        answer = self._answers.get(credential)
        return None if answer is None else answer.at

    def is_known(self, credential: str) -> bool:
        """Return whether the Hub, when asked last, knew whose a credential is."""
        answer = self._answers.get(credential)
        return answer is not None and answer.user is not None

    def is_nobody(self, credential: str) -> bool:
        """Return whether the Hub has said lately that a credential is nobody's."""
        answer = self._answers.get(credential)
        return (
            answer is not None
            and answer.user is None
            and monotonic() - answer.at < self._cache_seconds
        )

    @property
    def _cache_seconds(self) -> float:
        """How long HubAuth itself keeps an answer."""
        return float(self._hub_auth.cache_max_age) or float("inf")

    async def stop(self) -> None:
        """Let go of HubAuth, and of the questions that wait for an answer."""
        # Whoever has wrapped these since then is left alone.
        if self._hub_auth.user_for_token == self._user_for_token:
            self._hub_auth.user_for_token = self._ask_hub
        if self._hub_auth.clear_cookie == self._forget_browser:
            self._hub_auth.clear_cookie = self._clear_cookie
        questions = list(self._questions.values())
        for question in questions:
            question.cancel()
        if questions:
            await asyncio.wait(questions)

    # ---- in the place of HubAuth's own ---------------------------------------------------------

    def _user_for_token(
        self, token: str, use_cache: bool = True, session_id: str = "", *, sync: bool = True
    ) -> Any:
        seconds = _fresh_for.get()
        if sync or not use_cache or not seconds:
            return self._ask_hub(token, use_cache=use_cache, session_id=session_id, sync=sync)
        return self._answer(token, session_id, seconds)

    def _forget_browser(self, handler: JupyterHandler) -> None:
        token = self._cookie(handler)
        if token:
            self._logged_out(_digest(token))
        self._clear_cookie(handler)

    def _cookie(self, handler: JupyterHandler) -> str | None:
        raw = handler.get_signed_cookie(self._hub_auth.cookie_name)
        return None if raw is None else raw.decode("ascii", "replace")

    async def _answer(self, token: str, session_id: str, seconds: float) -> dict[str, Any] | None:
        credential, now = _digest(token), monotonic()
        answer = self._answers.get(credential)
        if answer is not None and now - answer.at < seconds:
            return answer.user
        if now - self._failures.get(credential, -RETRY) < RETRY:
            return self._last_answer(credential, HTTPError(503, "the Hub has not answered"))
        question = self._questions.get(credential)
        if question is None:
            question = asyncio.get_running_loop().create_task(
                self._question(credential, token, session_id), name="wshandler asks the Hub"
            )
            self._questions[credential] = question
            question.add_done_callback(lambda _: self._questions.pop(credential, None))
        try:
            # Others may wait for the same answer: who leaves must not take it from them.
            return await asyncio.shield(question)
        except HTTPError as error:
            return self._last_answer(credential, error)

    def _last_answer(self, credential: str, error: HTTPError) -> dict[str, Any] | None:
        """Return what the Hub said last: one that cannot be asked has not said anything new.

        HubAuth's own cache bridges a restart of the Hub for as long.

        Raises:
            HTTPError: There is no answer, or it is too old.
        """
        answer = self._answers.get(credential)
        if answer is None or monotonic() - answer.at >= self._cache_seconds:
            raise error
        return answer.user

    async def _question(
        self, credential: str, token: str, session_id: str
    ) -> dict[str, Any] | None:
        at = monotonic()
        try:
            async with asyncio.timeout(PATIENCE):
                user: dict[str, Any] | None = await self._ask_hub(
                    token, use_cache=False, session_id=session_id, sync=False
                )
        except (HTTPError, TimeoutError) as error:
            _keep(self._failures, credential, at)
            if isinstance(error, HTTPError):
                raise
            raise HTTPError(504, f"the Hub has not answered within {PATIENCE:g} s") from None
        self._failures.pop(credential, None)
        _keep(self._answers, credential, HubAnswer(at, user))
        # The rest of the server takes HubAuth's answers, and should not take an older one.
        digest = hashlib.sha256(token.encode("utf8", "replace")).hexdigest()
        self._hub_auth.cache[f"token:{session_id}:{digest}"] = user
        return user


def _keep(memory: dict[str, Any], credential: str, value: Any) -> None:
    """Remember a value as the newest one, and forget the oldest where there are too many."""
    memory.pop(credential, None)
    memory[credential] = value
    while len(memory) > ANSWERS_AT_MOST:
        del memory[next(iter(memory))]


def _digest(token: str) -> str:
    """Return what stands for a token; it is no secret itself."""
    return hashlib.sha256(f"hub:{token}".encode("utf-8", "replace")).hexdigest()
