"""The pages of docs/deploy: their snippets are from files that tests run, and these files work."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from support.server import running_server
from traitlets.config import Config

from jupyter_wshandler.cli import parser
from jupyter_wshandler.config.loader import load
from jupyter_wshandler.server.app import HUB_IDLE
from jupyter_wshandler.server.directory.hub import NEEDED_SCOPES
from jupyter_wshandler.server.directory.start import VARIABLE, checked_url

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PAGES = sorted((ROOT / "docs" / "deploy").glob("*.md"))

FENCE = re.compile(
    r"(?:^ *<!-- from (?P<source>\S+) -->\n)?^(?P<indent> *)```(?P<kind>\w+)\n(?P<text>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)

OWN_WORDS = {"console"}
"""Kinds of snippets that are commands to type."""

UNUSUAL = {"c.JupyterHub.custom_scopes": "tests/hub/test_identity.py"}
"""Snippets that a test gives a Hub itself, by their first words."""


def snippets() -> list:
    found = []
    for page in PAGES:
        for match in FENCE.finditer(page.read_text(encoding="utf-8")):
            indent = len(match["indent"])
            text = "".join(line[indent:] for line in match["text"].splitlines(keepends=True))
            where = f"{page.name}: {text.strip().splitlines()[0][:40]}"
            found.append(pytest.param(match["kind"], match["source"], text, id=where))
    return found


@pytest.mark.parametrize(("kind", "source", "text"), snippets())
def test_a_snippet_is_from_a_file_that_tests_run(kind, source, text):
    if kind in OWN_WORDS:
        return
    if source is None:
        source = UNUSUAL[text.split(" =")[0].strip()]
        for line in filter(str.strip, text.splitlines()):
            name, _, value = line.strip().partition(" = ")
            assert name in (ROOT / source).read_text(encoding="utf-8"), f"{name} = {value}"
        return
    assert text in (ROOT / source).read_text(encoding="utf-8")


def test_every_page_is_there_and_found_from_the_others():
    names = {page.stem for page in PAGES}
    assert names == {"single-user", "jupyterhub", "nginx", "proxies", "who-gets-in"}
    operations = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    for name in names:
        assert f"deploy/{name}.md" in operations, name


def test_the_file_of_a_single_user_starts_a_server_with_the_bots(tmp_path):
    config = EXAMPLES / "single-user" / "jupyter_server_config.py"
    with running_server(folder=tmp_path, extra_args=[f"--config={config}"]) as server:
        with server.connect_sync("pingbot") as socket:
            socket.send("hi")
            assert socket.recv(timeout=10) == "Got message: hi"


# ---- values for Kubernetes ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def values() -> dict:
    return yaml.safe_load((EXAMPLES / "z2jh" / "values.yaml").read_text(encoding="utf-8"))


def mounted(values: dict, folder: Path) -> dict[str, Path]:
    """Write the files as the chart mounts them, below a folder; return them by mount path."""
    paths = {}
    for file in values["singleuser"]["extraFiles"].values():
        path = folder / file["mountPath"].lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        if "stringData" in file:
            path.write_text(file["stringData"], encoding="utf-8")
        else:
            path.write_text(json.dumps(file["data"]), encoding="utf-8")
        paths[file["mountPath"]] = path
    return paths


def test_the_routes_of_the_chart_are_loaded_without_a_problem(values, tmp_path):
    paths = mounted(values, tmp_path)
    config = load(files=[str(paths["/usr/local/etc/wshandler/wshandler.yaml"])])
    assert (config.problems, config.broken, config.notes) == ((), (), ())
    assert [route.name for route in config.routes] == ["greeter"]
    named = values["singleuser"]["extraFiles"]["wshandler-config"]["data"]["WSHandlerApp"]
    assert named["config_file"] in paths


def test_a_server_with_the_files_and_the_command_line_of_the_chart_serves_its_bot(values, tmp_path):
    c = Config()
    exec(values["hub"]["extraConfig"]["wshandler"], {"c": c})
    paths = mounted(values, tmp_path)
    text = paths["/usr/local/etc/jupyter/jupyter_server_config.json"]
    # The server of this test is not in a container: its files lie below another folder.
    text.write_text(text.read_text().replace("/usr/local/etc", str(tmp_path / "usr/local/etc")))
    with running_server(
        folder=tmp_path / "server",
        env={"JUPYTER_CONFIG_PATH": str(tmp_path / "usr/local/etc/jupyter")},
        extra_args=[*c.Spawner.args],
    ) as server:
        with server.connect_sync("greeter") as socket:
            assert socket.recv(timeout=10).startswith("Hello ")
            socket.send("hi")
            assert socket.recv(timeout=10).endswith(" said: hi")


def test_the_chart_culls_later_than_a_silent_socket_is_closed(values):
    assert values["cull"]["enabled"] is True
    assert values["cull"]["timeout"] > HUB_IDLE
    annotations = values["ingress"]["annotations"]
    assert all(int(seconds) > 40 for seconds in annotations.values())


# ---- the service on Kubernetes -----------------------------------------------------------------


@pytest.fixture(scope="module")
def service() -> dict:
    """Return the manifests of the service, by kind."""
    text = (EXAMPLES / "z2jh" / "service.yaml").read_text(encoding="utf-8")
    return {manifest["kind"]: manifest for manifest in yaml.safe_load_all(text)}


def test_the_chart_sends_people_to_the_service_of_the_manifest(service):
    text = (EXAMPLES / "z2jh" / "service-values.yaml").read_text(encoding="utf-8")
    values = yaml.safe_load(text)["hub"]
    port = service["Service"]["spec"]["ports"][0]["port"]
    name = service["Service"]["metadata"]["name"]
    assert values["services"][name]["url"] == f"http://{name}:{port}"
    (container,) = service["Deployment"]["spec"]["template"]["spec"]["containers"]
    environment = {one["name"]: one.get("value") for one in container["env"]}
    access = json.loads(environment["JUPYTERHUB_OAUTH_ACCESS_SCOPES"])
    assert set(values["loadRoles"]["user"]["scopes"]) & {*access} == {
        f"access:services!service={name}"
    }
    assert environment["JUPYTERHUB_SERVICE_PREFIX"] == f"/services/{name}/"
    assert environment["JUPYTERHUB_CLIENT_ID"] == f"service-{name}"
    probed = container["readinessProbe"]["httpGet"]
    assert probed == {"path": f"/services/{name}/wshandler/api/health", "port": port}


def test_the_chart_makes_a_directory_of_the_service_and_tells_users_servers_of_it(service):
    text = (EXAMPLES / "z2jh" / "service-values.yaml").read_text(encoding="utf-8")
    values = yaml.safe_load(text)
    role = values["hub"]["loadRoles"]["directory"]
    name = service["Service"]["metadata"]["name"]
    assert (role["services"], sorted(role["scopes"])) == ([name], sorted(NEEDED_SCOPES))
    address = values["singleuser"]["extraEnv"][VARIABLE]
    assert checked_url(address).endswith(f"/services/{name}/")


def test_the_command_of_the_manifest_is_one_for_bots_only(service):
    (container,) = service["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["command"][:3] == ["jupyter", "wshandler", "serve"]
    arguments, rest = parser().parse_known_args([*container["command"][2:], *container["args"]])
    assert arguments.bots_only is True
    assert rest == container["args"]
