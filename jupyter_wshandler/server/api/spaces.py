"""Rooms from outside, at ``<base_url>/wshandler/api/spaces/SPACE/rooms/ROOM``."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any, NamedTuple

from jupyter_server.auth.decorator import ws_authenticated
from tornado.web import HTTPError

from ...backplane.base import Position
from ...config.nodes import shorten
from ...errors import BackplaneDown, BackplaneError, RoomRefused
from ...kernels.batches import one_line
from ...rooms.face import MEMBERS, History
from ...rooms.names import check_room
from ...rooms.people import Members
from ..access.authorize import READ
from .looking import check_query, number
from .publish import Publication, PublishingHandler
from .rooms import find_space, spaces_of

MOST_SAID = 8 * 1024 * 1024
"""Bytes of a room's history that one answer has, the newest messages."""

OTHERS_ROOM = "this room is that of another user"

QUESTION = ("only", "limit", "start", "epoch", "offset")
"""What a question may have."""

PARTS = ("members", "history")
"""What a question may ask for `only`."""


class Question(NamedTuple):
    """What somebody wants to know of a room."""

    only: str
    """One of `PARTS`; empty for both."""
    limit: int | None
    """Members, and messages, at most."""
    start: int
    """How many members come before them."""
    since: Position | None
    """The last message that is known."""


class RoomHandler(PublishingHandler):
    """The address of one room: for messages to all who are in it, and for a look into it."""

    async def prepare(self) -> None:  # type: ignore[override]
        """Decide who may, before a byte of a message is read."""
        if self.request.method == "GET":
            self.action = READ
            self._track_activity = False  # a program that looks keeps no idle server alive
        await super().prepare()
        if not self._finished:
            self.check_publisher()
            self.space = await self._space(self.path_args[0])
            self.room = self._room(self.path_args[1])

    @ws_authenticated
    async def post(self, space: str, room: str) -> None:
        """Send a message to a room, and answer with how many have got it.

        The body is a `Publication`. 403 where the user may not, 404 where there is no such space.
        A room without members is one, too: what is said there is kept where the space has a
        history.
        """
        await self.publish_once(self._publish)

    async def _publish(self) -> dict[str, Any]:
        space, rooms = self.path_args[0], self.services.manager.rooms
        _, message = await self.publication(Publication)
        try:
            sent = await rooms.publish(self.space, self.room, message)
        except BackplaneError as error:
            status = 503 if isinstance(error, BackplaneDown) else 400
            raise HTTPError(status, str(error)) from None
        self.log.info(
            "Space %s: %s has sent to %d connections in a room from outside",
            one_line(space, 60),
            one_line(str(self.current_user.username), 60),
            sent.delivered,
        )
        answer = {"space": space, "room": self.room}
        return {**answer, "delivered": sent.delivered, "offset": sent.offset}

    @ws_authenticated
    async def get(self, space: str, room: str) -> None:
        """Answer with who is in a room, and with what was said last.

        `members` and `history` are null where the routes of the space keep none.
        """
        question = self._question()
        answer: dict[str, Any] = {"space": space, "room": self.room}
        if question.only != "history":
            answer["members"] = await self._members(question)
        if question.only != "members":
            answer["history"] = await self._history(question)
        self.answer(answer)

    @ws_authenticated
    async def delete(self, space: str, room: str) -> None:
        """Forget what was said in a room."""
        self._check_look()
        await self.services.manager.rooms.clear(self.space, self.room)
        self.log.info(
            "Space %s: %s has cleared a room from outside",
            one_line(space, 60),
            one_line(str(self.current_user.username), 60),
        )
        self.set_status(204)
        self.finish()

    # ---- who may, and where --------------------------------------------------------------------

    async def _space(self, name: str) -> str:
        """Return the space of a name, if the user may use the rooms of all its routes.

        Args:
            name: The name of a space, or of a route: then that one's space.

        Raises:
            HTTPError: 403, they may not; 404, there is none.
        """
        table = self.services.manager.table
        space = find_space(table, name)
        if space is None:
            words = f"there is no space {shorten(name)}, and no route of that name"
            raise HTTPError(404, words)
        for route in spaces_of(table)[space]:
            await self.check_route(route)
            why = self.services.publishers.why_not_in_rooms(self.current_user, route)
            if why:
                raise HTTPError(403, why)
        return space

    def _room(self, name: str) -> str:
        try:
            return check_room(name)
        except ValueError as error:
            raise HTTPError(400, str(error)) from None

    def _check_look(self) -> None:
        if not self.services.publishers.may_look_into(self.current_user, self.room):
            raise HTTPError(403, OTHERS_ROOM)

    # ---- a look into it ------------------------------------------------------------------------

    def _question(self) -> Question:
        """Return what is asked.

        Raises:
            HTTPError: 400, it cannot be meant; 403, the room is another user's.
        """
        self._check_look()
        check_query(self, QUESTION)
        only = self.get_query_argument("only", "")
        if only and only not in PARTS:
            words = f"only: expected {' or '.join(PARTS)}, found {shorten(only)}"
            raise HTTPError(400, words)
        epoch, offset = self.get_query_argument("epoch", None), number(self, "offset", 2**53)
        if (epoch is None) is not (offset is None):
            raise HTTPError(400, "expected both epoch and offset, or neither")
        since = None if epoch is None or offset is None else Position(epoch, offset)
        start = number(self, "start", 2**53)
        return Question(only, number(self, "limit", 2**53), start or 0, since)

    async def _members(self, question: Question) -> dict[str, Any] | None:
        rooms, limit = self.services.manager.rooms, question.limit
        most = MEMBERS if limit is None else min(limit, MEMBERS)
        try:
            found: Members = await rooms.members(self.space, self.room, most, question.start)
        except RoomRefused as refusal:
            if question.only:
                raise HTTPError(400, str(refusal)) from None
            return None
        return {
            "members": [member._asdict() for member in found],
            "total": found.total,
            "epoch": found.epoch,
            "offset": found.offset,
        }

    async def _history(self, question: Question) -> dict[str, Any] | None:
        rooms, limit = self.services.manager.rooms, question.limit or 0
        try:
            found: History = await rooms.said(self.space, self.room, limit, question.since)
        except RoomRefused as refusal:
            if question.only:
                raise HTTPError(400, str(refusal)) from None
            return None
        # Of a large one the base64 takes longer than others should wait.
        return await asyncio.to_thread(history_answer, found)


def history_answer(found: History, most: int = MOST_SAID) -> dict[str, Any]:
    """Return a history as an answer has it, of its newest messages as many as it may hold.

    Args:
        found: The history.
        most: Bytes that its messages may have as JSON.
    """
    messages: list[dict[str, Any]] = []
    size = 0
    for said in reversed(found):
        one: dict[str, Any] = {"offset": said.offset, "at": said.at}
        if isinstance(said.message, bytes):
            one["binary"] = base64.b64encode(said.message).decode()
        else:
            one["message"] = said.message
        size += len(json.dumps(one))
        if size > most and messages:
            break
        messages.append(one)
    messages.reverse()
    return {
        "messages": messages,
        "epoch": found.epoch,
        "offset": found.offset,
        "complete": found.complete and len(messages) == len(found),
    }
