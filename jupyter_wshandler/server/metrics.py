"""The manager's counters in Jupyter's own /metrics (Prometheus text format)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import REGISTRY
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from ..backplane.measures import STATES, Histogram
from ..kernels.bridge import KernelBridge
from ..manager.manager import WebSocketManager
from ..rooms.parts import ManagersRooms
from .access.guests import Guests
from .traffic import Traffic


class ManagerCollector(Collector):
    """A manager's numbers, as they are when Prometheus asks for them.

    Args:
        manager: Whose numbers.
        guests: Those who have come by a share.
        traffic: Counts messages; None where nothing does.

    Attributes:
        kernels: Returns the bridges to kernels that have bots.
    """

    def __init__(
        self, manager: WebSocketManager, guests: Guests, traffic: Traffic | None = None
    ) -> None:
        self._manager = manager
        self._guests = guests
        self._traffic = traffic
        self.kernels: Callable[[], Iterable[KernelBridge]] = tuple

    def register(self) -> bool:
        """Join Jupyter's metrics; return whether that could be done.

        It cannot where another server of this process shows the same names already.
        """
        try:
            REGISTRY.register(self)
        except ValueError:
            return False
        return True

    def unregister(self) -> None:
        """Leave Jupyter's metrics."""
        REGISTRY.unregister(self)

    def collect(self) -> Iterator[Metric]:
        """Yield every metric with its present values."""
        metrics = self._manager.metrics
        open_: Counter[str] = Counter()
        dropped, limited = Counter(metrics.dropped), Counter(metrics.rate_limited)
        for connection in list(self._manager.connections.values()):
            open_[connection.route] += 1
            dropped[connection.route] += connection.dropped
            limited[connection.route] += connection.rate_limited
        gauge = GaugeMetricFamily("wshandler_connections", "Open connections", labels=["route"])
        for route in self._manager.table:
            gauge.add_metric([route.name], open_[route.name])
        yield gauge
        yield _counter("connections_opened", "Connections that were opened", metrics.opened)
        yield _counter("messages_dropped", "Messages that were not sent to slow clients", dropped)
        yield _counter("messages_rate_limited", "Messages refused by a route's rate limit", limited)
        yield _counter(
            "messages_unhandled", "Messages dropped as their client was lost", metrics.unhandled
        )
        yield _counter("callback_errors", "Callbacks that failed", metrics.errors)
        yield _counter("connections_closed", "Connections that ended", metrics.closed, "code")
        yield _counter("requests_refused", "Requests that were refused", metrics.refused, "status")
        away = Counter(c.route for c in list(self._manager.connections.values()) if c.away)
        gauge = GaugeMetricFamily(
            "wshandler_connections_away", "Those whose client is away", labels=["route"]
        )
        for route in self._manager.table:
            gauge.add_metric([route.name], away[route.name])
        yield gauge
        yield _counter("resumes", "Clients that came back", metrics.resumes, "result")
        yield from self._of_queues()
        yield from _of_traffic(self._traffic or Traffic())
        yield from _of_kernels(list(self.kernels()))
        yield from self._of_shares()
        text = "Questions whether the login of open connections still holds"
        rechecks = CounterMetricFamily("wshandler_rechecks", text, labels=["result"])
        for result, count in list(metrics.rechecks.items()):
            rechecks.add_metric([result], count)
        yield rechecks
        hangs = CounterMetricFamily(
            "wshandler_session_store_hangs", "Times that the session store did not answer for 2 s"
        )
        sessions = getattr(self._manager, "sessions", None)  # there once it has started
        hangs.add_metric([], 0 if sessions is None else sessions.hangs)
        yield hangs
        lags = self._manager.clock.lags
        yield _histogram("event_loop_lag_seconds", "How late the event loop was for a timer", lags)
        rooms = GaugeMetricFamily("wshandler_rooms", "Rooms with members here", labels=["space"])
        for space, count in self._manager.rooms.sizes().items():
            rooms.add_metric([space], count)
        yield rooms
        yield from _of_backplane(self._manager.rooms)

    def _of_queues(self) -> Iterator[Metric]:
        waiting: Counter[str] = Counter()
        frames: Counter[str] = Counter()
        size: Counter[str] = Counter()
        for connection in list(self._manager.connections.values()):
            counts = connection.queue_counts()
            waiting[connection.route] += counts.waiting
            frames[connection.route] += counts.frames
            size[connection.route] += counts.bytes
        for name, text, values in (
            ("inbox_messages", "Messages that wait for their callback", waiting),
            ("queue_messages", "Messages that wait for their client", frames),
            ("queue_bytes", "Bytes in them", size),
        ):
            family = GaugeMetricFamily(f"wshandler_{name}", text, labels=["route"])
            for route in self._manager.table:
                family.add_metric([route.name], values[route.name])
            yield family

    def _of_shares(self) -> Iterator[Metric]:
        shares = Counter(share.route for share in self._guests.book.shares())
        guests = self._guests.count()
        known = GaugeMetricFamily("wshandler_shares", "Shares that are open", labels=["route"])
        there = GaugeMetricFamily("wshandler_guests", "Guests who are there", labels=["route"])
        for name in sorted({*shares, *(route.name for route in self._manager.table)}):
            known.add_metric([name], shares[name])
            there.add_metric([name], guests[name])
        yield known
        yield there
        metrics = self._manager.metrics
        yield _counter("share_uses", "Guests who have come by a share", metrics.share_uses)
        refused = metrics.guests_refused
        yield _counter("guests_refused", "Guests who were refused", refused, "reason")


