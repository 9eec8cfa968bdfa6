"""What the directory makes of a Hub's answers: with a server that speaks as the Hub does."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace

import pytest
from support.server import free_port
from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler

from jupyter_wshandler.server.directory.hub import NEEDED_SCOPES, Hub, HubSilent, Place, ServerId

OWN = "token-of-the-service"
ADA = {
    "kind": "user",
    "name": "ada",
    "groups": ["staff"],
    "servers": {
        "": {"url": "/user/ada/", "ready": True},
        "my lab": {"url": "/user/ada/my%20lab/", "ready": False, "stopped": True},
    },
}


class FakeHub:
    """A Hub's REST API, as far as the directory asks it.

    Attributes:
        tokens: What ``GET /user`` says, by token.
        users: What ``GET /users/{name}`` says.
        status: What all is answered with, where it is not 200.
        asked: The paths that were asked for.
    """

    def __init__(self):
        self.tokens = {OWN: {"kind": "service", "name": "bots", "scopes": list(NEEDED_SCOPES)}}
        self.users = {"ada": ADA}
        self.status = 200
        self.asked: list[str] = []


@pytest.fixture
async def fake():
    fake = FakeHub()

    class Answer(RequestHandler):
        async def get(self, path):
            fake.asked.append(path)
            await asyncio.sleep(0.01)
            token = self.request.headers["Authorization"].removeprefix("token ")
            if fake.status != 200:
                self.send_error(fake.status)
            elif token not in fake.tokens:
                self.send_error(403)
            elif path == "user":
                self.write(json.dumps(fake.tokens[token]))
            elif path.removeprefix("users/") in fake.users:
                self.write(json.dumps(fake.users[path.removeprefix("users/")]))
            else:
                self.send_error(404)

    server = HTTPServer(Application([("/hub/api/(.*)", Answer)]))
    server.listen(0, "127.0.0.1")
    (sock,) = server._sockets.values()
    fake.url = f"http://127.0.0.1:{sock.getsockname()[1]}/hub/api"
    yield fake
    server.stop()
    await server.close_all_connections()


def hub_at(url: str) -> Hub:
    return Hub(SimpleNamespace(api_url=url, api_token=OWN, keyfile="", certfile="", client_ca=""))


@pytest.fixture
async def hub(fake):
    hub = hub_at(fake.url)
    yield hub
    await hub.stop()


async def test_a_user_is_who_the_hub_says_with_the_servers_that_are_stopped(hub):
    ada = await hub.user("ada")
    assert ada.groups == ("staff",)
    assert ada.servers == {
        "": Place("/user/ada/", True),
        "my lab": Place("/user/ada/my%20lab/", False),
    }
    assert await hub.user("nobody") is None


async def test_a_name_is_one_segment_of_the_address_whatever_is_in_it(hub, fake):
    fake.users["zoë b@example.org"] = ADA | {"name": "zoë b@example.org"}
    assert (await hub.user("zoë b@example.org")).name == "zoë b@example.org"
    assert await hub.user("../user") is None
    assert await hub.user("ada?include_x") is None


async def test_who_asks_for_the_same_at_the_same_time_asks_once(hub, fake):
    found = await asyncio.gather(*(hub.user("ada") for _ in range(30)))
    assert {user.name for user in found} == {"ada"}
    assert fake.asked == ["users/ada"]


async def test_the_server_of_a_token_is_the_hubs_word(hub, fake):
    fake.tokens["adas"] = ADA | {"scopes": ["access:servers!server=ada/my lab"]}
    assert await hub.server_of("adas") == ServerId("ada", "my lab")
    assert await hub.server_of("made-up") is None
    assert await hub.server_of(OWN) is None


async def test_where_nobody_answers_it_is_no_no():
    hub = hub_at(f"http://127.0.0.1:{free_port()}/hub/api")
    with pytest.raises(HubSilent):
        await hub.user("ada")
    with pytest.raises(HubSilent):
        await hub.server_of("adas")
    await hub.stop()


@pytest.mark.parametrize("status", [401, 429, 500, 502, 503, 302])
async def test_a_hub_that_fails_has_not_answered(hub, fake, status):
    fake.status = status
    with pytest.raises(HubSilent, match=str(status)) as silent:
        await hub.user("ada")
    assert OWN not in str(silent.value)
    fake.status = 200
    assert await hub.user("ada")  # a failure is not remembered


async def test_a_service_without_its_scopes_is_told_from_a_user_who_is_not_there(hub, fake):
    fake.tokens[OWN]["scopes"] = ["read:users:name"]
    with pytest.raises(HubSilent, match=r"read:users:groups, read:servers \(c.JupyterHub"):
        await hub.user("nobody")
    assert await hub.missing_scopes() == ["read:users:groups", "read:servers"]


async def test_a_user_without_groups_or_servers_in_the_answer_is_none_to_decide_by(hub, fake):
    fake.users["ada"] = {"kind": "user", "name": "ada"}
    with pytest.raises(HubSilent, match="scopes"):
        await hub.user("ada")
