"""What a server and a kernel say to each other, byte for byte and field by field."""

from __future__ import annotations

import asyncio
import json

import msgspec
import pytest
from jupyter_client.session import Session
from support.memory import until

from jupyter_wshandler.kernels import events
from jupyter_wshandler.kernels.batches import read_batch, read_event
from jupyter_wshandler.kernels.courier import Courier, with_buffers
from jupyter_wshandler.kernels.events import (
    BUFFERED_FROM_KERNEL,
    BUFFERED_FROM_SERVER,
    Details,
    RequestDetails,
    read_from_server,
)

DETAILS = Details(
    route="chat",
    user={"username": "ada", "groups": ["a"]},
    session=("s1", {"n": 1}),
    request=RequestDetails([("DNT", "1")], "/chat?a=1", "127.0.0.1", "http", "h:80"),
    path_args=["room", None],
    path_kwargs={"room": "r"},
    subprotocol=None,
    chat=False,
)

STATE = events.ShareState(
    "s1", "Tue", created=1.5, uses=30, used=2, url="http://h/chat?share_token=t"
)

FROM_SERVER = [
    (
        events.Open("c1", DETAILS),
        '["open","c1",{"route":"chat","user":{"username":"ada","groups":["a"]},'
        '"session":["s1",{"n":1}],"request":{"headers":[["DNT","1"]],"uri":"/chat?a=1",'
        '"remote_ip":"127.0.0.1","protocol":"http","host":"h:80"},'
        '"path_args":["room",null],"path_kwargs":{"room":"r"},"subprotocol":null,"chat":false}]',
    ),
    (
        events.Open("c1", msgspec.structs.replace(DETAILS, user=None, session=None)),
        '["open","c1",{"route":"chat","user":null,"session":null,'
        '"request":{"headers":[["DNT","1"]],"uri":"/chat?a=1",'
        '"remote_ip":"127.0.0.1","protocol":"http","host":"h:80"},'
        '"path_args":["room",null],"path_kwargs":{"room":"r"},"subprotocol":null,"chat":false}]',
    ),
    (
        events.Served("chat", 3, {"url": "ws://h/chat", "path": "/chat", "base_url": "/"}),
        '["served","chat",3,{"url":"ws://h/chat","path":"/chat","base_url":"/"}]',
    ),
    (events.Refused("chat", 3, "taken"), '["refused","chat",3,"taken"]'),
    (events.Displaced("chat", 0, "taken over"), '["displaced","chat",0,"taken over"]'),
    (events.Text("c1", "grün 🤖"), '["text","c1","grün 🤖"]'),
    (events.Long("c1"), '["long","c1"]'),
    (events.Binary("c1"), '["binary","c1"]'),
    (events.Pong("c1"), '["pong","c1"]'),
    (events.Stop("c1", 7), '["stop","c1",7]'),
    (events.Away("c1", True), '["away","c1",true]'),
    (events.Leaving("c1", 1001, ""), '["leaving","c1",1001,""]'),
    (events.Lost("c1", 1006, ""), '["lost","c1",1006,""]'),
    (events.Lost("c1", None, ""), '["lost","c1",null,""]'),
    (
        events.Shared("chat", 4, STATE),
        '["shared","chat",4,{"id":"s1","label":"Tue","created":1.5,"uses":30,"used":2,'
        '"url":"http://h/chat?share_token=t"}]',
    ),
    (events.NotShared("chat", 4, "guests are off"), '["notshared","chat",4,"guests are off"]'),
    (
        events.Shares("chat", [msgspec.structs.replace(STATE, url="", label="")]),
        '["shares","chat",[{"id":"s1","created":1.5,"uses":30,"used":2}]]',
    ),
    (events.ShareEnded("chat", "s1", "revoked"), '["shareended","chat","s1","revoked"]'),
    (events.RoomAnswer("chat", 4, [["e1", 7], 2]), '["roomanswer","chat",4,[["e1",7],2]]'),
    (events.RoomRefusal("chat", 4, "no"), '["roomrefusal","chat",4,"no"]'),
]

CLAIM = {"pattern": "/chat", "options": {}, "page": None, "events": ["open"], "replace": False}