BACKPLANE = {
    "up": ("gauge", "Whether the backplane can be used"),
    "lag_seconds": ("gauge", "Seconds that a message of this server takes to come back to it"),
    "channels": ("gauge", "Rooms that this server hears"),
    "publishing": ("gauge", "Messages of this server whose number is not known yet"),
    "outbox_messages": ("gauge", "Messages and commands that wait until the backplane is back"),
    "outbox_bytes": ("gauge", "Bytes in them"),
    "breaks": ("counter", "Times that the backplane was lost"),
    "resubscriptions": ("counter", "Rooms that were subscribed to again after a break"),
    "gaps": ("counter", "Gaps that were seen in what it told"),
    "messages_filled": ("counter", "Messages that were missed and read from the history"),
    "rooms_missed": ("counter", "Times that messages of a room were missed for good"),
    "epochs_changed": ("counter", "Times that the history of a room has begun anew"),
    "messages_lost": ("counter", "Messages that reached the connections of this server only"),
}

PUBLISH = "Seconds until the backplane has a message that is published here"


def _of_backplane(rooms: ManagersRooms) -> Iterator[Metric]:
    known = rooms.counts() or {"up": 1.0}  # a server alone is always there
    for name, (kind, text) in BACKPLANE.items():
        whole, value = f"wshandler_backplane_{name}", known.get(name, 0.0)
        if kind == "gauge":
            yield GaugeMetricFamily(whole, text, value=value)
        else:
            yield CounterMetricFamily(whole, text, value=value)
    text = "1 for how this server stands to the others, 0 for the rest"
    states = GaugeMetricFamily("wshandler_backplane_state", text, labels=["state"])
    for state in STATES:
        states.add_metric([state], float(rooms.state == state))
    yield states
    times = rooms.publish_times or Histogram()
    yield _histogram("backplane_publish_seconds", PUBLISH, times)


def _of_traffic(traffic: Traffic) -> Iterator[Metric]:
    yield _counter("messages", "Messages, in and out", traffic.messages, "way")
    yield _counter("message_bytes", "Bytes in them", traffic.bytes, "way")
    text = "Seconds from the arrival of a message until its callback has ended"
    family = HistogramMetricFamily("wshandler_message_seconds", text, labels=["route"])
    for route, values in list(traffic.seconds.items()):
        family.add_metric([route], values.buckets(), sum_value=values.sum)
    yield family


def _of_kernels(bridges: list[KernelBridge]) -> Iterator[Metric]:
    stalled = max((bridge.stalled for bridge in bridges), default=0.0)
    for name, text, value in (
        ("kernels", "Kernels with bots", len(bridges)),
        ("kernels_busy", "Those that take no new connections", sum(b.busy for b in bridges)),
        ("kernel_stalled_seconds", "Seconds since the slowest of them has answered", stalled),
    ):
        yield GaugeMetricFamily(f"wshandler_{name}", text, value=value)


def _histogram(name: str, text: str, values: Histogram) -> HistogramMetricFamily:
    buckets = values.buckets()
    return HistogramMetricFamily(f"wshandler_{name}", text, buckets, sum_value=values.sum)


def _counter(
    name: str, text: str, values: Mapping[str, int] | Mapping[tuple[str, str], int], *labels: str
) -> CounterMetricFamily:
    family = CounterMetricFamily(f"wshandler_{name}", text, labels=["route", *labels])
    for key, value in list(values.items()):
        family.add_metric([key] if isinstance(key, str) else list(key), value)
    return family
