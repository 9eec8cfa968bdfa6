"""What tests of shares do: share a route over REST, and come by the link."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

API = "/wshandler/api/shares"


def share(server, **asked) -> dict:
    """Share a route as its owner does; return the server's answer."""
    status, _, body = ask(server, "POST", API, asked)
    assert status == 201, body
    return json.loads(body)


def ask(server, method, path, value=None, **options):
    """Send a request of the API; return status, header and body."""
    data = None if value is None else json.dumps(value).encode()
    headers = {"Content-Type": "application/json"} if data else {}
    return server.fetch(path, method=method, headers=headers, data=data, **options)


def shares(server, query: str = "") -> list[dict]:
    """Return what is shared."""
    status, _, body = ask(server, "GET", API + query)
    assert status == 200, body
    return json.loads(body)["shares"]


def revoke(server, share_id: str) -> int:
    """Revoke a share; return the status."""
    return ask(server, "DELETE", f"{API}/{share_id}")[0]


def token_of(shared: dict) -> str:
    """Return the token in a share's link."""
    return parse_qs(urlsplit(shared["url"]).query)["share_token"][0]


def bearer(shared: dict) -> dict[str, str]:
    """Return the header by which a script comes."""
    return {"Authorization": f"Bearer {token_of(shared)}"}


def opened(server, shared: dict, path: str, **options):
    """Return an answer to the link as a browser opens it, without following the redirect."""
    headers = {"Accept": "text/html", **options.pop("headers", {})}
    return server.fetch(f"{path}?share_token={token_of(shared)}", token=False, headers=headers)


def cookie_of(server, shared: dict, path: str) -> str:
    """Open a link as a browser does; return the Cookie field that it sends from then on."""
    status, head, body = opened(server, shared, path)
    assert status == 302, body
    return head["Set-Cookie"].partition(";")[0]
