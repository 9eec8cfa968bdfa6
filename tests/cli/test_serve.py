"""``jupyter wshandler serve``: what is refused before anything starts."""

from __future__ import annotations

import pytest

from jupyter_wshandler.cli import main


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "wshandler.yaml"
    path.write_text("url: {}\n")
    return str(path)


@pytest.mark.parametrize("option", ["--bot-only", "--only-bots", "--botsonly", "--no-bots=1"])
def test_a_misspelt_bots_only_starts_no_server_with_all_of_jupyter(option, file, capsys):
    assert main(["serve", file, option]) == 2
    assert "expected --bots-only, without a value" in capsys.readouterr().err


def test_a_file_that_is_not_there_is_named(tmp_path, capsys):
    assert main(["serve", str(tmp_path / "x.yaml"), "--bots-only"]) == 2
    assert "found nothing" in capsys.readouterr().err


def test_a_service_without_an_address_is_told_how_to_get_one(file, capsys, monkeypatch):
    monkeypatch.setenv("JUPYTERHUB_SERVICE_NAME", "bots")
    monkeypatch.delenv("JUPYTERHUB_SERVICE_URL", raising=False)
    assert main(["serve", file, "--bots-only"]) == 2
    assert "the service bots of JupyterHub has no address" in capsys.readouterr().err
