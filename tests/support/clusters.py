"""Several real servers that stand together: a service with Sentinels, and a cluster."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from support.server import free_port, wait_for
from support.stores import Store, running_store

SHARED = ("shared_service", "shared_cluster")
"""Fixtures of what the tests of a session have in common; both can be told things, as a store."""

SERVICE = "rooms"
"""What the Sentinels call the service."""


def says(store: Store, words: str) -> bool:
    """Return whether a store says something of its replication; a Sentinel may have it hang up."""
    try:
        return words.encode() in store.say("INFO", "replication")
    except ConnectionError:
        return False


class Sentinel(Store):
    """One Sentinel.

    Args:
        kind: "redis" or "valkey".
        folder: Where its files are; it writes into them.
        primary: The port of the primary at the beginning.
    """

    flags = ("--sentinel",)

    def __init__(self, kind: str, folder: Path, primary: int) -> None:
        super().__init__(kind, folder)
        self._primary = primary

    def lines(self) -> list[str]:
        return [
            f"port {self.port}",
            "bind 127.0.0.1",
            f"dir {self.folder}",
            f"sentinel monitor {SERVICE} 127.0.0.1 {self._primary} 2",
            f"sentinel down-after-milliseconds {SERVICE} 5000",  # a busy machine may hold it up
            f"sentinel failover-timeout {SERVICE} 2000",
        ]


class Service:
    """A primary, its replica, and three Sentinels.

    Args:
        stores: The primary, and the replica.
        sentinels: The Sentinels.
    """

    def __init__(self, stores: list[Store], sentinels: list[Sentinel]) -> None:
        self.stores = stores
        self.sentinels = sentinels

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{one.port}" for one in self.sentinels)
        return f"redis+sentinel://{hosts}/{SERVICE}?db=0"

    def say(self, *words: str) -> bytes:
        """Send one command to the primary; see `Store.say`."""
        return self.primary.say(*words)

    @property
    def primary(self) -> Store:
        """The one that the Sentinels name."""
        port = self._named(self.sentinels[0])
        (found,) = [one for one in self.stores if one.port == port]
        return found

    def wait_for_copy(self, pattern: str) -> None:
        """Wait until the replica has a key of a pattern: then it hears of what is written.

        For a second after its link is up it may not: until it has acknowledged what it has copied.
        """
        primary = self.primary
        (replica,) = [one for one in self.stores if one is not primary]
        wait_for(lambda: replica.say("KEYS", pattern)[:2] != b"*0", 20, "a copy of what was stored")

    def _named(self, sentinel: Sentinel) -> int:
        reply = sentinel.say("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        return int(reply.split(b"\r\n")[4])

    def wait(self) -> None:
        """Wait until the replica has what the primary has, and every Sentinel knows of the rest."""
        wait_for(self._is_whole, 30, "a service that could fail over")

    def _is_whole(self) -> bool:
        for sentinel in self.sentinels:
            told = sentinel.say("INFO", "sentinel")
            if b"status=ok" not in told or b"slaves=1,sentinels=3" not in told:
                return False
        replicas = [one for one in self.stores if one is not self.primary]
        return all(says(one, "master_link_status:up") for one in replicas)

    def kill_primary(self) -> Store:
        """Kill the primary, which is noticed soon; return it."""
        for one in self.sentinels:
            one.say("SENTINEL", "SET", SERVICE, "down-after-milliseconds", "500")
        primary = self.primary
        primary.kill()
        return primary

    def wait_for_other(self, primary: Store) -> Store:
        """Return the primary that has taken the place of one."""
        wait_for(lambda: self.primary is not primary, 30, "a failover")
        found = self.primary
        wait_for(lambda: says(found, "role:master"), 10, "a primary")
        return found

    def mend(self) -> None:
        """Have one that was killed come back as the replica of the other."""
        for one in self.sentinels:
            one.say("SENTINEL", "SET", SERVICE, "down-after-milliseconds", "5000")
        primary = self.primary
        for one in self.stores:
            if one.process is not None and one.process.poll() is not None:
                one.options = (f"replicaof 127.0.0.1 {primary.port}",)
                one.start()
        self.wait()


@contextmanager
def running_service(kind: str) -> Iterator[Service]:
    """Start a primary, a replica and three Sentinels, and end them."""
    with ExitStack() as stack:
        primary = stack.enter_context(running_store(kind))
        replica = stack.enter_context(
            running_store(kind, f"replicaof 127.0.0.1 {primary.port}", "repl-ping-replica-period 1")
        )
        sentinels = []
        for _ in range(3):
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="wsh-sentinel-"))
            sentinel = Sentinel(kind, Path(folder), primary.port)
            stack.callback(sentinel.end)
            sentinel.start()
            sentinels.append(sentinel)
        service = Service([primary, replica], sentinels)
        service.wait()
        yield service


class ClusterOf:
    """A cluster of three primaries.

    Args:
        stores: The primaries.
    """

    def __init__(self, stores: list[Store]) -> None:
        self.primaries = stores
        self.ids = {one: id_of(one) for one in stores}

    @property
    def url(self) -> str:
        # One that is named is enough, and one that is not there any more does no harm.
        hosts = ",".join(f"127.0.0.1:{one.port}" for one in self.primaries[:2])
        return f"redis+cluster://{hosts}"

    def say(self, *words: str) -> bytes:
        """Send one command to all primaries, of which those answer that have what it is about."""
        replies = [one.say(*words) for one in self.primaries]
        return b"".join(reply for reply in replies if not reply.startswith(b"-MOVED")) or replies[0]

    def owner(self, slot: int) -> Store:
        """Return the primary that serves a slot."""
        for line in self._told(self.primaries[1]):
            parts = line.split()
            if "master" not in parts[2]:
                continue
            for some in parts[8:]:
                first, _, last = some.partition("-")
                if not some.startswith("[") and int(first) <= slot <= int(last or first):
                    (found,) = [one for one, name in self.ids.items() if name == parts[0]]
                    return found
        raise AssertionError(f"nobody serves slot {slot}")

    @staticmethod
    def _told(store: Store) -> list[str]:
        reply = store.say("CLUSTER", "NODES").decode()
        return [line for line in reply.split("\n")[1:] if " " in line]

    def wait(self) -> None:
        """Wait until all say that the cluster is whole."""
        wait_for(self._is_whole, 40, "a cluster that is whole")

    def _is_whole(self) -> bool:
        return all(
            b"cluster_state:ok" in one.say("CLUSTER", "INFO")
            and len(self._told(one)) == len(self.ids)
            for one in self.ids
        )

    def clean(self) -> None:
        """Empty it, and give up every move of a slot: a test before this one may have failed.

        All rooms of a name have one slot, whatever the prefix of their deployment is.
        """
        for store in self.primaries:
            for line in self._told(store):
                for some in line.split()[8:]:
                    if some.startswith("["):  # [slot->-to] or [slot-<-from]
                        slot = some[1:].partition("-")[0]
                        self._do(store, "CLUSTER", "SETSLOT", slot, "STABLE")
        for store in self.primaries:
            self._do(store, "FLUSHALL")
            self._do(store, "CONFIG", "RESETSTAT")

    def meet(self, store: Store) -> None:
        """Have another server be one of the cluster."""
        (port,) = [one.split()[1] for one in store.options if one.startswith("cluster-port")]
        self.primaries[0].say("CLUSTER", "MEET", "127.0.0.1", str(store.port), port)
        self.ids[store] = id_of(store)

    @contextmanager
    def replica_of(self, primary: Store) -> Iterator[Store]:
        """Give a primary a replica, which takes its place soon after it has died."""
        with running_store(primary.kind, *clustered()) as replica:
            self.meet(replica)
            words = ("CLUSTER", "REPLICATE", self.ids[primary])
            wait_for(lambda: replica.say(*words)[:1] == b"+", 20, "a replica that was met")
            up = b"master_link_status:up"
            wait_for(lambda: up in replica.say("INFO", "replication"), 20, "a replica that has all")
            self.wait()
            for one in self.ids:
                one.say("CONFIG", "SET", "cluster-node-timeout", "500")
            yield replica

    def give_back(self, primary: Store, replica: Store) -> None:
        """Have a primary that was killed take over again from the replica that it was given."""
        primary.start()
        up = b"master_link_status:up"
        wait_for(lambda: up in primary.say("INFO", "replication"), 30, "one that is back")
        primary.say("CLUSTER", "FAILOVER")
        role = b"role:slave"
        wait_for(lambda: role in replica.say("INFO", "replication"), 30, "a replica as before")
        name = self.ids.pop(replica)
        replica.kill()
        for one in self.ids:
            one.say("CLUSTER", "FORGET", name)
            one.say("CONFIG", "SET", "cluster-node-timeout", "5000")
        self.wait()

    def begin_move(self, slot: int, source: Store, target: Store) -> None:
        """Begin to move a slot, as `redis-cli --cluster reshard` does."""
        self._do(target, "CLUSTER", "SETSLOT", str(slot), "IMPORTING", self.ids[source])
        self._do(source, "CLUSTER", "SETSLOT", str(slot), "MIGRATING", self.ids[target])

    def move_keys(self, slot: int, source: Store, target: Store, count: int = 1000) -> int:
        """Move keys of a slot; return how many."""
        reply = source.say("CLUSTER", "GETKEYSINSLOT", str(slot), str(count)).decode()
        keys = [line for line in reply.split("\r\n")[1:] if line and not line.startswith("$")]
        for key in keys:
            self._do(source, "MIGRATE", "127.0.0.1", str(target.port), key, "0", "5000")
        return len(keys)

    def end_move(self, slot: int, source: Store, target: Store) -> None:
        """Have a slot served by the other one."""
        for one in (target, source, *self.primaries):
            self._do(one, "CLUSTER", "SETSLOT", str(slot), "NODE", self.ids[target])

    def move(self, slot: int, target: Store) -> None:
        """Move a slot and all that is in it."""
        source = self.owner(slot)
        if source is target:
            return
        self.begin_move(slot, source, target)
        while self.move_keys(slot, source, target):
            pass
        self.end_move(slot, source, target)

    @staticmethod
    def _do(store: Store, *words: str) -> None:
        reply = store.say(*words)
        assert reply[:1] == b"+", reply


def id_of(store: Store) -> str:
    """Return what a server of a cluster calls itself."""
    return store.say("CLUSTER", "MYID").split(b"\r\n")[1].decode()


def clustered() -> list[str]:
    """Return the lines of a configuration that make a server one of a cluster."""
    return [
        "cluster-enabled yes",
        f"cluster-port {free_port()}",
        "cluster-node-timeout 5000",  # a busy machine may hold a server up
        "repl-diskless-sync-delay 0",
    ]


@contextmanager
def running_cluster(kind: str) -> Iterator[ClusterOf]:
    """Start three primaries, have them be a cluster, and end them."""
    with ExitStack() as stack:
        stores = [stack.enter_context(running_store(kind, *clustered())) for _ in range(3)]
        cluster = ClusterOf(stores)
        bounds = (0, 5461, 10923, 16384)
        for number, store in enumerate(stores):
            last = str(bounds[number + 1] - 1)
            store.say("CLUSTER", "ADDSLOTSRANGE", str(bounds[number]), last)
            store.say("CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
        for store in stores[1:]:
            cluster.meet(store)
        cluster.wait()
        yield cluster
