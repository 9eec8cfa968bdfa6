"""What an administrator may say about where sessions and shares are kept."""

from __future__ import annotations

import hmac
from collections.abc import Callable

from jupyter_core.paths import jupyter_data_dir
from traitlets import Unicode, default

from ..backplane.choose import is_store
from ..sessions.manager import SessionManager
from ..sessions.stores import open_store
from .roomtraits import RoomTraits

BACKPLANE = "backplane"
"""The setting that means the backplane's own store."""


class StoreTraits(RoomTraits):
    """What an administrator may say about where sessions and shares are kept."""

    session_store = Unicode(
        help="""Where sessions are kept, and shares beside them: "memory://", "sqlite:///path", the
        URL of Redis or Valkey as of `backplane`, or "backplane" for what that names. The default
        is a SQLite file in Jupyter's data directory; use memory:// for home folders on NFS."""
    ).tag(config=True)

    @default("session_store")
    def _default_session_store(self) -> str:
        return file_in_data_dir()

    def store_url(self) -> str:
        """Return the URL of the store; "memory://", and no routes are served, where it is wrong."""
        url = self.backplane if self.session_store == BACKPLANE else self.session_store
        try:
            if self.session_store == BACKPLANE and not is_store(url):
                raise ValueError(
                    'expected a backplane for "backplane", found none; name one with '
                    "c.WSHandlerApp.backplane or $WSHANDLER_BACKPLANE"
                )
            open_store(url, prefix=self.backplane_prefix)  # which opens nothing yet
        except ValueError as error:
            self.misconfigured = self.misconfigured or f"c.WSHandlerApp.session_store: {error}"
            return "memory://"
        return url

    def sessions(self) -> Callable[[], SessionManager]:
        """Return what opens the sessions; a wrong setting is found now."""
        url = self.store_url()

        def open_them() -> SessionManager:
            store = open_store(url, log=self.log, prefix=self.backplane_prefix)
            return SessionManager(store, log=self.log, probes=is_store(url))

        return open_them

    def expect_same(self, cookie_secret: bytes) -> dict[str, str]:
        """Return what has to be the same on all servers with this store, as a digest of each.

        Args:
            cookie_secret: What this one signs cookies with. Two bytes of its digest tell others
                apart, and tell nobody who reads them what it is.
        """
        if not is_store(self.store_url()):
            return {}
        digest = hmac.digest(cookie_secret, b"wshandler nodes", "sha256")
        return {"c.ServerApp.cookie_secret": digest[:2].hex()}

    def file_store(self) -> str:
        """Return the URL of a store of this server alone, for what no other one has to know."""
        url = self.store_url()
        return file_in_data_dir() if is_store(url) else url


def file_in_data_dir() -> str:
    """Return the URL of a SQLite file in Jupyter's data directory."""
    return f"sqlite:///{jupyter_data_dir()}/wshandler-sessions.db"
