"""What is asked of JupyterHub, and how often: with the real HubOAuth and a Hub that counts."""

from __future__ import annotations

import asyncio

import pytest
from jupyterhub.services.auth import HubOAuth
from tornado.web import HTTPError

from jupyter_wshandler.server.access.hub import HubLogins


class Hub(HubOAuth):
    """The Hub's answers without a Hub: `users` by token; None has been revoked."""

    def __init__(self, users):
        super().__init__(api_token="of-the-server", oauth_client_id="client")
        self.users = users
        self.asked: list[str] = []
        self.down = False

    async def _api_request(self, method, url, /, **kwargs):
        token = kwargs["headers"]["Authorization"].removeprefix("token ")
        self.asked.append(token)
        await asyncio.sleep(0.01)
        if self.down:
            raise HTTPError(500, "Failed to connect")
        return self.users.get(token)


@pytest.fixture
def hub():
    return Hub({"good": {"name": "ada"}})


@pytest.fixture
def logins(hub):
    return HubLogins(hub, lambda credential: None)


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("jupyter_wshandler.server.access.hub.monotonic", lambda: now[0])
    return now


async def asked(hub, logins, token="good", *, seconds=60.0, session_id="s"):
    with logins.fresh(seconds):
        return await hub.user_for_token(token, session_id=session_id, sync=False)


async def test_many_who_ask_at_the_same_time_cost_one_question(hub, logins):
    users = await asyncio.gather(*(asked(hub, logins) for _ in range(50)))
    assert users == [{"name": "ada"}] * 50
    assert hub.asked == ["good"]


async def test_an_answer_is_good_for_the_period_and_no_longer(hub, logins, clock):
    assert await asked(hub, logins) == {"name": "ada"}
    hub.users.clear()
    clock[0] += 59
    assert await asked(hub, logins) == {"name": "ada"}
    clock[0] += 1
    assert await asked(hub, logins) is None
    clock[0] += 59
    assert await asked(hub, logins) is None
    assert len(hub.asked) == 2


async def test_a_revoked_token_is_noticed_though_hubauth_would_remember_it(hub, logins):
    assert await hub.user_for_token("good", session_id="s", sync=False) == {"name": "ada"}
    hub.users.clear()
    assert await hub.user_for_token("good", session_id="s", sync=False) == {"name": "ada"}
    assert await asked(hub, logins) is None


async def test_who_does_not_want_fresh_answers_gets_hubauths_own(hub, logins):
    for _ in range(3):
        assert await asked(hub, logins, seconds=0) == {"name": "ada"}
    assert hub.asked == ["good"]


async def test_tokens_are_told_apart_and_sessions_of_a_token_are_not(hub, logins):
    hub.users["other"] = {"name": "bob"}
    assert await asked(hub, logins, "good") == {"name": "ada"}
    assert await asked(hub, logins, "other") == {"name": "bob"}
    assert await asked(hub, logins, "good", session_id="another") == {"name": "ada"}
    assert hub.asked == ["good", "other"]


async def test_a_hub_that_is_down_has_not_said_no(hub, logins, clock):
    await asked(hub, logins)
    hub.down = True
    clock[0] += 100
    assert await asked(hub, logins) == {"name": "ada"}
    clock[0] += hub.cache_max_age
    with pytest.raises(HTTPError):
        await asked(hub, logins)


async def test_a_hub_that_is_down_is_not_asked_by_every_handshake(hub, logins, clock):
    await asked(hub, logins)
    hub.down = True
    clock[0] += 100
    for _ in range(10):
        assert await asked(hub, logins) == {"name": "ada"}
    assert hub.asked == ["good", "good"]
    clock[0] += 1
    await asked(hub, logins)
    assert len(hub.asked) == 3


async def test_a_hub_that_does_not_answer_is_given_up(hub, logins, monkeypatch):
    monkeypatch.setattr("jupyter_wshandler.server.access.hub.PATIENCE", 0.05)

    async def silence(method, url, /, **kwargs):
        await asyncio.Event().wait()

    monkeypatch.setattr(hub, "_api_request", silence)
    with pytest.raises(HTTPError) as error:
        await asked(hub, logins)
    assert error.value.status_code == 504


async def test_hubauth_itself_remembers_the_newer_answer(hub, logins):
    await hub.user_for_token("good", session_id="s", sync=False)
    hub.users.clear()
    assert await asked(hub, logins) is None
    assert await hub.user_for_token("good", session_id="s", sync=False) is None
    assert len(hub.asked) == 2


async def test_a_hub_that_is_down_vouches_for_nobody_new(hub, logins):
    hub.down = True
    results = await asyncio.gather(*(asked(hub, logins) for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [HTTPError] * 3
    assert hub.asked == ["good"]


async def test_a_hub_that_is_down_does_not_make_a_revoked_token_good(hub, logins, clock):
    hub.users.clear()
    assert await asked(hub, logins) is None
    hub.down = True
    clock[0] += 100
    assert await asked(hub, logins) is None


async def test_one_who_leaves_does_not_take_the_answer_from_the_others(hub, logins):
    leaving = asyncio.create_task(asked(hub, logins))
    staying = asyncio.create_task(asked(hub, logins))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying == {"name": "ada"}
    assert hub.asked == ["good"]


async def test_stop_lets_go_of_hubauth_and_of_open_questions(hub, logins):
    waiting = asyncio.create_task(asked(hub, logins))
    await asyncio.sleep(0.001)
    await logins.stop()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert hub.user_for_token.__func__ is HubOAuth.user_for_token
    assert hub.clear_cookie.__func__ is HubOAuth.clear_cookie
    assert not [t for t in asyncio.all_tasks() if t.get_name() == "wshandler asks the Hub"]


async def test_stop_leaves_alone_what_another_extension_has_wrapped(hub, logins):
    def wrapped(*args, **kwargs):
        raise NotImplementedError

    hub.user_for_token = wrapped
    await logins.stop()
    assert hub.user_for_token is wrapped
    assert hub.clear_cookie.__func__ is HubOAuth.clear_cookie
