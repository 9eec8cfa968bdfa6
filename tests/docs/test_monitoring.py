"""The alert rules name metrics that there are, the docs name the alerts, promtool takes them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from support.need import need

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
