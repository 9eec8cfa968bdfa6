"""Who is next for a thread: routes in turn, and of each route its users in turn.

One route whose calls are slow, or one user who sends many, must not keep the threads from all
others; so neither may hold more than a share of them. Nor must several together: what is left of
the threads is for routes that hold none yet, and of a route's part for its users who hold none.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from typing import Generic, NamedTuple, Protocol, TypeVar

SHARE = 0.75
"""Part of the shared threads that one route, or one user, may hold; of a route's part, that one
user may hold. The rest has to be kept free beforehand: a thread cannot be taken from a function
that runs in it, so nobody can be let in later at the expense of who has too much."""

FEW = 8
"""Threads below which none is kept for routes and users that hold none: of a few, one that stands
idle while calls wait costs more than it protects."""

ASKING_SHARE = 0.5
"""Part of any threads that functions of handshakes may hold: who is in comes first."""


class Owner(NamedTuple):
    """Whose call it is.

    Attributes:
        route: The route's name.
        user: Names the user, or the address of a visitor without a login.
        asking: Whether it takes part in a handshake, such as a route's `condition`.
    """

    route: str
    user: str
    asking: bool = False


NOBODY = Owner("", "")
"""Whose the calls are that count for nobody."""


class Owned(Protocol):
    """A call that has an owner."""

    @property
    def owner(self) -> Owner:
        """Whose call it is."""


J = TypeVar("J", bound=Owned)


class Shares:
    """How many threads each route and each user holds, counted.

    One thread can always be held. Of what a route may hold, one user of it may hold only a share
    again: so the others of the route find one free, and so do the user's own other routes. Once the
    threads, or those of a route, are held up to the share, only who holds none gets one more. Of
    threads that are not shared, too, the handshakes that are going on hold a part only.

    Args:
        size: How many threads there are.
        shared: Whether there is a share at all: the threads may be one route's own.
    """

    __slots__ = (
        "_askers",
        "_asking",
        "_counts",
        "_held",
        "_of_all",
        "_of_route",
        "_owners",
        "_routes",
        "_users",
        "most",
        "most_asking",
        "most_asking_of_one",
        "most_of_owner",
    )

    def __init__(self, size: int, *, shared: bool) -> None:
        self._counts = shared
        self.most = max(1, int(size * SHARE)) if shared else size
        self.most_of_owner = max(1, int(self.most * SHARE)) if shared else size
        # Past these a route or user gets a thread only where it holds none. A small pool keeps none
        # back for that: it would lose too large a part of its threads.
        self._of_all = self.most if size >= FEW else size
        self._of_route = self.most_of_owner if size >= FEW else size
        self._held = 0
        self.most_asking = max(1, int(size * ASKING_SHARE))
        self.most_asking_of_one = max(1, int(self.most_asking * SHARE)) if shared else size
        self._asking = 0
        self._askers: Counter[tuple[str, str]] = Counter()  # by route, and by user
        self._routes: dict[str, int] = {}
        self._users: dict[str, int] = {}
        self._owners: dict[Owner, int] = {}

    def allow_route(self, route: str) -> bool:
        """Return whether a route may hold one thread more."""
        of_route = self._routes.get(route, 0)
        return of_route < self.most and (self._held < self._of_all or not of_route)

    def allow(self, owner: Owner) -> bool:
        """Return whether an owner may hold one thread more."""
        if owner.asking:
            if not self._allow_asker(owner):
                return False
            owner = Owner(owner.route, owner.user)
        if not self._counts or not owner.route:
            return True
        of_route = self._routes.get(owner.route, 0)
        of_owner = self._owners.get(owner, 0)
        return (
            of_route < self.most
            and of_owner < self.most_of_owner
            and self._users.get(owner.user, 0) < self.most
            and (self._held < self._of_all or not of_route)
            and (of_route < self._of_route or not of_owner)
        )

    def allow_asking(self, route: str) -> bool:
        """Return whether handshakes of a route may hold one thread more."""
        askers = self._askers["route", route] if route else 0
        return self._asking < self.most_asking and askers < self.most_asking_of_one

    def _allow_asker(self, owner: Owner) -> bool:
        return (
            self.allow_asking(owner.route)
            and self._askers["user", owner.user] < self.most_asking_of_one
        )

    def _count_asker(self, owner: Owner, more: int) -> None:
        self._asking += more
        for key in (("route", owner.route), ("user", owner.user)):
            self._askers[key] += more
            if not self._askers[key]:
                del self._askers[key]

    def take(self, owner: Owner) -> bool:
        """Count one thread more, if the route and the user may hold it; return whether they may.

        Each call comes by here, so it is written for speed: as `give_back` is.
        """
        route, user, asking = owner
        if asking:
            if not self._allow_asker(owner):
                return False
            owner = Owner(route, user)
        if not self._counts or not route:
            if asking:
                self._count_asker(owner, 1)
            return True
        of_route = self._routes.get(route, 0)
        of_user = self._users.get(user, 0)
        of_owner = self._owners.get(owner, 0)
        if of_route >= self.most or of_user >= self.most or of_owner >= self.most_of_owner:
            return False
        if of_route and (self._held >= self._of_all or (of_owner and of_route >= self._of_route)):
            return False
        self._held += 1
        if asking:
            self._count_asker(owner, 1)
        self._routes[route] = of_route + 1
        self._users[user] = of_user + 1
        self._owners[owner] = of_owner + 1
        return True

    def pass_on(self, owner: Owner, following: Owner) -> bool:
        """Count a thread for another owner than before; return False where that may not hold it.

        Args:
            owner: Who holds the thread; no handshake, like the other.
            following: Who is to hold it.
        """
        self.give_back(owner)
        if self.take(following):
            return True
        if self._counts and owner.route:  # it holds it still, whatever it might take now
            self._held += 1
            self._routes[owner.route] = self._routes.get(owner.route, 0) + 1
            self._users[owner.user] = self._users.get(owner.user, 0) + 1
            self._owners[owner] = self._owners.get(owner, 0) + 1
        return False

    def give_back(self, owner: Owner) -> None:
        """Count one thread less."""
        route, user, asking = owner
        if asking:
            owner = Owner(route, user)
            self._count_asker(owner, -1)
        if not self._counts or not route:
            return
        self._held -= 1
        # Names of routes and users come and go: none stays that holds nothing.
        if (left := self._routes[route] - 1) > 0:
            self._routes[route] = left
        else:
            del self._routes[route]
        if (left := self._users[user] - 1) > 0:
            self._users[user] = left
        else:
            del self._users[user]
        if (left := self._owners[owner] - 1) > 0:
            self._owners[owner] = left
        else:
            del self._owners[owner]


class Line(Generic[J]):
    """The calls that wait for a thread; each route and each user of it has a line.

    The handshakes of a route have lines of their own, which take turns with those of its
    connections: however many knock, who is in need not wait for all of them.
    """

    def __init__(self) -> None:
        self._routes: OrderedDict[tuple[str, bool], OrderedDict[str, deque[J]]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[J]:
        for users in self._routes.values():
            for jobs in users.values():
                yield from jobs

    def add(self, job: J) -> None:
        """Put a call at the end of its owner's line."""
        users = self._routes.setdefault((job.owner.route, job.owner.asking), OrderedDict())
        users.setdefault(job.owner.user, deque()).append(job)
        self._count += 1

    def next(self, shares: Shares) -> J | None:
        """Return the next call whose route and user may hold a thread; None where there is none.

        Args:
            shares: What they hold now.
        """
        for line, users in self._routes.items():
            route, asking = line
            if asking and not shares.allow_asking(route):
                continue
            if route and not shares.allow_route(route):
                continue
            for jobs in users.values():
                if shares.allow(jobs[0].owner):
                    return jobs[0]
        return None

    def remove(self, job: J) -> None:
        """Take a call out; of those that stay its route and its user are the last in turn."""
        route, user, asking = job.owner
        line = (route, asking)
        users = self._routes[line]
        users[user].remove(job)
        self._count -= 1
        users.move_to_end(user)
        self._routes.move_to_end(line)
        self._tidy(job.owner)

    def clear(self) -> None:
        """Forget them all."""
        self._routes.clear()
        self._count = 0

    def _tidy(self, owner: Owner) -> None:
        users = self._routes[owner.route, owner.asking]
        if not users[owner.user]:
            del users[owner.user]
        if not users:
            del self._routes[owner.route, owner.asking]
