"""Another extension of Jupyter Server, with one address: loaded before ours, and after it."""

from jupyter_server.auth.decorator import allow_unauthenticated
from jupyter_server.utils import url_path_join
from tornado.web import RequestHandler

NAME = {"aaa_other": "early", "zzz_other": "late"}[__name__]


class Here(RequestHandler):
    @allow_unauthenticated
    def get(self):
        self.finish(f"answered by {NAME}")


def _load_jupyter_server_extension(app):
    base = app.web_app.settings["base_url"]
    app.web_app.add_handlers(".*$", [(url_path_join(base, f"/{NAME}"), Here)])


def _jupyter_server_extension_points():
    return [{"module": __name__}]
