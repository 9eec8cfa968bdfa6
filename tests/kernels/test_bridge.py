"""The server's side of one kernel, with a kernel that the test plays."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace

import pytest
from support.memory import until

from jupyter_wshandler.connection.observer import Observer
from jupyter_wshandler.connection.opening import Opening
from jupyter_wshandler.connection.receiving import INBOX
from jupyter_wshandler.connection.request import Request
from jupyter_wshandler.engine.messages import Close, MessageProtocol
from jupyter_wshandler.kernels import bridge as bridges
from jupyter_wshandler.kernels import delivery, incoming
from jupyter_wshandler.kernels.batches import NotABatch, read_batch
from jupyter_wshandler.kernels.bridge import KernelBridge
from jupyter_wshandler.kernels.connection import WINDOW
from jupyter_wshandler.kernels.courier import OutOfStep
from jupyter_wshandler.kernels.details import describe, why_not_header
from jupyter_wshandler.kernels.routes import KernelRoutes
from jupyter_wshandler.manager import WebSocketManager
from jupyter_wshandler.transports.messages import MessageTransport

CLAIM = {"pattern": "/bot", "events": ["on_message", "on_pong"]}


class Kernel:
    """A kernel as its bridge sees it: batches come and go."""

    def __init__(self, manager: WebSocketManager, routes: KernelRoutes, **options) -> None:
        self.events: list[list] = []
        self.batches: list[dict] = []
        self.answers = True
        self._number = 0
        self.bridge = KernelBridge(manager, routes, "0123456789abcdef", self._take, **options)

    def _take(self, batch: dict, buffers: list[bytes]) -> None:
        self.batches.append(batch)
        left = iter(buffers)
        for event in batch.get("events", ()):
            self.events.append([*event, next(left)] if event[0] in ("binary", "pong") else event)
        if "n" in batch and self.answers:
            self.bridge.io.loop.call_soon(self.say, [], {"got": batch["n"]})

    def say(self, events: list[list], more: dict | None = None, buffers=()) -> None:
        batch = dict(more or {})
        if events:
            self._number += 1
            batch |= {"n": self._number, "events": events}
        self.receive(batch, buffers)

    def receive(self, data: object, buffers=()) -> None:
        content = json.dumps({"comm_id": "c", "data": data}).encode()
        self.bridge.receive(read_batch(content), buffers)

    def serve(self, number: int = 1, **claim) -> None:
        self.say([["serve", "bot", number, {**CLAIM, **claim}, "bots.ipynb"]])

    def got(self, what: str) -> list[list]:
        return [event for event in self.events if event[0] == what]


class Client:
    """A browser as far as whole messages go."""

    def __init__(self, manager: WebSocketManager, uri: str = "/bot") -> None:
        self.got: list = []
        route = manager.table.match(uri)[0]
        self.connection = manager.connection(route, Opening(Request([("Host", "h")], uri)))
        self.transport = MessageTransport(
            manager.io.loop, self.got.append, lambda: None, messages=2**20, size=2**30
        )
        self.manager = manager

    def open(self) -> Client:
        self.manager.open(self.connection, MessageProtocol(), self.transport, ())
        return self

    def say(self, *messages: str | bytes) -> None:
        self.transport.feed(messages)

    @property
    def code(self) -> int | None:
        codes = [frame.code for frame in self.got if isinstance(frame, Close)]
        return codes[0] if codes else None


@pytest.fixture
def routes(manager) -> KernelRoutes:
    return KernelRoutes(manager.served)


@pytest.fixture
def kernel(manager, routes) -> Kernel:
    kernel = Kernel(manager, routes)
    kernel.serve()
    yield kernel
    kernel.bridge.end("the test is over")
    for connection in list(manager.connections.values()):
        connection._transport.lost()


async def test_a_kernel_hears_where_it_is_served(kernel):
    await until(lambda: kernel.got("served"))
    assert kernel.got("served")[0][1:3] == ["bot", 1]


async def test_a_claim_of_wrong_types_is_refused_and_nothing_else_happens(manager, kernel):
    kernel.serve(2, events="on_message")
    kernel.serve(3, pattern=5)
    await until(lambda: len(kernel.got("refused")) == 2)
    assert all("Expected" in event[3] for event in kernel.got("refused"))
    assert manager.table.match("/bot") is not None


@pytest.mark.parametrize(
    "batch", [{"n": 2, "events": 5}, {"n": 3}, {"n": 2, "events": [["binary"]]}]
)
async def test_what_is_no_batch_is_told_to_the_caller(kernel, batch):
    with pytest.raises((OutOfStep, NotABatch)):
        kernel.receive(batch)


async def test_one_event_that_makes_no_sense_costs_the_others_nothing(manager, kernel):
    client, other = Client(manager).open(), Client(manager).open()
    wrong, name = other.connection.id, client.connection.id
    kernel.say([["close", wrong], ["what", wrong], ["session"], [], 5, ["text", name, "hello"]])
    await until(lambda: client.got)
    assert client.got == ["hello"]
    assert other.code == 1011


async def test_a_kernel_is_given_a_window_and_then_an_inbox_fills(manager, kernel):
    client = Client(manager).open()
    client.say(*map(str, range(300)))
    await until(lambda: len(kernel.got("text")) == WINDOW)
    await until(lambda: len(client.connection._inbox) == INBOX)
    assert client.connection._protocol.pending
    for taken in range(300):
        # A kernel says so of what it has been given.
        await until(lambda taken=taken: len(kernel.got("text")) > taken)
        kernel.say([], {"taken": {client.connection.id: 1}})
    assert len(kernel.got("text")) == 300
    assert [event[2] for event in kernel.got("text")] == list(map(str, range(300)))


async def test_a_message_is_done_when_a_kernel_has_it_though_it_has_room_for_no_other(
    manager, kernel
):
    done: list[str] = []

    class Dones(Observer):
        def message_done(self, connection, later=None):
            done.append(connection.id)

    manager.observers.add(Dones())
    client = Client(manager).open()
    client.say(*map(str, range(WINDOW + 5)))
    await until(lambda: client.connection.queue_counts().waiting == WINDOW + 5)
    await until(lambda: len(kernel.got("text")) == WINDOW)
    assert len(done) == WINDOW
    assert client.connection.queue_counts().undone == 5


async def test_a_client_that_reads_slowly_costs_the_kernel_its_room_and_the_server_nothing(
    manager, kernel
):
    client = Client(manager)
    client.transport._messages = 1
    client.open()
    name = client.connection.id
    for first in (0, 500):
        kernel.say([["text", name, str(number)] for number in range(first, first + 500)])

    def taken() -> int:
        return sum(batch.get("taken", {}).get(name, 0) for batch in kernel.batches)

    await until(taken)
    assert taken() < 300  # what the route's queue holds
    assert client.code is None
    await until(lambda: len(client.connection.held) > 600)
    while len(client.got) < 1000:
        client.transport.taken(1)
        await asyncio.sleep(0)
    await until(lambda: taken() == 1000)
    assert client.got == list(map(str, range(1000)))
    assert client.connection.held is None


async def test_a_ping_is_counted_in_its_turn_whether_it_is_sent_or_not(manager, kernel):
    client = Client(manager)
    client.transport._messages = 1
    client.open()
    name = client.connection.id

    def taken() -> int:
        return sum(batch.get("taken", {}).get(name, 0) for batch in kernel.batches)

    # Its place in the window is behind the messages before it: who is told of it too early
    # takes them for sent.
    kernel.say([["text", name, str(number)] for number in range(500)])
    await until(lambda: taken() == 257)  # what the route's queue holds, and one that is under way
    kernel.say([["ping", name]] * 400, buffers=[b"p"] * 400)
    kernel.say([["text", name, "last"]])
    for _ in range(20):
        await asyncio.sleep(0.002)
    assert taken() == 257
    while "last" not in client.got:
        client.transport.taken(1)
        await asyncio.sleep(0)
    await until(lambda: taken() == 901)
    assert [frame for frame in client.got if isinstance(frame, str)] == [
        *map(str, range(500)),
        "last",
    ]
    assert client.connection.held is None


async def test_pings_to_a_client_that_reads_nothing_are_taken_and_kept_by_nobody(manager, kernel):
    client = Client(manager)
    client.transport._messages = 1
    client.open()
    name = client.connection.id

    def taken() -> int:
        return sum(batch.get("taken", {}).get(name, 0) for batch in kernel.batches)

    for turn in range(1, 21):
        kernel.say([["ping", name]] * 500, buffers=[b"p"] * 500)
        await until(lambda turn=turn: taken() == turn * 500)
    assert client.transport.queued_frames < 300
    assert client.code is None


async def test_a_stalled_kernel_costs_who_waits_for_it_1013_and_takes_nobody_new(
    manager, kernel, monkeypatch
):
    await until(lambda: kernel.got("served"))
    quiet, waiting, gone = (Client(manager).open() for _ in range(3))
    await until(lambda: len(kernel.got("open")) == 3)
    kernel.answers = False
    waiting.say("x")
    gone.say(*map(str, range(200)))
    gone.transport.lost()
    await until(lambda: kernel.got("text"))
    kernel.bridge._patience = 0.0
    await until(lambda: kernel.bridge._courier.stalled() > 0)
    kernel.bridge.tick()
    assert kernel.bridge.busy
    assert (quiet.code, waiting.code) == (None, 1013)
    # Who has left is not kept for a kernel that may never answer.
    assert gone.connection.lost_at
    monkeypatch.setattr(bridges, "GOODBYE", 0.0)
    kernel.bridge.tick()
    assert gone.connection.id not in manager.connections


async def test_a_connection_whose_kernel_has_ended_in_its_handshake_is_closed(manager, kernel):
    client = Client(manager)
    kernel.bridge.end("gone")
    client.open()
    assert client.code == 1012
    client.transport.lost()
    await until(lambda: client.connection.id not in manager.connections)


async def test_a_connection_does_not_move_to_another_kernel(manager, routes, kernel):
    client = Client(manager)
    late = Client(manager)
    client.open()
    other = Kernel(manager, routes)
    other.serve(replace=True)
    late.open()
    await until(lambda: late.code is not None)
    assert (client.code, late.code) == (1012, 1012)
    other.bridge.end("over")


async def test_a_kernels_close_reaches_the_client_and_its_end_the_kernel(manager, kernel):
    client = Client(manager).open()
    name = client.connection.id
    kernel.say([["text", name, "bye"], ["close", name, 4001, "enough"]])
    assert (client.got[0], client.code) == ("bye", 4001)
    client.transport.feed([Close(4001, "enough")])
    await until(lambda: kernel.got("lost"))
    assert kernel.got("lost") == [["lost", name, 4001, "enough"]]
    assert name in manager.connections  # until its on_close has run
    kernel.say([["closed", name, 3]])
    assert name not in manager.connections
    assert client.connection.dropped == 3


async def test_a_close_comes_behind_what_a_client_that_reads_slowly_has_still_to_read(
    manager, kernel
):
    client = Client(manager)
    client.transport._messages = 1
    client.open()
    name = client.connection.id
    kernel.say([["text", name, str(number)] for number in range(500)])
    kernel.say([["close", name, 4001, "enough"], ["close", name, 4002, ""], ["text", name, "late"]])
    await until(lambda: client.connection.close_is_held)
    assert not client.connection.closed
    async with asyncio.timeout(20):
        while client.code is None:
            client.transport.taken(1)
            await asyncio.sleep(0)
    assert client.got == [*map(str, range(500)), client.got[-1]]
    assert (client.code, client.got[-1].reason) == (4001, "enough")
    await until(lambda: client.connection.held is None)


async def test_a_client_that_reads_nothing_holds_a_kernels_close_up_for_a_while_only(
    manager, kernel, monkeypatch
):
    monkeypatch.setattr(delivery, "CLOSE_TIMEOUT", 0.05)
    client = Client(manager)
    client.transport._messages = 1
    client.open()
    name = client.connection.id
    kernel.say([["text", name, str(number)] for number in range(500)])
    kernel.say([["close", name, 4001, "enough"]])
    await until(lambda: client.connection.closed)
    assert client.connection.close_code == 4001
    assert not client.connection.held


async def test_changes_of_a_session_leave_its_other_keys_alone(manager, kernel):
    client = Client(manager)
    session = await manager.sessions.attach("s1", "ada", new=True)
    session.update(module="kept", old="gone")
    client.connection.take_session(session)
    client.open()
    kernel.say([["session", "s1", {"n": "[1]", "m": '"x"'}, ["old", "never"]]])
    assert session == {"id": "s1", "module": "kept", "n": [1], "m": "x"}


SECRETS = [
    ("Authorization", "secret"),
    ("Cookie", "a=secret"),
    ("X-Forwarded-Access-Token", "secret"),
    ("X-Auth-Request-User", "secret"),
    ("Cf-Access-Jwt-Assertion", "secret"),
    ("Referer", "http://h/lab?token=secret"),
    ("Sec-WebSocket-Protocol", "bearer.secret"),
    ("X-Original-URI", "/x?token=secret"),
    ("X-XSRFToken", "secret"),
    ("X-Api-Key", "secret"),
]


UNKNOWN = [
    "X-Corp-Sso",
    "X-Remote-User",
    "X-Ms-Client-Principal",
    "X-Amzn-Oidc-Data",
    "Ticket",
    "X-Forwarded-User",
    "X-Forwarded-Email",
    "X-Forwarded-Groups",
    "X-Forwarded-Client-Cert",
    "X-Forwarded-Uri",
    "X-Pomerium-Claim-Email",
    "Tailscale-User-Login",
    "X-Goog-Iap",
    "Baggage",
    "X-Key",
    "Remote-User",
    "Ssl-Client-S-Dn",
    "X-Vouch-Idp",
    "Host-2",
    "Cf-Ray",
]


@pytest.mark.parametrize("name", UNKNOWN)
async def test_a_header_that_nobody_has_called_harmless_is_not_told_to_a_kernel(
    manager, kernel, name
):
    client = Client(manager)
    client.connection.request = Request([(name, "secret"), ("X-Mine", "2"), ("DNT", "1")], "/bot")
    assert describe(client.connection).request.headers == [("DNT", "1")]
    told = describe(client.connection, frozenset({"x-mine"})).request.headers
    assert told == [("X-Mine", "2"), ("DNT", "1")]


@pytest.mark.parametrize("name", [name for name, _ in SECRETS])
async def test_no_setting_tells_a_kernel_what_proves_an_identity(manager, kernel, name):
    assert why_not_header(name) is not None
    client = Client(manager)
    client.connection.request = Request([(name, "secret")], "/bot")
    assert describe(client.connection, frozenset({name.lower()})).request.headers == []


@pytest.mark.parametrize("name", ["", "X Y", "X:Y", "X\n", "ü"])
def test_what_is_no_name_of_a_header_cannot_be_added(name):
    assert "name of a header" in why_not_header(name)


async def test_the_headers_that_were_added_reach_the_kernel(manager):
    routes = KernelRoutes(manager.served, headers=["X-Department", "x-other"])
    kernel = Kernel(manager, routes)
    kernel.serve()
    client = Client(manager)
    fields = [("X-DEPARTMENT", "7"), ("X-Third", "8"), ("Origin", "http://h")]
    client.connection.request = Request(fields, "/bot")
    client.open()
    await until(lambda: kernel.got("open"))
    told = kernel.got("open")[0][2]["request"]["headers"]
    assert told == [("X-DEPARTMENT", "7"), ("Origin", "http://h")]
    kernel.bridge.end("over")
    client.transport.lost()


@pytest.mark.parametrize("uri", ["/bot?token=secret&a=1", "/bot?%74oken=secret&a=1"])
async def test_what_proves_an_identity_is_not_told_to_a_kernel(manager, kernel, uri):
    client = Client(manager)
    client.connection.request = Request(
        [*SECRETS, ("User-Agent", "x"), ("Origin", "http://h")], uri
    )
    client.connection.current_user = SimpleNamespace(username="ada", name="Ada", token="secret")
    told = describe(client.connection)
    assert "secret" not in str(told)
    assert told.request.headers == [("User-Agent", "x"), ("Origin", "http://h")]
    assert told.request.uri == "/bot?a=1"
    assert told.user == {"username": "ada", "name": "Ada"}


WRONG = [
    *(["close", code, ""] for code in (5, 999, 1004, 1006, 1015, 2999, 5000, -1, 2**70, 0)),
    *(["close", code, ""] for code in ("x", None, True, 4000.5, [], {}, "1000")),
    *(["close", 4000, reason] for reason in ("x" * 10_000, "ü" * 62, 5, None, ["x"], "\ud800")),
    *(["text", text] for text in (5, None, ["x"], {}, "\ud800", "a\udfffb")),
    *(["closed", count] for count in ("x", None, 1.5)),
    ["text"],
    ["close"],
    ["close", 4000],
    ["ping"],
    ["what", 1, 2, 3],
]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: ascii(wrong)[:40])
async def test_what_a_kernel_says_wrongly_of_a_connection_costs_that_connection_only(
    manager, kernel, caplog, wrong
):
    client, neighbour = Client(manager).open(), Client(manager).open()
    name = client.connection.id
    buffers = [b"x" * 200] if wrong == ["ping"] else []
    kernel.say(
        [
            ["text", name, "before"],
            [wrong[0], name, *wrong[1:]],
            ["text", name, "after"],
            ["binary", neighbour.connection.id],
        ],
        buffers=[*buffers, b"hello"],
    )
    await until(lambda: neighbour.got)
    assert (neighbour.got, neighbour.code) == ([b"hello"], None)
    assert client.got[0] == "before"
    assert client.code == 1011
    # It is not deaf: what the client answers ends it.
    client.transport.feed([Close(1011, "")])
    await until(lambda: kernel.got("lost"))
    (line,) = [r.getMessage() for r in caplog.records if name in r.getMessage()]
    assert "kernel 01234567 (bots.ipynb)" in line
    assert len(line) < 600


@pytest.mark.parametrize("event", ["long", "binary", "ping"])
async def test_an_event_about_nobody_leaves_the_next_one_its_buffer(manager, kernel, event):
    client = Client(manager).open()
    kernel.say(
        [[event, "nobody"], [event, 5], ["binary", client.connection.id]],
        buffers=[b"1", b"2", b"mine"],
    )
    await until(lambda: client.got)
    assert client.got == [b"mine"]


async def test_a_long_text_travels_beside_the_json_and_what_is_no_utf8_closes(manager, kernel):
    client, other = Client(manager).open(), Client(manager).open()
    kernel.say([["long", client.connection.id]], buffers=["grün".encode()])
    kernel.say([["long", other.connection.id]], buffers=[b"\xff"])
    await until(lambda: other.got)
    assert (client.got, other.code) == (["grün"], 1011)


@pytest.mark.parametrize(
    "changed", [{"a": "{"}, {"a": ""}, {"a": "[" * 100_000}, {"a": 5}, [], None, {"id": '"x"'}]
)
async def test_changes_of_a_session_that_make_no_sense_change_nothing(manager, kernel, changed):
    client = Client(manager)
    session = await manager.sessions.attach("s1", "ada", new=True)
    client.connection.take_session(session)
    client.open()
    kernel.say([["session", "s1", changed, []], ["text", client.connection.id, "hello"]])
    await until(lambda: client.got)
    assert session == {"id": "s1"}


async def test_a_session_is_found_as_long_as_one_of_its_connections_is_open(manager, kernel):
    one, two = Client(manager), Client(manager)
    for client in (one, two):
        session = await manager.sessions.attach("s1", "ada", new=True)
        client.connection.take_session(session)
        client.open()
    name = one.connection.id
    one.transport.lost()
    kernel.say([["closed", name, 0]])
    await until(lambda: name not in manager.connections)
    kernel.say([["session", "s1", {"a": "1"}, []]])
    assert session["a"] == 1
    name = two.connection.id
    two.transport.lost()
    kernel.say([["closed", name, 0]])
    await until(lambda: name not in manager.connections)
    assert not kernel.bridge._sessions


async def test_nothing_that_a_kernel_chooses_breaks_a_log_line(manager, routes, caplog):
    caplog.set_level("INFO")
    kernel = Kernel(manager, routes)
    evil = "x\nERROR \x1b[31mfake\u202e" + "y" * 1000
    claims = [
        {"name": evil},
        {"pattern": "/" + evil},
        {"options": {evil: 1}},
        {"options": {"max_message": evil}},
        {"events": [evil]},
        {"page": 5, evil: 1},
    ]
    for number, claim in enumerate(claims):
        asked = {**CLAIM, **claim}
        name = asked.pop("name", "bot")
        kernel.say([["serve", name, number, asked, evil]])
    kernel.say([[evil, evil], ["close", evil, 1, evil]])
    await until(lambda: len(kernel.got("refused")) == len(claims))
    assert caplog.records
    for record in caplog.records:
        assert record.getMessage().isprintable(), record.getMessage()
        assert len(record.getMessage()) < 1500
    kernel.bridge.end("over")


async def test_a_kernels_many_claims_and_events_leave_others_their_turns(
    manager, routes, monkeypatch
):
    monkeypatch.setattr(incoming, "SLICE", 0.0005)
    routes._limit = 10_000
    kernel = Kernel(manager, routes)
    turns = 0

    async def look_on() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    bystander = asyncio.create_task(look_on())
    await asyncio.sleep(0)
    events = [["serve", f"b{n}", n, {**CLAIM, "pattern": f"/b{n}"}, ""] for n in range(400)]
    kernel.say(events)
    kernel.say([["withdraw", "b7"]])
    assert len(manager.served.live) < 200
    await until(lambda: len(kernel.got("served")) == 400)
    await until(lambda: "b7" not in manager.served.live)
    assert turns > 40
    bystander.cancel()
    # The batches are confirmed when they have been handled, and in their order.
    await until(lambda: any(batch.get("got") == 2 for batch in kernel.batches))
    confirmed = [batch["got"] for batch in kernel.batches if "got" in batch]
    assert confirmed == sorted(confirmed)
    assert confirmed[-1] == 2
    kernel.bridge.end("over")
    assert not manager.served.live


async def test_a_batch_is_confirmed_only_when_it_has_been_handled(manager, kernel, monkeypatch):
    await until(lambda: kernel.got("served"))
    monkeypatch.setattr(incoming, "SLICE", -1.0)
    client = Client(manager).open()
    kernel.say([["text", client.connection.id, str(n)] for n in range(50)])
    assert kernel.bridge._courier._handled == 1
    await until(lambda: len(client.got) == 50)
    assert client.got == list(map(str, range(50)))
    await until(lambda: kernel.bridge._courier._handled == 2)


async def test_a_kernel_that_waits_for_no_confirmation_is_cut_off(manager, kernel, monkeypatch):
    await until(lambda: kernel.got("served"))
    monkeypatch.setattr(incoming, "SLICE", -1.0)
    client = Client(manager).open()
    events = [["text", client.connection.id, "x"]] * 100
    for _ in range(8):
        kernel.say(events)
    with pytest.raises(NotABatch, match="8 batches"):
        kernel.say(events)


async def test_what_a_kernel_sends_beyond_a_window_is_not_kept(manager, kernel):
    client = Client(manager)
    client.transport._messages = 1
    client.open()
    name = client.connection.id
    for _ in range(400):
        kernel.say([["text", name, "x" * 1000]] * 20)
        await asyncio.sleep(0)
        if client.connection.closed:
            break
    assert client.connection.close_code == 1011
    assert client.connection.held_size < 3 * 1024 * 1024


async def test_the_end_of_a_kernel_closes_its_connections_some_at_a_time(
    manager, kernel, monkeypatch
):
    clients = [Client(manager).open() for _ in range(50)]
    monkeypatch.setattr(bridges, "SLICE", -1.0)
    kernel.bridge.end("gone")
    assert not manager.served.live
    assert sum(client.code is not None for client in clients) == 1
    await until(lambda: all(client.code == 1012 for client in clients))
