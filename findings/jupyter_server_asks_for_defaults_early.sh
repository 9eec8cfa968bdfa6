#!/usr/bin/env bash
# jupyter-server 2.21.1: an extension's dynamic defaults are asked for before it has settings.
#
# Guess:  `@default` of a trait runs when the trait is first read, so that in an ExtensionApp it can
#         look at `self.settings`, such as at the identity provider, which are there in all hooks.
# Seen:   while the extension is linked, all its configurable traits are read, to fill its `config`:
#         each `@default` runs then, with empty settings, and its answer stays for good. In
#         `initialize_settings` the identity provider is there, and the trait still has the old answer.
# Why:    a default that is to be stricter under JupyterHub than elsewhere is the lax one everywhere.
#         Leave the trait None, and decide in `initialize_settings`.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq --disable-pip-version-check jupyter-server==2.21.1
cd "$dir"
cat > early.py <<'PY'
from jupyter_server.extension.application import ExtensionApp
from traitlets import Unicode, default

SEEN = []


class Early(ExtensionApp):
    name = "early"
    mood = Unicode().tag(config=True)

    @default("mood")
    def _mood(self):
        SEEN.append(("default", "identity_provider" in self.settings))
        return "strict" if "identity_provider" in self.settings else "lax"

    def initialize_settings(self):
        SEEN.append(("initialize_settings", "identity_provider" in self.settings))
        SEEN.append(("mood", self.mood))


def _jupyter_server_extension_points():
    return [{"module": "early", "app": Early}]
PY
HOME="$dir" JUPYTER_NO_CONFIG=1 PYTHONPATH="$dir" timeout 60 "$dir/venv/bin/python" - <<'PY'
import sys

import early
from jupyter_server.serverapp import ServerApp

EXPECTED = [("default", False), ("initialize_settings", True), ("mood", "lax")]
app = ServerApp(port=0, open_browser=False, allow_root=True, log_level=50)
app.initialize(argv=["--ServerApp.jpserver_extensions={'early': True}"], new_httpserver=False)
print("seen:", early.SEEN)
if early.SEEN != EXPECTED:
    sys.exit(f"jupyter-server behaves differently now; this finding said {EXPECTED}")
PY
