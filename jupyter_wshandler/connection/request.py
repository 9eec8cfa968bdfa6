"""The opening request as callbacks see it: read-only, and small for as long as it is kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from urllib.parse import parse_qs, unquote_plus

SECRET_ARGUMENTS = frozenset({"token", "ws_token", "share_token", "_xsrf"})
"""Arguments of the query that prove an identity to Jupyter or to this package. No bot sees them: it
might store them, send them on, or answer with them."""


class Headers(Mapping[str, str]):
    """Header fields by name, in any case; repeated fields are joined with a comma.

    Args:
        pairs: Names and values as they came.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._fields: dict[str, str] = {}
        self._names: dict[str, str] = {}
        for name, value in pairs:
            key = name.lower()
            if key in self._fields:
                self._fields[key] += "," + value
            else:
                self._fields[key] = value
                self._names[key] = name

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names.values())

    def __len__(self) -> int:
        return len(self._fields)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._fields

    def __repr__(self) -> str:
        # Values may hold credentials, and a repr ends in logs.
        return f"<Headers {', '.join(self)}>"


class Request:
    """The opening request of a connection.

    Header fields are kept as one string and parsed when they are asked for: most connections
    live long and never ask.

    Args:
        headers: Names and values as they came.
        uri: Path and query as the client sent them. Credentials in the query are left out of
            what callbacks see; `_whole_uri` keeps them, for whoever asks about a login again.
        remote_ip: The peer's address (the client's behind a trusted proxy).
        protocol: "http" or "https", as the client used it.
        host: The host the client asked for.
    """

    __slots__ = ("_head", "_whole_uri", "host", "protocol", "remote_ip", "uri")

    def __init__(
        self,
        headers: Iterable[tuple[str, str]] = (),
        uri: str = "/",
        remote_ip: str = "",
        protocol: str = "http",
        host: str = "",
    ) -> None:
        self._head = "\n".join(f"{name}:{value}" for name, value in headers)
        self._whole_uri = uri
        self.uri = without_secrets(uri)
        self.remote_ip = remote_ip
        self.protocol = protocol
        self.host = host

    @property
    def headers(self) -> Headers:
        """The header fields."""
        lines = self._head.split("\n") if self._head else []
        return Headers((line.partition(":")[0], line.partition(":")[2]) for line in lines)

    @property
    def path(self) -> str:
        """The path, as the client sent it (still percent-encoded)."""
        return self.uri.partition("?")[0]

    @property
    def query(self) -> str:
        """What follows the question mark."""
        return self.uri.partition("?")[2]

    @property
    def arguments(self) -> dict[str, list[str]]:
        """The query's arguments, each a list of values (UTF-8); no credentials of Jupyter's."""
        return parse_qs(self.query, keep_blank_values=True)

    @property
    def cookies(self) -> Mapping[str, str]:
        """The cookies by name; one that is malformed takes no others with it."""
        from tornado.httputil import parse_cookie

        return MappingProxyType(parse_cookie(self.headers.get("Cookie", "")))

    def __repr__(self) -> str:
        # The query and the header fields may hold credentials.
        return f"<Request {self.path} from {self.remote_ip}>"


def without_secrets(uri: str) -> str:
    """Return a path with its query, but for arguments that are credentials; see `SECRET_ARGUMENTS`.

    Args:
        uri: Path and query; what is kept stays as it is spelled.
    """
    path, mark, query = uri.partition("?")
    if not mark:
        return uri
    pairs = query.split("&")
    kept = [pair for pair in pairs if unquote_plus(pair.partition("=")[0]) not in SECRET_ARGUMENTS]
    if len(kept) == len(pairs):
        return uri
    return f"{path}?{'&'.join(kept)}" if kept else path