FROM_KERNEL = [
    (events.Text("c1", "grün 🤖"), '["text","c1","grün 🤖"]'),
    (events.Long("c1"), '["long","c1"]'),
    (events.Binary("c1"), '["binary","c1"]'),
    (events.Ping("c1"), '["ping","c1"]'),
    (events.Close("c1", 4001, "enough"), '["close","c1",4001,"enough"]'),
    (events.Closed("c1", 3), '["closed","c1",3]'),
    (
        events.SessionChange("s1", {"n": "[1]"}, ["old"]),
        '["session","s1",{"n":"[1]"},["old"]]',
    ),
    (
        events.Serve("chat", 3, CLAIM, "bots.ipynb"),
        '["serve","chat",3,{"pattern":"/chat","options":{},"page":null,"events":["open"],'
        '"replace":false},"bots.ipynb"]',
    ),
    (events.Withdraw("chat"), '["withdraw","chat"]'),
    (events.Share("chat", 4, {"label": "Tue"}), '["share","chat",4,{"label":"Tue"}]'),
    (events.Unshare("chat", 5, "s1"), '["unshare","chat",5,"s1"]'),
    (events.Join("c1", 6, "blue"), '["join","c1",6,"blue"]'),
    (events.Leave("c1", 7, "blue"), '["leave","c1",7,"blue"]'),
    (
        events.Say("chat", 8, "", "blue", "c1", False),
        '["say","chat",8,"","blue","c1",false]',
    ),
    (events.SayTo("ada", 9, True), '["sayto","ada",9,true]'),
    (
        events.AskRoom("", 10, "chat", "blue", "history", 50, 0, ("e1", 7)),
        '["askroom","",10,"chat","blue","history",50,0,["e1",7]]',
    ),
]


def compact(event: events.Event) -> str:
    return json.dumps(event.as_list(), ensure_ascii=False, separators=(",", ":"))


@pytest.mark.parametrize(("event", "wire"), [*FROM_SERVER, *FROM_KERNEL])
def test_an_event_is_written_as_its_name_and_its_fields(event, wire):
    assert compact(event) == wire
    assert event.what == json.loads(wire)[0]


@pytest.mark.parametrize(("event", "wire"), FROM_SERVER)
def test_a_kernel_reads_what_a_server_writes(event, wire):
    assert read_from_server(json.loads(wire)) == event


@pytest.mark.parametrize(("event", "wire"), FROM_KERNEL)
def test_a_server_reads_what_a_kernel_writes(event, wire):
    content = f'{{"comm_id":"x","data":{{"n":1,"events":[{wire}]}}}}'.encode()
    (raw,) = read_batch(content).events
    assert bytes(raw).decode() == wire
    read = read_event(raw)
    assert type(read) is type(event)
    for field in event.__struct_fields__:
        value = getattr(read, field)
        if isinstance(value, msgspec.Raw):
            value = msgspec.json.decode(value)
        assert value == getattr(event, field)


def test_every_event_is_in_the_test_of_its_bytes():
    for union, cases in ((events.FromServer, FROM_SERVER), (events.FromKernel, FROM_KERNEL)):
        classes = {getattr(cls, "__origin__", cls) for cls in union.__args__}
        assert classes == {type(event) for event, _ in cases}


def test_the_events_with_a_buffer_are_those_that_hold_nothing_else_and_what_is_said_in_rooms():
    for names, cases in ((BUFFERED_FROM_SERVER, FROM_SERVER), (BUFFERED_FROM_KERNEL, FROM_KERNEL)):
        alone = {json.loads(wire)[0] for _, wire in cases if len(json.loads(wire)) == 2}
        assert alone - {"withdraw"} == names - {"say", "sayto"}


@pytest.mark.parametrize(
    "wrong", [[], ["what", "c1"], ["text"], ["text", "c1", 5], ["ping", "c1"], ["stop", "c1", "x"]]
)
def test_what_no_server_says_is_no_event(wrong):
    with pytest.raises(msgspec.ValidationError):
        read_from_server(wrong)


async def test_a_batch_in_a_comm_message_has_these_bytes():
    session, sent = Session(key=b""), []
    courier = Courier(
        asyncio.get_running_loop(),
        lambda batch, buffers: sent.append((session.pack({"data": batch}), buffers)),
        in_flight=1,
        patience=0.0,
    )
    courier.put(events.Text("c1", "hello"))
    courier.put(events.Binary("c1"), b"\x00")
    courier.put(events.Lost("c1", None, ""))
    courier.take("c2", 3)
    await until(lambda: sent)
    ((written, buffers),) = sent
    assert written.decode() == json.dumps(
        {
            "data": {
                "n": 1,
                "events": [["text", "c1", "hello"], ["binary", "c1"], ["lost", "c1", None, ""]],
                "taken": {"c2": 3},
            }
        }
    )
    courier.close()
    pairs = with_buffers(json.loads(written)["data"]["events"], buffers, BUFFERED_FROM_SERVER)
    assert [(read_from_server(event), buffer) for event, buffer in pairs] == [
        (events.Text("c1", "hello"), b""),
        (events.Binary("c1"), b"\x00"),
        (events.Lost("c1", None, ""), b""),
    ]
