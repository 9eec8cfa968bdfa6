"""Habits from Tornado and Gramex: attributes of one's own, arguments, cookies, keys of a user."""

import json
import tracemalloc
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from jupyter_server.auth import User
from support.memory import Host, route

from jupyter_wshandler.connection import Connection
from jupyter_wshandler.connection.familiar import INSTEAD
from jupyter_wshandler.connection.opening import Opening
from jupyter_wshandler.connection.request import Request
from jupyter_wshandler.connection.user import with_keys


def connection(uri: str = "/x", headers=(), user=None) -> Connection:
    async def on_message(handler, message):
        pass

    request = Request(headers, uri)
    return Connection(Host(), route(on_message=on_message), Opening(request, user), id="1")


async def test_an_attribute_of_ones_own_is_an_entry_of_the_state_in_every_order() -> None:
    handler = connection()
    handler.counter = 1
    assert handler.counter == 1
    assert handler.state == {"counter": 1}
    assert handler.state.counter == 1
    handler.counter += 1
    state = handler.state
    handler.counter += 1
    assert state["counter"] == 3
    state["counter"] = 10
    assert handler.counter == 10
    handler.late = [1]
    assert json.loads(json.dumps(state)) == {"counter": 10, "late": [1]}
    handler.more = 1
    assert {**state} == dict(state) == {"counter": 10, "late": [1], "more": 1}
    handler.last = 1
    assert "last" in state
    assert len(state) == 4
    del handler.counter
    assert "counter" not in state
    with pytest.raises(AttributeError):
        handler.counter
    handler.again = 1
    state.clear()
    assert not hasattr(handler, "again")


async def test_an_entry_of_the_state_hides_no_method_of_the_connection() -> None:
    handler = connection()
    handler.state.update(close=1, tick=2, start=3, settle=4, deliver=5)
    assert all(callable(getattr(handler, name)) for name in ("close", "tick", "write_message"))
    assert handler.state.close == 1


@pytest.mark.parametrize("name", ["write_message", "data_received", "_next_message", "_phase"])
async def test_a_name_by_which_the_connection_is_called_is_no_entry_of_the_state(name) -> None:
    state = connection().state
    for attempt in (
        lambda: state.__setitem__(name, 1),
        lambda: state.update({"fine": 1, name: 1}),
        lambda: state.update(**{name: 1}),
        lambda: state.setdefault(name, 1),
        lambda: setattr(state, name, 1),
        lambda: state.__ior__({name: 1}),
    ):
        with pytest.raises(ValueError, match=f"cannot have '{name}', a name of the connection's"):
            attempt()
    assert state == {}


async def test_looking_up_an_attribute_of_a_connection_has_no_detour() -> None:
    # Python looks every attribute up the slow way where a class has one of these.
    for name in ("__getattr__", "__getattribute__", "__setattr__", "__delattr__"):
        assert getattr(Connection, name, None) is getattr(object, name, None)


@pytest.mark.parametrize("name", ["close", "tick", "start", "every", "ping", "cancel", "vanish"])
async def test_a_method_of_the_connection_cannot_be_replaced_and_the_error_says_where_to_keep_it(
    name,
) -> None:
    handler = connection()
    with pytest.raises(AttributeError, match=f"{name}.*another name.*handler.state"):
        setattr(handler, name, 5)
    assert callable(getattr(handler, name))


async def test_a_connection_whose_callbacks_set_nothing_pays_for_no_dict() -> None:
    idle, used = ([connection() for _ in range(200)] for _ in range(2))
    tracemalloc.start()
    try:
        for handler in idle:
            assert not hasattr(handler, "counter")
        for_idle = tracemalloc.get_traced_memory()[0] / 200
        for handler in used:
            handler.state.counter = 1
        for_used = tracemalloc.get_traced_memory()[0] / 200 - for_idle
    finally:
        tracemalloc.stop()
    assert for_idle < 20
    assert for_used > 200


