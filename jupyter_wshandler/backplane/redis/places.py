"""Where a URL says that a store is: a server, a service that Sentinels watch over, or a cluster."""

from __future__ import annotations

from .address import Address
from .cluster import Cluster
from .sentinel import ASK, Sentinels


def place_of(url: str, seconds: float = ASK) -> Address | Sentinels | Cluster:
    """Return where a store is.

    Args:
        url: redis://, rediss:// or unix:// is a server, redis+sentinel:// a service that Sentinels
            watch over, redis+cluster:// a cluster; rediss+sentinel:// and rediss+cluster:// are
            these with TLS.
        seconds: How long a server is waited for that is asked where the store is.

    Raises:
        ValueError: It is none; the text never holds the URL's user or password.
    """
    scheme = url.partition("://")[0].lower()
    if scheme in ("redis+sentinel", "rediss+sentinel"):
        return Sentinels(url, seconds)
    if scheme in ("redis+cluster", "rediss+cluster"):
        return Cluster(url, seconds)
    return Address(url)
