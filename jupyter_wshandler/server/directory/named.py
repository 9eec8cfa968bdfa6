"""Named guests: whom the directory has vouched for, asked again for as long as they are in.

This is the end of a user's server. Three answers are told apart, as `access.recheck` does: a no
puts the guest out, a yes is good for the route's `recheck`, and where nobody answers a guest may
stay for its `grace`, counted from the last yes, and nobody comes in anew.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import msgspec

from ...routes import Route
from ...shares.book import ShareBook
from ...shares.share import UNSHARED, GuestCard, Share, ShareError
from ...shares.stores import StoreFailed
from .. import pages
from .client import DirectoryClient, DirectoryError
from .messages import HOME, MOST_CHECKS, Person, Question, Redemption, Registration, Verdict

if TYPE_CHECKING:
    from ...connection.connection import Connection
    from ..access.guests import Claim, Guests

PERIOD = 60.0
"""Seconds for which a yes is good where a route's `recheck` is off."""

AGAIN = 15.0
"""Seconds after which the directory is told again what it could not be told."""

LONGEST_WAIT = 10.0
"""Seconds after which it is looked whose period is over: a reload may have made one shorter."""

REMEMBER = 10_000
"""Answers that are kept; the oldest are forgotten first."""

SILENT = "nobody can be asked now whether this is shared with you; try again"
NO_DIRECTORY = "this server lets nobody in by name any more"

_SAFE = "/%!$&'()*+,;=:@~"
"""What stands for itself in the path of a URL (RFC 3986 section 3.3)."""


class _Yes(NamedTuple):
    at: float
    groups: tuple[str, ...]


