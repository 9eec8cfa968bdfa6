"""What a store says of itself, and whether it will do."""

from __future__ import annotations

from typing import NamedTuple

from ...errors import BackplaneError

FLOOR = (7, 0)
"""The oldest version of Redis whose scripts have flags, and are not handed on to replicas."""


class Facts(NamedTuple):
    """What a store says of itself in INFO."""

    name: str = ""
    """"Redis" or "Valkey", with its version."""
    version: tuple[int, ...] = ()
    run_id: str = ""
    """Names one life of its process."""
    role: str = ""
    promotion: str = ""
    """Names what it was a replica of before it was made the primary; empty where it was none."""
    is_cluster: bool = False
    is_sentinel: bool = False
    memory_limit: int = 0
    """Bytes that it may take; 0 for no limit."""
    policy: str = ""
    """What it does when these are full."""

    @property
    def life(self) -> str:
        """Names the time in which what it has acknowledged is all that there is.

        One life of its process is not enough: a primary that was made a replica, and then the
        primary again, has in between become a copy of another one that lagged behind it.
        """
        return self.run_id + self.promotion

    def check(self, in_cluster: bool = False, *, is_found: bool = False) -> None:
        """Check that rooms, sessions and shares can stand on it.

        Args:
            in_cluster: Whether it has to be one of a cluster.
            is_found: Whether Sentinels have named it, and not an administrator.

        Raises:
            BackplaneError: They cannot; says why, and what to do.
        """
        if self.is_sentinel:
            raise BackplaneError(
                "expected a store, found a Sentinel; write redis+sentinel://HOST:PORT/SERVICE"
            )
        if self.version < FLOOR:
            raise BackplaneError(
                f"expected Redis 7.0, Valkey 7.2, or a newer one, found {self.name or 'no version'}"
            )
        if self.is_cluster and not in_cluster:
            raise BackplaneError(
                "expected a server alone, found one of a cluster; write redis+cluster://"
            )
        if in_cluster and not self.is_cluster:
            raise BackplaneError("expected a server of a cluster, found one that is alone")
        if self.role != "master":
            why = (
                "it takes nothing, and the Sentinels will name another one in a moment"
                if is_found
                else "it takes no sessions and shares, and what is published to it reaches nobody "
                "else; name the primary's address"
            )
            raise BackplaneError(
                f"expected a primary, found a {self.role or 'store without a role'}: {why}"
            )
        if not self.life.isalnum():
            raise BackplaneError("expected a run_id in the answer to INFO, found none")

    def advice(self) -> list[str]:
        """Return what an administrator should know of it that is no error."""
        if self.memory_limit and self.policy not in ("noeviction", ""):
            return [
                f"its maxmemory-policy is {self.policy}: when it is full it forgets rooms that are "
                "in use, and a slow subscriber's buffer counts as full, too; noeviction refuses "
                "new messages instead, and says so"
            ]
        return []


def read_facts(info: bytes) -> Facts:
    """Read the answer to INFO."""
    found: dict[str, str] = {}
    for line in info.decode("utf-8", "replace").splitlines():
        key, colon, value = line.partition(":")
        if colon:
            found[key] = value.strip()
    is_valkey = "valkey_version" in found
    version = found.get("valkey_version" if is_valkey else "redis_version", "")
    numbers = tuple(int(part) for part in version.split(".") if part.isdecimal())
    limit = found.get("maxmemory", "")
    return Facts(
        name=f"{'Valkey' if is_valkey else 'Redis'} {version}" if version else "",
        version=numbers,
        run_id=found.get("run_id", ""),
        role=found.get("role", ""),
        promotion=found.get("master_replid2", "").strip("0")[:16],
        is_cluster=found.get("cluster_enabled") == "1",
        is_sentinel=found.get("redis_mode", found.get("server_mode", "")) == "sentinel",
        memory_limit=int(limit) if limit.isdecimal() else 0,
        policy=found.get("maxmemory_policy", ""),
    )
