"""What a kernel may share and end, and what it is told; the kernel and the book are the test's."""

from __future__ import annotations

import asyncio
import logging

import msgspec
import pytest
from support.memory import until

from jupyter_wshandler.errors import ShareRefused
from jupyter_wshandler.kernels import events
from jupyter_wshandler.kernels.batches import MAX_OPTIONS, NotABatch
from jupyter_wshandler.kernels.courier import Courier
from jupyter_wshandler.kernels.events import ShareState
from jupyter_wshandler.kernels.outgoing import MAX_WAITING
from jupyter_wshandler.kernels.shares import MAX_ASKED, MOST, KernelShares


class Book:
    """Stand for the server's book of shares."""

    def __init__(self) -> None:
        self.open: dict[str, list[ShareState]] = {}
        self.wishes: list[tuple] = []
        self.revoked: list[tuple[str, str, str]] = []
        self.listeners: list = []
        self.hold = asyncio.Event()
        self.hold.set()
        self.failure: Exception | None = None

    async def share(self, route, wish, by) -> ShareState:
        self.wishes.append((route, wish, by))
        await self.hold.wait()
        if self.failure is not None:
            raise self.failure
        state = ShareState(f"s{len(self.wishes)}", wish.get("label", ""), url="http://h/?t=secret")
        self.open.setdefault(route, []).append(msgspec.structs.replace(state, url=""))
        return state

    async def revoke(self, share_id, route, by) -> bool:
        self.revoked.append((share_id, route, by))
        if self.failure is not None:
            raise self.failure
        return any(state.id == share_id for state in self.open.get(route, ()))

    def shares(self, routes):
        return {route: states for route, states in self.open.items() if route in routes}

    def listen(self, listener) -> None:
        self.listeners.append(listener)

    def forget(self, listener) -> None:
        self.listeners = [one for one in self.listeners if one != listener]


class Kernel:
    """A kernel with the routes "bot" and "other"."""

    def __init__(self, book: Book | None) -> None:
        self.got: list[list] = []
        self.own = {"bot": "bot", "other": "other"}
        loop = asyncio.get_running_loop()
        self.courier = Courier(loop, self._take, in_flight=1, patience=0.0)
        log = logging.getLogger("test")
        self.shares = KernelShares(book, "kernel 1", self.own.get, self.courier, log, loop)
        self._number = 0

    def _take(self, batch, buffers) -> None:
        self.got += batch.get("events", ())
        asyncio.get_running_loop().call_soon(self.courier.accept, None, batch.get("n"))

    def share(self, name: str = "bot", **wish) -> None:
        self._number += 1
        raw = msgspec.Raw(msgspec.json.encode(wish))
        self.shares.share(events.Share(name, self._number, raw))

    def unshare(self, share_id: str, name: str = "bot") -> None:
        self._number += 1
        self.shares.unshare(events.Unshare(name, self._number, share_id))


@pytest.fixture
async def book():
    return Book()


@pytest.fixture
async def kernel(book):
    kernel = Kernel(book)
    yield kernel
    kernel.shares.end()
    kernel.courier.close()


async def test_the_link_is_in_the_answer_to_who_has_wished_for_it_and_in_nothing_else(kernel, book):
    kernel.shares.served("bot")
    kernel.share(label="Tue", expires="2h")
    await until(lambda: len(kernel.got) == 2)
    shares, shared = kernel.got
    assert shares == ["shares", "bot", []]
    assert shared[:3] == ["shared", "bot", 1]
    assert shared[3]["url"] == "http://h/?t=secret"
    assert book.wishes == [("bot", {"label": "Tue", "expires": "2h"}, "kernel 1")]
    kernel.shares.served("bot")
    await until(lambda: len(kernel.got) == 3)
    assert kernel.got[2] == ["shares", "bot", [{"id": "s1", "label": "Tue"}]]


@pytest.mark.parametrize("name", ["file", "another", ""])
async def test_a_kernel_shares_no_route_that_is_not_its_own(kernel, book, name):
    kernel.share(name)
    await until(lambda: kernel.got)
    assert kernel.got[0][:3] == ["notshared", name, 1]
    assert book.wishes == []


async def test_what_the_server_refuses_is_told_in_its_words_and_a_fault_is_not(
    kernel, book, caplog
):
    book.failure = ShareRefused("guests are off; ask the administrator")
    kernel.share()
    await until(lambda: kernel.got)
    assert kernel.got[0] == ["notshared", "bot", 1, "guests are off; ask the administrator"]
    book.failure = RuntimeError("the secret is 42")
    kernel.share()
    await until(lambda: len(kernel.got) == 2)
    assert "42" not in kernel.got[1][3]
    assert "the secret is 42" in caplog.text


