"""Every behaviour of Gramex's WebSockets that was compared, and the tests that decide it here."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "gramex.md"

ROWS: dict[str, dict[str, str]] = {
    "callbacks and messages": {
        "sample pingbot, text": "callbacks::sample_pingbot_text_opens_answers_and_closes",
        "sample pingbot, binary frame": "callbacks::sample_pingbot_binary_frame",
        "message types": "callbacks::message_types",
        "callback named open": "callbacks::callback_named_open",
        "no on_message": "callbacks::no_on_message config/loader::no_on_message_and_nothing",
        "open only, nothing configured": "callbacks::open_only_or_nothing",
        "on_message returns a value": "callbacks::on_message_returns_str_bytes_dict_or_list "
        "callbacks::on_message_returns_a_number_a_tuple_or_a_bool "
        "callbacks::on_message_returns_anything_else "
        "callbacks::on_message_returns_a_value_that_the_route_ignores",
        "generator on_message": "callbacks::generator_on_message",
        "async def and Tornado coroutine": "callbacks::async_def_and_tornado_coroutine",
        "sync callback that blocks": "callbacks::sync_callback_that_blocks",
        "async def open": "callbacks::async_def_open_is_awaited",
        "open returns a value": "callbacks::open_returns_a_value",
        "async def on_close": "callbacks::async_def_and_generator_on_close",
        "generator on_close": "callbacks::async_def_and_generator_on_close",
        "exception in open": "callbacks::exception_in_open",
        "exception in on_message, sync": "callbacks::exception_in_on_message_closes "
        "callbacks::exception_in_on_message_can_leave_the_socket_open",
        "exception in on_message, async": "callbacks::exception_in_on_message_closes",
        "exception in on_close": "callbacks::exception_in_on_close",
        "handler.close in open": "callbacks::handler_close_in_open",
        "close by the client": "callbacks::client_close_code_and_reason",
        "abrupt disconnect, idle": "callbacks::abrupt_disconnect_of_an_idle_client",
        "abrupt disconnect in on_message": "callbacks::abrupt_disconnect_in_async_on_message",
        "write_message of dict and list": "callbacks::write_message_of_dict_list_and_tuple",
        "write_message in on_close": "callbacks::write_message_in_on_close",
        "handler.write": "callbacks::handler_write",
        "max message": "callbacks::max_message",
        "per-message deflate": "callbacks::per_message_deflate",
        "keepalive": "callbacks::keepalive_pings callbacks::keepalive_is_on_by_default",
        "subprotocols": "callbacks::subprotocols",
    },
    "function specs": {
        "function, called by position": "specs::function_is_called_with_handler_and_message "
        "config/functions::function_mapping",
        "inline call or expression": "specs::inline_call specs::any_other_expression "
        "config/functions::inline_call config/functions::any_other_expression",
        "args and kwargs": "specs::args_list_and_kwargs "
        "config/functions::args_list config/functions::kwargs_with",
        "args scalar": "specs::args_scalar config/functions::args_scalar",
        "plain string": "specs::function_is_called_with_handler_and_message "
        "config/functions::plain_string",
        "list pipeline": "specs::list_pipeline config/functions::list_pipeline",
        "unknown kwarg": "specs::unknown_kwarg config/loader::unknown_kwarg",
        "function missing in module": "specs::function_missing",
        "module missing": "specs::module_missing",
        "syntax error": "specs::syntax_error",
        "capture groups": "specs::capture_groups ./routes::capture_groups",
        "query arguments": "specs::query_arguments",
        "trailing slash": "specs::trailing_slash ./routes::trailing_slash "
        "config/patterns::trailing_slash",
        "route order": "specs::route_order ./routes::route_order config/patterns::route_order",
        "bad regex, unknown handler class": "specs::bad_regex_and_unknown_handlers "
        "config/loader::bad_regex config/patterns::bad_regex",
    },
    "origins": {
        "listed host, subdomain": "handshake::origin_of_a_listed_host "
        "config/origins::http_and_https config/origins::a_subdomain",
        "host that ends alike": "handshake::origin_that_merely_ends_or_begins_alike "
        "config/origins::a_host_that_merely_ends_alike",
        "host that begins alike": "handshake::origin_that_merely_ends_or_begins_alike "
        "config/origins::gramener_com_evil_com",
        "port": "handshake::origin_with_a_port config/origins::no_port_in_the_config",
        "other scheme, userinfo": "handshake::origin_of_another_scheme "
        "config/origins::other_schemes_and_userinfo",
        "case, final dot, IDN": "handshake::origin_is_compared_without_case "
        "config/origins::case_and_final_dot config/origins::idn",
        "null, file, bare text": "handshake::origin_null config/origins::null_file_and_bare_text",
        "no Origin header": "handshake::no_origin_header",
        "unset or empty list": "handshake::origins_unset_or_empty "
        "config/loader::origins_unset_or_empty",
        "empty entry": "handshake::origins_with_an_empty_entry config/origins::an_empty_entry",
        "entry with scheme or star": "handshake::origin_entries_with_scheme_star_or_port "
        "config/origins::an_entry_with_a_scheme",
        "entry with port": "handshake::origin_entries_with_scheme_star_or_port "
        "config/origins::an_entry_with_a_port",
        "same origin, not listed": "handshake::same_origin_that_is_not_in_the_list",
    },
    "auth": {
        "auth unset": "handshake::auth_unset_or_true config/loader::auth_unset",
        "auth true, anonymous": "handshake::auth_unset_or_true",
        "auth true, logged in": "handshake::auth_true_and_logged_in",
        "membership, condition": "handshake::membership_and_condition config/loader::membership "
        "config/loader::condition",
        "condition raises": "handshake::condition_that_raises",
        "auth of a wrong type": "handshake::auth_of_a_wrong_type config/loader::auth_given_a_wrong",
        "auth.methods, login_url, template": "handshake::auth_methods_login_url_and_template "
        "config/loader::auth_methods_login_url",
        "order": "handshake::order_is_login_then_origin",
        "logout while connected": "server/recheck::logout_while_connected",
        "X-Gramex-User header": "handshake::x_gramex_user_header",
        "one-time and API keys": "handshake::keys_in_header_or_query",
        "custom error function": "handshake::custom_error_function",
        "plain GET and POST": "handshake::plain_get_is_426",
    },
    "session": {
        "client with a cookie from HTTP": "handshake::session_cookie_from_http",
        "client without cookie": "handshake::session_of_a_client_without_cookie",
        "cookie in the handshake": "handshake::session_of_a_client_without_cookie",
        "written, no on_close": "handshake::session_is_saved_whether_or_not",
        "written, with on_close": "handshake::session_is_saved_whether_or_not",
        "anonymous sessions": "handshake::anonymous_sessions_leave_nothing",
        "state keyed by session id": "handshake::state_is_per_connection",
    },
    "limits, reload, other handlers": {
        "ratelimit": "handshake::ratelimit_with_gramex_keys "
        "limits/server::ratelimit_2_a_day limits/server::ratelimit_with_and_without_on_close",
        "ratelimit with on_close": "limits/server::ratelimit_2_a_day "
        "limits/server::ratelimit_with_and_without_on_close",
        "pages of 405, 422 and 429": "specs::pages_for_405_and_426 "
        "limits/server::405_and_429_pages",
        "validate, methods, cors, headers": "specs::validate_and_other_keys "
        "config/loader::validate_methods_cors_headers",
        "callback module edited": "server/reload::callback_module_edited",
        "imported helper edited": "server/reload::imported_helper_edited",
        "broken edit": "server/reload::broken_edit",
        "YAML: route added, deleted, changed": "server/reload::yaml_add_route "
        "server/reload::yaml_delete_route server/reload::yaml_change_route",
        "YAML: auth added": "server/reload::yaml_auth_added",
        "YAML: syntax error": "server/reload::yaml_syntax_error",
        "ProxyHandler": "specs::other_handlers_are_skipped",
        "MessageHandler, ChatGPTHandler": "specs::other_handlers_are_skipped",
        "scale-out": "page: **Scale-out**: a connection belongs to one server process",
    },
    "beyond the sample": {
        "on_pong": "callbacks::on_pong_gets",
        "select_subprotocol": "callbacks::select_subprotocol_gets callbacks::subprotocols",
        "get_compression_options": "callbacks::per_message_deflate",
        "pings are answered by the server": "callbacks::a_ping_is_answered",
        "keys shared with other handlers": "config/loader::validate_methods_cors_headers",
        "settings of the session": "specs::other_sections_such_as_the_sessions",
        "members of the handler": "specs::members_of_the_handler",
        "service, an alias of handler": "specs::a_gramex_yaml_works",
        "import and variables": "specs::import_and_variables",
    },
}
"""The rows by group. A row names the beginnings of tests, all of which are called `test_row_...`:
`callbacks::x` is `test_row_x...` in tests/compatibility/test_callbacks.py, and `config/loader::x`
in tests/config/test_loader.py, `./routes::x` in tests/test_routes.py. A row with `page:` is decided
by a sentence of that page.
"""


def functions_in(module: str) -> set[str]:
    """Return the names of the tests in a module."""
    folder, _, name = module.rpartition("/")
    path = TESTS / (folder or "compatibility") / f"test_{name}.py"
    if not path.exists():
        return set()
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {
        node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, functions)
    }


def undecided(row: str) -> list[str]:
    """Return what a row names and does not exist."""
    if row.startswith("page: "):
        return [] if row.removeprefix("page: ") in " ".join(PAGE.read_text().split()) else [row]
    missing = []
    for entry in row.split():
        module, _, beginning = entry.partition("::")
        if not any(name.startswith(f"test_row_{beginning}") for name in functions_in(module)):
            missing.append(entry)
    return missing if row.strip() else ["nothing is named"]


@pytest.mark.parametrize("group", ROWS)
def test_every_row_is_decided_by_a_test_that_exists(group):
    problems = {name: found for name, row in ROWS[group].items() if (found := undecided(row))}
    assert problems == {}


def test_the_index_notices_a_row_without_a_test_and_a_test_that_is_gone():
    assert undecided("") == ["nothing is named"]
    assert undecided("callbacks::no_such_row") == ["callbacks::no_such_row"]
    assert undecided("no_such_module::message_types") == ["no_such_module::message_types"]
    assert undecided("page: a sentence that nobody wrote") != []
    assert undecided("callbacks::message_types") == []


def test_every_test_of_a_row_on_a_real_server_is_in_the_index():
    rows = " ".join(row for group in ROWS.values() for row in group.values()).split()
    for path in TESTS.glob("compatibility/test_*.py"):
        module = path.stem.removeprefix("test_")
        named = tuple(
            f"test_row_{entry.removeprefix(f'{module}::')}"
            for entry in rows
            if entry.startswith(f"{module}::")
        )
        tests = {name for name in functions_in(module) if name.startswith("test_row_")}
        assert {name for name in tests if not name.startswith(named)} == set()


def test_the_page_for_people_who_move_names_only_keys_that_exist():
    from jupyter_wshandler.config.described import key_names
    from jupyter_wshandler.config.keys import KwargsEntry

    page = PAGE.read_text()
    for key in ("max_message", "ping_interval", "compression", "subprotocols", "max_connections"):
        assert f"`{key}" in page
        assert key in key_names(KwargsEntry)
