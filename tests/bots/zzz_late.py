"""An extension that adds rules in every way there is, when it is loaded and after the start."""

from jupyter_server.auth.decorator import allow_unauthenticated
from tornado.routing import PathMatches, Rule
from tornado.web import RequestHandler


class Here(RequestHandler):
    SUPPORTED_METHODS = (*RequestHandler.SUPPORTED_METHODS, "BREW")

    def check_xsrf_cookie(self):
        pass

    @allow_unauthenticated
    def get(self):
        self.finish("a handler of an extension")

    head = post = put = patch = delete = options = brew = get


def rule(path):
    return Rule(PathMatches(path), Here)


def _load_jupyter_server_extension(app):
    application = app.web_app
    application.add_handlers(".*$", [(r"/late/loaded", Here), (r"/login", Here)])
    application.wildcard_router.rules.insert(0, rule(r"/late/first"))
    found = application.find_handler

    def find_handler(request, **more):
        if request.path == "/late/found":
            return application.get_handler_delegate(request, Here)
        return found(request, **more)

    application.find_handler = find_handler


async def _start_jupyter_server_extension(app):
    application = app.web_app
    application.add_handlers(".*$", [(r"/late/started", Here), (r"/metrics", Here)])
    application.default_router.rules.insert(0, rule(r"/late/outermost"))
    application.wildcard_router.rules.insert(0, rule(r"/late/echo"))


def _jupyter_server_extension_points():
    return [{"module": __name__}]
