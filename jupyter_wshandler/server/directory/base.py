"""What the addresses of the directory have in common, for people and for servers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tornado.web import HTTPError

from ..api.base import ApiHandler
from .errors import NotShared, NotStored, ServerStopped
from .hub import HubSilent
from .service import Directory

HUB_SILENT = "the Hub cannot be asked now; try again"


class DirectoryHandler(ApiHandler):
    """One address of the directory."""

    directory: Directory

    def initialize(self, services: Any, directory: Directory) -> None:  # type: ignore[override]
        """Take what the handlers share.

        Args:
            services: What the handlers share.
            directory: The directory.
        """
        super().initialize(services)
        self.directory = directory

    @contextmanager
    def in_words(self) -> Iterator[None]:
        """Turn what the directory raises into answers with a sentence."""
        try:
            yield
        except NotShared as refusal:
            status = 503 if isinstance(refusal, ServerStopped) else 403
            raise HTTPError(status, refusal.sentence) from None
        except HubSilent as silent:
            self.directory.note_silence(silent.sentence)
            raise HTTPError(503, HUB_SILENT) from None
        except NotStored as failure:
            raise HTTPError(503, failure.sentence) from None
