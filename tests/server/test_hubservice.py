"""Whether a process is a service of JupyterHub."""

from __future__ import annotations

import pytest

from jupyter_wshandler.server.hubservice import account, service_name

CASES = [
    ({}, ""),
    ({"JUPYTERHUB_SERVICE_NAME": "bots"}, "bots"),
    ({"JUPYTERHUB_SERVICE_PREFIX": "/services/bots/"}, "bots"),
    ({"JUPYTERHUB_SERVICE_PREFIX": "/jupyter/services/bots"}, "bots"),
    ({"JUPYTERHUB_SERVICE_PREFIX": "/user/ada/"}, ""),
    ({"JUPYTERHUB_SERVICE_PREFIX": "/user/services/lab/"}, ""),
]


@pytest.mark.parametrize(("environment", "expected"), CASES)
def test_a_service_is_known_by_its_name_or_its_prefix(environment, expected):
    assert service_name(environment) == expected


def test_an_account_without_a_name_is_named_by_its_number(monkeypatch):
    monkeypatch.setattr("getpass.getuser", lambda: (_ for _ in ()).throw(OSError("no name")))
    assert account().startswith("user ")
