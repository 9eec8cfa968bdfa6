#!/usr/bin/env python3
"""Write dashboard.json, a dashboard for Grafana over the metrics of jupyter_wshandler.

    python dashboard.py > dashboard.json

Import the file in Grafana (Dashboards, New, Import) and choose the Prometheus that reads /metrics.
"""

from __future__ import annotations

import json
from typing import Any

SELECTED = 'instance=~"$instance"'
"""What {SELECTED} in a query stands for; $instance is a choice at the top of the dashboard."""

ROUTES = f'{SELECTED}, route=~"$route"'
"""The same, as {ROUTES}, where the metric has a route."""

PANELS = [
    (
        "Connections",
        "short",
        [("sum by (route) (wshandler_connections{ROUTES})", "{{route}}")],
    ),
    (
        "Opened and closed",
        "cps",
        [
            ("sum(rate(wshandler_connections_opened_total{ROUTES}[5m]))", "opened"),
            (
                "sum by (code) (rate(wshandler_connections_closed_total{ROUTES}[5m]))",
                "closed {{code}}",
            ),
        ],
    ),
    (
        "Refused",
        "cps",
        [
            (
                "sum by (route, status) (rate(wshandler_requests_refused_total{ROUTES}[5m]))",
                "{{route}} {{status}}",
            )
        ],
    ),
    (
        "Callbacks that failed",
        "cps",
        [("sum by (route) (rate(wshandler_callback_errors_total{ROUTES}[5m]))", "{{route}}")],
    ),
    (
        "Messages (c.WSHandlerApp.message_metrics)",
        "cps",
        [
            (
                "sum by (route, way) (rate(wshandler_messages_total{ROUTES}[5m]))",
                "{{route}} {{way}}",
            )
        ],
    ),
    (
        "Bytes (c.WSHandlerApp.message_metrics)",
        "Bps",
        [
            (
                "sum by (route, way) (rate(wshandler_message_bytes_total{ROUTES}[5m]))",
                "{{route}} {{way}}",
            )
        ],
    ),
    (
        "A message's time, 99 of 100 (c.WSHandlerApp.message_metrics)",
        "s",
        [
            (
                "histogram_quantile(0.99, sum by (route, le) "
                "(rate(wshandler_message_seconds_bucket{ROUTES}[5m])))",
                "{{route}}",
            )
        ],
    ),
    (
        "Waiting",
        "short",
        [
            ("sum by (route) (wshandler_inbox_messages{ROUTES})", "{{route}}, for the bot"),
            ("sum by (route) (wshandler_queue_messages{ROUTES})", "{{route}}, for clients"),
        ],
    ),
    (
        "Waiting for clients",
        "bytes",
        [("sum by (route) (wshandler_queue_bytes{ROUTES})", "{{route}}")],
    ),
    (
        "Lost on the way",
        "cps",
        [
            ("sum(rate(wshandler_messages_dropped_total{ROUTES}[5m]))", "client too slow"),
            ("sum(rate(wshandler_messages_rate_limited_total{ROUTES}[5m]))", "ratelimit"),
            ("sum(rate(wshandler_messages_unhandled_total{ROUTES}[5m]))", "client lost"),
        ],
    ),
    (
        "Event loop: how late, 99 of 100",
        "s",
        [
            (
                "histogram_quantile(0.99, sum by (instance, le) "
                "(rate(wshandler_event_loop_lag_seconds_bucket{SELECTED}[5m])))",
                "{{instance}}",
            )
        ],
    ),
    (
        "Away, and come back",
        "short",
        [
            ("sum(wshandler_connections_away{ROUTES})", "away"),
            (
                "sum by (result) (increase(wshandler_resumes_total{ROUTES}[5m]))",
                "{{result}}",
            ),
        ],
    ),
    ("Rooms", "short", [("sum by (space) (wshandler_rooms{SELECTED})", "{{space}}")]),
    ("Guests", "short", [("sum by (route) (wshandler_guests{ROUTES})", "{{route}}")]),
    (
        "Kernels with bots",
        "short",
        [
            ("sum by (instance) (wshandler_kernels{SELECTED})", "{{instance}}"),
            ("sum by (instance) (wshandler_kernels_busy{SELECTED})", "{{instance}}, busy"),
        ],
    ),
    (
        "The slowest kernel",
        "s",
        [("wshandler_kernel_stalled_seconds{SELECTED}", "{{instance}}")],
    ),
    ("Backplane", "short", [("wshandler_backplane_up{SELECTED}", "{{instance}} is up")]),
    (
        "Backplane: how long a message takes",
        "s",
        [
            ("wshandler_backplane_lag_seconds{SELECTED}", "{{instance}}, there and back"),
            (
                "histogram_quantile(0.99, sum by (instance, le) "
                "(rate(wshandler_backplane_publish_seconds_bucket{SELECTED}[5m])))",
                "{{instance}}, 99 of 100 are there",
            ),
        ],
    ),
]
"""Title, unit, and queries with their legends; two panels stand side by side."""

SOURCE = {"type": "prometheus", "uid": "${source}"}


def whole(query: str) -> str:
    """Return a query with what it is narrowed by."""
    return query.replace("{ROUTES}", f"{{{ROUTES}}}").replace("{SELECTED}", f"{{{SELECTED}}}")


def panel(number: int, title: str, unit: str, queries: list[tuple[str, str]]) -> dict[str, Any]:
    """Return one panel."""
    targets = [
        {
            "refId": chr(ord("A") + index),
            "datasource": SOURCE,
            "expr": whole(query),
            "legendFormat": legend,
        }
        for index, (query, legend) in enumerate(queries)
    ]
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": title,
        "datasource": SOURCE,
        "gridPos": {"x": 12 * (number % 2), "y": 8 * (number // 2), "w": 12, "h": 8},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}},
        "targets": targets,
    }


def choice(name: str) -> dict[str, Any]:
    """Return a choice at the top, of the values of a label."""
    return {
        "name": name,
        "type": "query",
        "datasource": SOURCE,
        "query": f"label_values(wshandler_connections, {name})",
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
    }


def dashboard() -> dict[str, Any]:
    """Return the dashboard."""
    source = {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    return {
        "uid": "jupyter-wshandler",
        "title": "WebSocket routes (jupyter_wshandler)",
        "tags": ["jupyter"],
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [source, choice("instance"), choice("route")]},
        "panels": [panel(number, *one) for number, one in enumerate(PANELS)],
    }


if __name__ == "__main__":
    print(json.dumps(dashboard(), indent=1))