async def test_arguments_of_the_query_are_read_as_in_tornado() -> None:
    handler = connection("/x?a=1&a=%20two%20&empty=&u=%C3%A9")
    assert handler.get_argument("a") == "two"
    assert handler.get_argument("a", strip=False) == " two "
    assert handler.get_arguments("a") == ["1", "two"]
    assert handler.get_query_argument("u") == "é"
    assert handler.get_query_arguments("none") == []
    assert handler.get_argument("empty") == ""
    assert handler.get_argument("none", None) is None
    with pytest.raises(LookupError, match="no argument 'none'; give get_argument a default"):
        handler.get_argument("none")


async def test_a_cookie_of_the_opening_request_is_read_as_in_tornado() -> None:
    handler = connection(headers=[("Cookie", "theme=dark; other=1")])
    assert handler.get_cookie("theme") == "dark"
    assert handler.get_cookie("none") is None
    assert handler.get_cookie("none", "light") == "light"
    handler.set_nodelay(True)


@pytest.mark.parametrize("name", sorted(INSTEAD))
async def test_what_a_connection_does_not_have_is_answered_with_what_to_use(name) -> None:
    with pytest.raises(AttributeError) as caught:
        getattr(connection(), name)
    assert str(caught.value) == f"the connection has no {name!r}; {INSTEAD[name]}"


async def test_a_name_that_nobody_knows_is_an_attribute_error_that_python_can_help_with() -> None:
    handler = connection()
    with pytest.raises(AttributeError, match="'Connection' object has no attribute 'counter'"):
        handler.counter
    assert getattr(handler, "counter", 5) == 5


@dataclass
class Frozen:
    __slots__ = ("username",)
    username: str


async def test_a_user_has_attributes_and_keys_and_stays_of_its_class() -> None:
    user = User(username="ada", name="Ada Lovelace")
    user.groups = ["staff"]
    handler = connection(user=user)
    found = handler.current_user
    assert isinstance(found, User)
    assert type(found).__name__ == "User"
    assert found["id"] == found["username"] == found.username == "ada"
    assert found["name"] == "Ada Lovelace"
    assert found["groups"] == ["staff"]
    assert found.get("id") == "ada"
    assert found.get("email", "none") == "none"
    assert "name" in found
    assert "email" not in found
    with pytest.raises(KeyError, match=r"current_user has no 'email'; it has .*username"):
        found["email"]
    assert type(user) is User, "Jupyter's own user is left alone"


async def test_a_users_keys_are_there_in_a_kernel_and_for_users_of_any_class() -> None:
    assert with_keys(SimpleNamespace(username="ada"))["id"] == "ada"
    assert with_keys(None) is None
    given = {"id": 1}
    assert with_keys(given) is given
    slots = Frozen("ada")
    assert with_keys(slots).username == "ada"


async def test_a_user_is_copied_as_their_class_says() -> None:
    class Counted:
        copies = 0

        def __init__(self, username: str) -> None:
            self.username = username

        def __copy__(self):
            type(self).copies += 1
            found = type(self)(self.username)
            found.is_copy = True
            return found

    class Plain:
        def __init__(self, username: str) -> None:
            self.username = username

    assert with_keys(Counted("ada"))["is_copy"] is True
    assert Counted.copies == 1
    plain = Plain("ada")
    found = with_keys(plain)
    found.username = "another"
    assert (plain.username, found["id"], isinstance(found, Plain)) == ("ada", "another", True)


READ_ONLY = sorted(
    {
        name
        for kind in Connection.__mro__
        for name, member in vars(kind).items()
        if name[:1] != "_" and isinstance(member, property)
    }
)


@pytest.mark.parametrize("name", READ_ONLY)
async def test_what_can_only_be_read_of_a_connection_refuses_a_value_and_says_where_to_keep_it(
    name: str,
) -> None:
    handler = connection()
    before = getattr(handler, name) if name != "session" else None
    with pytest.raises(AttributeError, match=rf"'{name}' .* only be read; .*handler\.state\["):
        setattr(handler, name, "mine")
    handler.state[name] = "mine"  # as the error says
    assert handler.state[name] == "mine"
    if name not in ("session", "state", "log"):
        assert getattr(handler, name) == before


def test_what_the_package_reads_of_a_connection_is_among_what_cannot_be_set() -> None:
    assert {"phase", "entry", "work", "credential", "attached_session", "chat_answers"} <= {
        *READ_ONLY
    }