class NamedGuests:
    """Who may come and stay by name.

    Args:
        client: Asks the directory.
        guests: Knows who is in, and puts them out.
        book: Has the shares.
        log: Takes warnings.
    """

    def __init__(self, client: DirectoryClient, guests: Guests, book: ShareBook, log: Any) -> None:
        self.client = client
        self._guests = guests
        self._book = book
        self._log = log
        self._yes: OrderedDict[tuple[str, str], _Yes] = OrderedDict()
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._withdrawn: set[str] = set()
        self._registering: set[str] = set()
        self._agreed = False
        self._tell_at = 0.0
        self._warned = ""
        book.watch(self._ended)

    # ---- life ------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to ask again."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(
                self._run(), name="wshandler asks the directory"
            )

    async def stop(self) -> None:
        """Ask nothing any more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        self.client.close()

    # ---- shares ----------------------------------------------------------------------------

    async def register(self, share: Share, route: Route) -> str:
        """Tell the directory of a new share; return where the people whom it is for open it.

        Args:
            share: The share, which is for people.
            route: Its route.

        Raises:
            ShareError: The directory does not take it, or cannot be asked.
        """
        assert share.people is not None
        self._registering.add(share.id)
        try:
            home = await self.client.home()
            await self.client.register(
                Registration(
                    id=share.id,
                    route=share.route,
                    path=_escaped(share.path),
                    label=share.label,
                    users=tuple(share.people.users),
                    groups=tuple(share.people.groups),
                    expires=share.expires,
                    page=share.page and pages.exists(route),
                )
            )
        except DirectoryError as error:
            self._withdrawn.add(share.id)
            raise ShareError(f"the directory has not taken it: {error.sentence}") from None
        finally:
            self._registering.discard(share.id)
        return f"{home}{HOME}/open/{share.id}"

    def _ended(self, share: Share, words: str) -> None:
        """Tell the directory that a share has ended, as soon as it can be told."""
        if share.people is not None:
            self.forget(share.id)

    def forget(self, share_id: str) -> None:
        """Tell the directory that there is no such share here, as soon as it can be told.

        Args:
            share_id: The id of the share.
        """
        self._withdrawn.add(share_id)
        self._tell_at = 0.0
        self._wake.set()

    # ---- who comes ---------------------------------------------------------------------------

    async def redeem(self, share: Share, code: str, state: str) -> dict[str, Any]:
        """Return who has come with a code, as a guest's card has it.

        Args:
            share: What they come for.
            code: The code.
            state: The digest of what the browser was given.

        Raises:
            DirectoryError: The code is not good, or the directory cannot be asked.
        """
        path = _escaped(share.path)
        asked = Redemption(code=code, share=share.id, path=path, state=state)
        person = await self.client.redeem(asked)
        self._keep(share.id, person.name, _Yes(time.monotonic(), person.groups))
        return card_of(person)

    async def admit(self, share: Share, card: GuestCard, route: Route) -> tuple[GuestCard, str]:
        """Return the card of a guest who comes again, with the groups of now, and why not.

        Args:
            share: The card's share.
            card: What the guest's cookie says.
            route: The route.

        Returns:
            The card, and why the guest may not come in, in words: "" for those who may, `SILENT`
            where nobody could say.
        """
        name = _name_in(card)
        if share.people is None or not name:
            return card, ""
        auth = route.config.auth
        known = self._yes.get((share.id, name))
        period = auth.recheck or PERIOD
        if known is None or time.monotonic() - known.at >= period:
            asked_at = time.monotonic()
            why = await self._ask([Question(share.id, name)])
            if why.get((share.id, name)):
                return card, why[share.id, name]
            known = self._yes.get((share.id, name)) or known
            if known is None or asked_at - known.at >= max(auth.grace, period):
                return card, SILENT
        self._wake.set()
        assert card.person is not None
        person = card.person | {"groups": list(known.groups)}
        return msgspec.structs.replace(card, person=person), ""

    # ---- asking again ------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            due = LONGEST_WAIT
            try:
                await self._tell()
                due = await self._look()
            except Exception:
                # What watches over all must outlive what goes wrong with one.
                self._log.exception("Named guests could not be looked at")
            try:
                async with asyncio.timeout(max(0.05, min(due, LONGEST_WAIT))):
                    await self._wake.wait()
            except TimeoutError:
                pass
            # One turn for many who come at once.
            await asyncio.sleep(0.02)

    async def _tell(self) -> None:
        """Tell the directory what has ended here, and end what has ended there."""
        if time.monotonic() < self._tell_at or (self._agreed and not self._withdrawn):
            return
        self._tell_at = time.monotonic() + AGAIN
        try:
            if not self._agreed:
                await self._agree()
            for share_id in list(self._withdrawn):
                await self.client.withdraw(share_id)
                self._withdrawn.discard(share_id)
        except DirectoryError as error:
            self._warn(error)

    async def _agree(self) -> None:
        """Compare what is shared here with what the directory knows, once after the start."""
        await self._book.start()
        own = {share.id: share for share in self._book.shares() if share.people is not None}
        there = set(await self.client.shares())
        for share_id in own.keys() - there - self._registering:
            # Stopped at the directory's page, while this server did not run.
            await self._stop_sharing(share_id)
        self._withdrawn |= there - own.keys() - self._registering
        self._agreed = True

    async def _look(self) -> float:
        """Ask about everybody whose period is over; return the seconds until the next one's is."""
        now, due = time.monotonic(), LONGEST_WAIT
        ask: dict[tuple[str, str], list[Connection]] = {}
        for (share_id, name), connections in self._inside().items():
            periods = [c.entry.config.auth.recheck for c in connections]
            period = min(filter(None, periods), default=0.0)
            if not period:
                continue
            known = self._yes.get((share_id, name))
            left = period - (now - known.at) if known is not None else 0.0
            if left <= 0:
                ask[share_id, name] = connections
            else:
                due = min(due, left)
        if ask:
            whys = await self._ask([Question(*key) for key in ask])
            for key, connections in ask.items():
                self._act(key, connections, whys.get(key, ""))
            due = min(due, 1.0)
        return due

    def _act(self, key: tuple[str, str], connections: Iterable[Connection], why: str) -> None:
        known = self._yes.get(key)
        waited = time.monotonic() - known.at if known is not None else float("inf")
        for connection in connections:
            auth, words = connection.entry.config.auth, why
            if not words and auth.grace and waited >= max(auth.grace, auth.recheck):
                words = f"nobody could be asked whether this is shared with you for {waited:.0f} s"
            if words and not connection.closed:
                self._guests.put_out(connection, words)

    def _inside(self) -> dict[tuple[str, str], list[Connection]]:
        """Return the open connections of named guests, by share and name."""
        found: dict[tuple[str, str], list[Connection]] = {}
        for share in self._book.shares():
            if share.people is None:
                continue
            for connection, guest in self._guests.inside(share.id):
                name = guest.username.removeprefix("guest/")
                found.setdefault((share.id, name), []).append(connection)
        return found

    async def _ask(self, questions: list[Question]) -> dict[tuple[str, str], str]:
        """Ask the directory; return why each of those who may not stay may not."""
        whys: dict[tuple[str, str], str] = {}
        gone = set()
        for first in range(0, len(questions), MOST_CHECKS):
            some = questions[first : first + MOST_CHECKS]
            at = time.monotonic()
            try:
                verdicts = await self.client.check(some)
            except DirectoryError as error:
                self._warn(error)
                continue
            self._warned = ""
            for question, verdict in zip(some, verdicts, strict=True):
                key = (question.share, question.user)
                if verdict.allowed:
                    self._keep(*key, _Yes(at, verdict.groups))
                elif verdict.allowed is not None:
                    self._yes.pop(key, None)
                    whys[key] = _words(verdict)
                    if not verdict.shared:
                        gone.add(question.share)
        for share_id in gone:
            await self._stop_sharing(share_id)
        return whys

    async def _stop_sharing(self, share_id: str) -> None:
        """End a share here that the directory does not know any more."""
        for connection in self._guests.connections(share_id):
            if not connection.closed:
                self._guests.put_out(connection, UNSHARED)
        try:
            await self._book.revoke(share_id)
        except StoreFailed as error:
            self._log.warning("The share %s is not shared any more: %s", share_id, error)

    def _keep(self, share_id: str, name: str, yes: _Yes) -> None:
        self._yes.pop((share_id, name), None)
        self._yes[share_id, name] = yes
        while len(self._yes) > REMEMBER:
            self._yes.popitem(last=False)

    def _warn(self, error: DirectoryError) -> None:
        """Write that the directory cannot be asked, once for each reason until it can."""
        if error.sentence != self._warned:
            self._warned = error.sentence
            self._log.warning("The directory at %s: %s", self.client.url, error.sentence)


def card_of(person: Person) -> dict[str, Any]:
    """Return what a guest's card says of a person.

    Args:
        person: Who it is, by the directory's word.
    """
    name = person.name
    return {"username": name, "name": name, "display_name": name, "groups": list(person.groups)}


def _name_in(card: GuestCard) -> str:
    return str((card.person or {}).get("username") or "")


def _words(verdict: Verdict) -> str:
    """Return why not, at most as long as a close frame holds (RFC 6455 section 5.5)."""
    words = verdict.why or "this is not shared with you any more"
    return words.encode("utf-8", "replace")[:120].decode("utf-8", "ignore")


def _escaped(path: str) -> str:
    """Return a path in its normal spelling as it stands in a URL."""
    return quote(path, safe=_SAFE)


def claim_of(claim: Claim, card: GuestCard, why: str) -> Claim:
    """Return what a request shows, after the directory was asked.

    Args:
        claim: What it shows by itself.
        card: The card with the groups of now.
        why: Why the guest may not come in; "" where they may.
    """
    return claim._replace(card=card, why=claim.why or why)
