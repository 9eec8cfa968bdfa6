"""What authors who come from Tornado and Gramex reach for: it works, or says what to use."""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from .request import Request

_REQUIRED: Any = object()

_TOO_LATE = "the handshake is over when callbacks run; send a message instead"
_SIGNED = "its signing key is the server's; handler.session remembers things of a browser"

INSTEAD = {
    "argparse": "handler.args is a dict of lists, handler.get_argument() one value",
    "get_body_argument": "a WebSocket has no body; use handler.args, or the message",
    "get_body_arguments": "a WebSocket has no body; use handler.args, or the message",
    "get_current_user": "use handler.current_user",
    "get_secure_cookie": _SIGNED,
    "get_signed_cookie": _SIGNED,
    "set_secure_cookie": _SIGNED,
    "set_signed_cookie": _SIGNED,
    "set_cookie": _TOO_LATE + ", or use handler.session",
    "clear_cookie": _TOO_LATE + ", or use handler.session",
    "set_header": _TOO_LATE,
    "add_header": _TOO_LATE,
    "set_status": _TOO_LATE + ", or handler.close(code, reason)",
    "redirect": _TOO_LATE + "; the page can go there itself",
    "send_error": "use handler.close(code, reason)",
    "finish": "use handler.write_message(message) and handler.close()",
    "render": "use handler.write_message(message); a page is the route's `page:`",
    "render_string": "use handler.write_message(message); a page is the route's `page:`",
    "flush": "write_message() sends by itself; await it to wait for room",
    "check_origin": "the route's `origins:` decides, before callbacks run",
    "ws_connection": "use handler.closed, handler.ping() and handler.close()",
    "stream": "use handler.request.remote_ip for the address",
    "application": "callbacks know the connection, not the web application",
    "settings": "use handler.kwargs for the route's options",
    "info": "use handler.state",
}
"""Names of Tornado and Gramex that a connection does not have, and what to use."""


class Familiar:
    """The methods of Tornado's and Gramex's handlers that make sense on a connection.

    What a callback sets on its handler are entries of `state`. A name of the connection's own is
    refused, so that no author breaks a connection by a word: see `_Fixed` and `_no_value_for`.
    """

    __slots__ = ()

    if TYPE_CHECKING:
        request: Request

    # ---- the query and the cookies ---------------------------------------------------------

    def get_argument(self, name: str, default: Any = _REQUIRED, strip: bool = True) -> Any:
        """Return the last value of an argument of the query.

        Args:
            name: The argument's name.
            default: What to return where there is none.
            strip: Whether to leave out white space around it.

        Raises:
            LookupError: There is none, and no default.
        """
        values = self.get_arguments(name, strip)
        if values:
            return values[-1]
        if default is _REQUIRED:
            raise LookupError(f"the query has no argument {name!r}; give get_argument a default")
        return default

    def get_arguments(self, name: str, strip: bool = True) -> list[str]:
        """Return all values of an argument of the query.

        Args:
            name: The argument's name.
            strip: Whether to leave out white space around them.
        """
        values = self.request.arguments.get(name, [])
        return [value.strip() for value in values] if strip else values

    get_query_argument = get_argument
    get_query_arguments = get_arguments

    def get_cookie(self, name: str, default: str | None = None) -> str | None:
        """Return a cookie of the opening request; a kernel's bot is told of none.

        Args:
            name: The cookie's name.
            default: What to return where there is none.
        """
        return self.request.cookies.get(name, default)

    def set_nodelay(self, value: bool) -> None:
        """Do nothing: small messages leave at once on every connection (TCP_NODELAY).

        Args:
            value: What Tornado would be told.
        """

    # ---- attributes of one's own -----------------------------------------------------------

    # They stand in the `__dict__`, which is `state` once somebody has looked at that. There is no
    # `__getattr__` here: Python would look up every attribute of every connection the slow way.

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, member in tuple(vars(cls).items()):
            if name[:1] == "_" or name in HOT:
                continue
            if callable(member):
                setattr(cls, name, _Fixed(name, member))
            elif type(member) is property and member.fset is None:
                setattr(cls, name, member.setter(_no_value_for(name)))


HOT = frozenset({"data_received", "write_message", "writing_resumed"})
"""Methods that are called for each message, and that hardly anybody takes for a name of their own;
`state` refuses them."""


class _Fixed:
    """A method that one connection cannot have a value of its own in the place of.

    Whoever writes ``handler.cancel = True`` would take from the connection what ends it.

    Args:
        name: The method's name.
        function: The method.
    """

    __slots__ = ("_function", "_name")

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self._name = name
        self._function = function

    def __get__(self, connection: Any, kind: type | None = None) -> Any:
        return self._function if connection is None else MethodType(self._function, connection)

    def __set__(self, connection: Any, value: Any) -> None:
        raise AttributeError(
            f"{self._name!r} is a method of the connection; choose another name, or keep it as "
            f"handler.state[{self._name!r}]"
        )


def _no_value_for(name: str) -> Callable[[Any, Any], NoReturn]:
    """Return what refuses a value for what can only be read of a connection.

    A property stays a property: Python reads one without a call.

    Args:
        name: The property's name.
    """

    def refuse(connection: Any, value: Any) -> NoReturn:
        raise AttributeError(
            f"{name!r} of a connection can only be read; choose another name, or keep it as "
            f"handler.state[{name!r}]"
        )

    return refuse


class _Instead:
    """A name of Tornado's or Gramex's that a connection does not have, and what to use.

    Args:
        name: The name.
        hint: What to use.
    """

    __slots__ = ("_hint", "_name")

    def __init__(self, name: str, hint: str) -> None:
        self._name = name
        self._hint = hint

    def __get__(self, connection: Any, kind: type | None = None) -> NoReturn:
        raise AttributeError(f"the connection has no {self._name!r}; {self._hint}")


for _name, _hint in INSTEAD.items():
    setattr(Familiar, _name, _Instead(_name, _hint))
