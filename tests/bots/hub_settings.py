"""The part of the Hub configuration that gives each user settings of their own."""

SETTINGS = {
    "nocookie": {"JUPYTERHUB_ALLOW_WEBSOCKET_COOKIE_AUTH": "0"},
    "urltoken": {"JUPYTERHUB_ALLOW_TOKEN_IN_URL": "1"},
    "classic": {"JUPYTERHUB_SINGLEUSER_EXTENSION": "0"},
}


def settings(spawner):
    spawner.environment = {**spawner.environment, **SETTINGS.get(spawner.user.name, {})}


c.Spawner.pre_spawn_hook = settings  # noqa: F821 (Jupyter puts it here)
