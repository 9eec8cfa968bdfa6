"""`wsh.console()`: the server's console below a cell, and a link to it."""

from __future__ import annotations

import html
from urllib.parse import urlsplit

from ..client.servers import find_server

HEIGHT = 640
"""Pixels of the frame below a cell."""


class Console:
    """The console of a server, as the last line of a cell shows it.

    Args:
        url: Its address.
        height: Pixels of the frame that shows it; 0 for a link alone.

    Attributes:
        url: Its address, without a token.
    """

    def __init__(self, url: str, height: int) -> None:
        self.url = url
        self._height = height

    def __repr__(self) -> str:
        """Return a line with the address."""
        return f"<Console {self.url}>"

    def _repr_html_(self) -> str:
        """Return the console in a frame, and a link that opens it in a tab of its own."""
        if not self._height:
            return self._link(self.url)
        # A browser may know the server by another name, and has its login: the path is enough.
        path = urlsplit(self.url).path
        return (
            f'{self._link(path)}\n<iframe src="{html.escape(path)}" title="Console" width="100%" '
            f'height="{self._height}" style="border: 1px solid #8886; border-radius: 6px"></iframe>'
        )

    def _link(self, address: str) -> str:
        where = f'href="{html.escape(address)}" target="_blank" rel="noopener"'
        return f"<p><a {where}>Open the console in a tab of its own</a></p>"


def console(server: str | None = None, *, height: int = HEIGHT) -> Console:
    """Show the console of the server that this notebook runs in: what it does, in a browser.

    It is for whom the server lets look; see docs/console.md.

    Args:
        server: The base URL of another server, of which a cell shows a link alone; found as
            `connect` finds it where None.
        height: Pixels of the frame below the cell.

    Returns:
        What a cell shows as a frame, and a terminal as an address.

    Raises:
        ServerNotFound: There is none, or several and nothing that tells which.
        ValueError: `server` is no URL, or `height` no number of pixels.
    """
    if isinstance(height, bool) or not isinstance(height, int) or not 100 <= height <= 10_000:
        raise ValueError(f"height: expected pixels from 100 to 10000, found {height!r}")
    url = f"{find_server(server).url}wshandler/"
    return Console(url, height if server is None else 0)