@pytest.mark.parametrize("wish", [[], "x", 5, {"label": "x" * MAX_OPTIONS}])
async def test_a_wish_that_is_none_or_too_large_is_refused_and_never_asked_for(kernel, book, wish):
    raw = msgspec.Raw(msgspec.json.encode(wish))
    kernel.shares.share(events.Share("bot", 1, raw))
    await until(lambda: kernel.got)
    assert kernel.got[0][0] == "notshared"
    assert book.wishes == []


async def test_wishes_are_answered_some_at_a_time_and_the_others_are_told_so(kernel, book):
    book.hold.clear()
    for _ in range(MAX_ASKED + 5):
        kernel.share()
    await until(lambda: len(kernel.got) == 5)
    assert all(event[0] == "notshared" for event in kernel.got)
    book.hold.set()
    await until(lambda: len(kernel.got) == MAX_ASKED + 5)
    assert len(book.wishes) == MAX_ASKED


async def test_a_kernel_that_takes_no_answers_is_cut_off(kernel):
    kernel.courier.put(events.Text("c", ""), size=3 * MAX_WAITING)
    with pytest.raises(NotABatch):
        kernel.share()


async def test_a_share_is_ended_by_the_kernel_that_serves_its_route_or_has_made_it(kernel, book):
    kernel.shares.served("bot")
    kernel.share()
    await until(lambda: len(kernel.got) == 2)
    kernel.unshare("s1")
    await until(lambda: len(kernel.got) == 3)
    assert kernel.got[2] == ["shareended", "bot", "s1", "this link has been revoked"]
    del kernel.own["bot"]  # the bot was stopped
    kernel.unshare("s1")
    await until(lambda: len(kernel.got) == 4)
    assert book.revoked == [("s1", "bot", ""), ("s1", "bot", "kernel 1")]


async def test_an_end_that_cannot_be_is_told_with_the_number_of_who_has_wished_for_it(kernel, book):
    book.failure = ShareRefused("the server cannot store this now; try again")
    kernel.unshare("s1")
    await until(lambda: kernel.got)
    assert kernel.got == [["notshared", "bot", 1, "the server cannot store this now; try again"]]


async def test_a_kernel_hears_of_the_end_of_shares_of_its_own_routes_only(kernel, book):
    kernel.shares.served("bot")
    (listener,) = book.listeners
    listener("file", "s9", "revoked")
    listener("bot", "s1", "this link has expired")
    kernel.shares.withdrawn("bot")
    listener("bot", "s2", "revoked")
    await until(lambda: len(kernel.got) == 2)
    assert kernel.got[1] == ["shareended", "bot", "s1", "this link has expired"]
    kernel.shares.end()
    assert book.listeners == []


async def test_uses_and_shares_that_others_make_are_told_by_the_clock_and_only_when_they_change(
    kernel, book
):
    kernel.shares.served("bot")
    kernel.shares.tick()
    book.open["bot"] = [ShareState("s5", "by REST", uses=3)]
    kernel.shares.tick()
    kernel.shares.tick()
    book.open["bot"] = [ShareState("s5", "by REST", uses=3, used=1)]
    kernel.shares.tick()
    await until(lambda: len(kernel.got) == 3)
    assert kernel.got == [
        ["shares", "bot", []],
        ["shares", "bot", [{"id": "s5", "label": "by REST", "uses": 3}]],
        ["shares", "bot", [{"id": "s5", "label": "by REST", "uses": 3, "used": 1}]],
    ]


async def test_one_route_has_a_number_of_shares_that_a_kernel_can_be_told_of(kernel, book):
    book.open["bot"] = [ShareState(f"s{number}") for number in range(MOST + 3)]
    kernel.shares.served("bot")
    kernel.share(label="one more")
    kernel.share("other", label="of another route")
    await until(lambda: len(kernel.got) == 3)
    shares, refused, made = kernel.got
    assert len(shares[2]) == MOST
    assert shares[2][-1]["id"] == f"s{MOST + 2}"  # the newest are told
    assert refused[:3] == ["notshared", "bot", 1]
    assert "revoke some" in refused[3]
    assert made[0] == "shared"


async def test_where_nobody_shares_a_kernel_is_told_so(book):
    kernel = Kernel(None)
    kernel.shares.served("bot")
    kernel.shares.tick()
    kernel.share()
    kernel.unshare("s1")
    await until(lambda: len(kernel.got) == 2)
    assert [event[0] for event in kernel.got] == ["notshared", "notshared"]
    kernel.shares.end()
    kernel.courier.close()
