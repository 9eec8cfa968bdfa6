"""The tests of a user who has pytest-jupyter's server."""

import pytest
from tornado.httpclient import HTTPClientError

pytest_plugins = ["pytest_jupyter.jupyter_server"]


@pytest.fixture
def jp_server_config():
    kwargs = {"on_message": "fixturebot.on_message"}
    routes = {"bot": {"pattern": "/bot", "handler": "WebSocketHandler", "kwargs": kwargs}}
    return {
        "ServerApp": {"jpserver_extensions": {"jupyter_wshandler": True}},
        "WSHandlerApp": {"url": routes, "session_store": "memory://"},
    }


async def test_a_bot_answers(jp_ws_fetch, jp_serverapp):
    socket = await jp_ws_fetch("bot")
    await socket.write_message("hi")
    assert '"got":"hi"' in await socket.read_message()
    socket.close()


async def test_a_wrong_token_is_refused(jp_ws_fetch, jp_serverapp):
    with pytest.raises(HTTPClientError) as refused:
        await jp_ws_fetch("bot", headers={"Authorization": "token wrong"})
    assert refused.value.code == 403
