"""The helper that decides between a skip and a failure."""

from __future__ import annotations

import pytest
from support import need


@pytest.fixture
def no_programs(monkeypatch, tmp_path):
    monkeypatch.setattr(need, "SEARCH", str(tmp_path))


def test_a_missing_part_fails_its_test_on_ci(monkeypatch, no_programs):
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="apt-get install nginx-light"):
        need.need("nginx")


def test_a_missing_part_skips_its_test_at_home(monkeypatch, no_programs):
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install nginx-light"):
        need.need("nginx")


def test_a_part_that_is_there_is_found(monkeypatch, tmp_path):
    program = tmp_path / "nginx"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setattr(need, "SEARCH", str(tmp_path))
    assert need.need("nginx") == program
