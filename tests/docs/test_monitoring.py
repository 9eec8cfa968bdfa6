"""The alert rules name metrics that there are, the docs name the alerts, promtool takes them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support.need import need
from support.server import running_server

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "monitoring"
GROUPS = {
    group["name"]: group["rules"]
    for group in yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"]
}
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()


def test_every_alert_of_the_backplane_is_explained_and_no_other():
    text = (ROOT / "docs" / "scale.md").read_text()
    explained = re.findall(r"^\| `(WSHandler\w+)` \|", text, re.MULTILINE)
    assert explained == [rule["alert"] for rule in GROUPS["wshandler-backplane"]]


def test_the_rules_ask_for_metrics_and_labels_that_there_are():
    """That the docs name those that there are is what test_docs.py is for."""
    known = dict(re.findall(r"^\| `(wshandler_\w+)` \|([^|]*)\|", OPERATIONS, re.MULTILINE))
    asked = 0
    for rule in [rule for rules in GROUPS.values() for rule in rules]:
        names = re.findall(r"wshandler_\w+", rule["expr"])
        assert names, rule
        for name in names:
            assert name.removesuffix("_bucket") in known, rule["alert"]
            asked += 1
        words = "".join(known[name] for name in names if name in known)
        labels = {"instance", *re.findall(r"`(\w+)`", words)}
        for label in re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]):
            assert label in labels, rule["alert"]
        assert rule["labels"]["severity"] in ("critical", "warning")
    assert asked >= len(GROUPS["wshandler-backplane"])


@pytest.mark.parametrize("words", [("check", "rules.yml"), ("test", "test.yml")])
def test_promtool_takes_the_rules_and_they_fire_when_they_should(words):
    command = [need("promtool"), words[0], "rules", words[1]]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout + done.stderr


# ---- the dashboard -----------------------------------------------------------------------------

DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())

QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]

YAML = "url: {bot: {pattern: /bot, handler: WebSocketHandler, kwargs: {on_message: bot.echo}}}"


def test_the_dashboard_is_what_its_program_writes():
    done = subprocess.run(
        [sys.executable, "dashboard.py"], cwd=FOLDER, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == (FOLDER / "dashboard.json").read_text()
    places = [tuple(panel["gridPos"].items()) for panel in DASHBOARD["panels"]]
    assert len({*places}) == len(places) >= 16
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(places)


def test_a_real_server_exports_each_metric_and_label_of_the_dashboard(tmp_path):
    with running_server(
        YAML,
        folder=tmp_path,
        modules={"bot.py": "def echo(handler, message):\n    return message\n"},
        extra_args=["--WSHandlerApp.message_metrics=True"],
    ) as server:
        for _ in range(2):  # the second one sees what the first has left
            with server.connect_sync("/bot") as socket:
                socket.send("h\u00e9llo")
                assert socket.recv(timeout=10) == "h\u00e9llo"
        text = server.fetch("/metrics")[2].decode()
    kinds = {*re.findall(r"^# TYPE (wshandler_\w+) ", text, re.MULTILINE)}
    for query in QUERIES:
        name, asked = re.findall(r"(wshandler_\w+)\{([^}]*)\}", query)[0]
        assert name.removesuffix("_bucket") in kinds, query
        samples = re.findall(rf"^{name}(?:\{{(.*)\}})? ", text, re.MULTILINE)
        labels = {*re.findall(r"(\w+)=", samples[0])} if samples else None
        wanted = {*re.findall(r"(\w+)=~", asked)} - {"instance"}
        if labels is not None:  # some have no sample as long as nothing has gone wrong
            assert wanted <= labels, query
    for line in (
        'wshandler_messages_total{route="bot",way="in"} 2.0',
        'wshandler_messages_total{route="bot",way="out"} 2.0',
        'wshandler_message_bytes_total{route="bot",way="in"} 12.0',
        'wshandler_message_seconds_count{route="bot"} 2.0',
        'wshandler_queue_messages{route="bot"} 0.0',
        "wshandler_kernels 0.0",
    ):
        assert f"\n{line}\n" in text, line


def test_promtool_takes_each_query_of_the_dashboard(tmp_path):
    rules = [{"record": f"query:{n}", "expr": query} for n, query in enumerate(QUERIES)]
    (tmp_path / "queries.yml").write_text(
        yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]})
    )
    command = [need("promtool"), "check", "rules", "queries.yml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(QUERIES)} rules found" in done.stdout
