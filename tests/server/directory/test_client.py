"""What a user's server makes of the directory's answers, and of an address where none is."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from support.server import free_port
from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler

from jupyter_wshandler.server.directory.client import DirectoryClient, DirectoryError
from jupyter_wshandler.server.directory.messages import Person, Question, Redemption, Registration

SHARE = Registration(id="share-one", route="pingbot", path="/pingbot", users=("bob",))
CODE = Redemption(code="secret-code", share="share-one", path="/pingbot", state="0" * 64)
HUB_AUTH = SimpleNamespace(api_token="the-servers-token", keyfile="", certfile="", client_ca="")


class Service:
    """A directory that answers what a test says, and remembers what it was asked."""

    def __init__(self):
        self.status, self.body, self.location = 200, b"{}", ""
        self.asked: list[tuple[str, str, str, bytes]] = []


@pytest.fixture
async def service():
    service = Service()

    class Answer(RequestHandler):
        def get(self):
            token = self.request.headers.get("Authorization", "")
            line = (self.request.method, self.request.path, token, self.request.body)
            service.asked.append(line)
            self.set_status(service.status)
            if service.location:
                self.set_header("Location", service.location)
            if service.status != 204:
                self.write(service.body)

        put = post = delete = get

    server = HTTPServer(Application([(".*", Answer)]))
    server.listen(0, "127.0.0.1")
    (sock,) = server._sockets.values()
    service.url = f"http://127.0.0.1:{sock.getsockname()[1]}/services/bots/"
    yield service
    server.stop()
    await server.close_all_connections()


@pytest.fixture
async def client(service):
    client = DirectoryClient(service.url.rstrip("/"), HUB_AUTH)
    yield client
    client.close()


async def test_each_request_goes_below_the_service_and_has_the_servers_token(service, client):
    service.body = b'{"name": "bob", "groups": ["staff"]}'
    assert await client.redeem(CODE) == Person("bob", ("staff",))
    method, path, token, body = service.asked[0]
    assert (method, path) == ("POST", "/services/bots/wshandler/directory/servers/redeem")
    assert token == "token the-servers-token"
    assert json.loads(body)["code"] == "secret-code"
    await client.register(SHARE)
    assert service.asked[1][:2] == (
        "PUT",
        "/services/bots/wshandler/directory/servers/shares/share-one",
    )


async def test_what_the_directory_refuses_is_told_in_its_words(service, client):
    service.status, service.body = 403, b'{"message": "this code is not good here"}'
    with pytest.raises(DirectoryError, match="this code is not good here") as error:
        await client.redeem(CODE)
    assert error.value.is_refusal


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (503, b'{"message": "the Hub cannot be asked now; try again"}'),
        (500, b"<html>proxy error</html>"),
        (200, b"<html>some page</html>"),
        (200, b"[]"),
        (200, b'{"name": 5}'),
        (204, b""),
        (500, b'{"message": ["x"]}'),
        (500, b"\xff\xfe"),
    ],
)
async def test_what_is_no_answer_is_no_refusal_either(service, client, status, body):
    service.status, service.body = status, body
    with pytest.raises(DirectoryError) as error:
        await client.redeem(CODE)
    assert not error.value.is_refusal
    assert "the-servers-token" not in str(error.value)


async def test_the_token_follows_no_redirect(service, client):
    service.status, service.location = 302, "/elsewhere"
    with pytest.raises(DirectoryError) as error:
        await client.redeem(CODE)
    assert not error.value.is_refusal
    assert len(service.asked) == 1


async def test_where_nobody_listens_that_is_said_and_is_no_refusal():
    client = DirectoryClient(f"http://127.0.0.1:{free_port()}/", HUB_AUTH)
    with pytest.raises(DirectoryError, match="cannot be reached") as error:
        await client.shares()
    assert not error.value.is_refusal
    client.close()


async def test_a_share_that_the_directory_does_not_know_is_withdrawn_already(service, client):
    service.status, service.body = 404, b'{"message": "nothing with this id"}'
    await client.withdraw("share-one")
    service.status = 503
    with pytest.raises(DirectoryError):
        await client.withdraw("share-one")


async def test_as_many_answers_as_questions_or_none(service, client):
    service.body = b'{"answers": [{"allowed": true}]}'
    assert (await client.check([Question("share-one", "bob")]))[0].allowed
    with pytest.raises(DirectoryError, match="other questions"):
        await client.check([Question("share-one", "bob"), Question("share-one", "carol")])


@pytest.mark.parametrize("home", ["/services/bots/", "https://bots.hub.example/services/bots/"])
async def test_where_browsers_reach_it_is_asked_once(service, client, home):
    service.body = json.dumps({"home": home}).encode()
    assert await client.home() == await client.home() == home
    assert len(service.asked) == 1


@pytest.mark.parametrize(
    "home",
    ["", "x/", "//evil.example/", "javascript:alert(1)/", "/\\evil.example/", "/services/bots"],
)
async def test_where_browsers_are_sent_is_an_address(service, client, home):
    service.body = json.dumps({"home": home}).encode()
    with pytest.raises(DirectoryError, match="does not say where"):
        await client.home()
