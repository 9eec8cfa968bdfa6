"""Compile the patterns of routes, refuse the dangerous ones, and order them."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from re import _constants as _re  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any
from urllib.parse import quote

from jupyter_wshandler.config.paths import escaped_character, normal_path

MAX_PATH = 2048
"""Bytes of a request path; a longer one matches no route."""
MAX_PATTERN = 1000
_MAX_WAYS = 5_000_000
_END = object()

_BASE = re.compile(r"/?\$(?:YAMLURL\b|\{YAMLURL\})")
_VARIABLE = re.compile(r"(?<!\\)\$\{?([A-Za-z_]\w*)")
_SEGMENT = re.compile(r"\{([A-Za-z_]\w*)\}", re.ASCII)
_GROUP_HEAD = re.compile(r"\(\?P(?:<\w+>|=\w+\))")
_STRAY = re.compile(r"%(?=[\w/~-]|$)", re.ASCII)
"""A percent sign that begins no escape."""
_REPEATS = (_re.MAX_REPEAT, _re.MIN_REPEAT, _re.POSSESSIVE_REPEAT)


class PatternError(ValueError):
    """The reason, in one sentence, why a pattern cannot be used."""


@dataclass(frozen=True, slots=True)
class CompiledPattern:
    """A pattern that is ready to match.

    Args:
        regex: Matches a whole path.
        literal: The one path it matches, where it has no wildcard.
        slashes: Literal slashes in it.
        wildcards: Unbounded repeats in it.
        literals: Literal characters in it.
        sample: A path that it may match, to compare it with other rules.
        prefix: What every path that it matches begins with.
        segments: The names written as ``{name}``, which hold no path.
    """

    regex: re.Pattern[str]
    literal: str | None
    slashes: int
    wildcards: int
    literals: int
    sample: str
    prefix: str
    segments: frozenset[str] = frozenset()

    def sort_key(self, priority: float, name: str) -> tuple[float, int, int, int, str]:
        """Return what orders routes, the first to match first.

        That is Gramex's rule (priority, slashes, wildcards), then more literal characters.
        """
        return (-priority, -self.slashes, self.wildcards, -self.literals, name)


def below_base(pattern: str) -> str:
    """Return a pattern without the ``$YAMLURL`` in front, which means the base.

    Args:
        pattern: As written.
    """
    base = _BASE.match(pattern)
    return pattern[base.end() :] or "/" if base else pattern


def address_of(pattern: str) -> str | None:
    """Return the path that a pattern matches, its ``{name}`` segments as written.

    Args:
        pattern: A valid pattern.

    Returns:
        A path, or None for any other regular expression, which is no address.
    """
    compiled = analyse_pattern(_SEGMENT.sub(r"~~\1~~", pattern))
    return compiled.literal and re.sub(r"~~(\w+?)~~", r"{\1}", compiled.literal)


def analyse_pattern(pattern: str) -> CompiledPattern:
    """Compile the pattern of a route and say what orders it.

    Args:
        pattern: As written: a regular expression with ``{name}`` for a named segment.

    Raises:
        PatternError: If it is no pattern of a path, or could be made to match slowly.
    """
    if len(pattern) > MAX_PATTERN:
        raise PatternError(f"the pattern has {len(pattern)} characters, at most {MAX_PATTERN}")
    path = below_base(pattern)
    variable = _VARIABLE.search(path)
    if variable:
        raise PatternError(
            f"${variable[1]} is not supported: of all variables only $YAMLURL is known, "
            "at the beginning of a pattern"
        )
    if not path.startswith("/"):
        raise PatternError(f"expected a pattern that begins with /, found {pattern[:60]!r}")
    try:
        segments: set[str] = set()
        text = _translate(path, segments)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parsed = _parser.parse(text)
            regex = re.compile(f"(?:{text})\\Z")
        _refuse_nested(parsed, False)
        if _ways(parsed, _END) > _MAX_WAYS:
            raise PatternError(
                "the pattern can match a long path in too many ways, which would stall the server; "
                "use [^/]+ or {name} for a segment in place of .*"
            )
    except re.error as error:
        place = f" at character {error.pos + 1}" if error.pos is not None else ""
        raise PatternError(f"not a valid regular expression: {error.msg}{place}") from None
    except (RecursionError, OverflowError, MemoryError):
        raise PatternError("the pattern is nested too deeply or repeats too often") from None
    except UnicodeEncodeError:
        raise PatternError("the pattern holds characters that no path can have") from None
    literal = _literal(parsed)
    slashes, wildcards, literals = _measure(parsed)
    prefix = _prefix(parsed) if literal is None else literal
    return CompiledPattern(
        regex,
        literal,
        slashes,
        wildcards,
        literals,
        _sample(parsed),
        prefix,
        frozenset(segments),
    )


def _translate(path: str, segments: set[str]) -> str:
    """Write ``{name}`` as a group and what browsers escape in a path as they escape it."""
    out: list[str] = []
    position, in_class = 0, False
    while position < len(path):
        rest = path[position:]
        character = rest[0]
        if character == "\\":
            token = re.match(r"\\N\{[^}]*\}|\\.?", rest, re.DOTALL)
            part = token[0] if token else character
            plain = in_class or len(part) != 2 or (part[1] != " " and part[1].isascii())
            out.append(part if plain else f"(?:{quote(part[1])})")
        elif in_class:
            part = character
            in_class = character != "]"
            out.append(part)
        elif character == "[":
            # a bracket right behind the opening one is a member, not the end
            token = re.match(r"\[\^?\]?", rest)
            part = token[0] if token else character
            in_class = True
            out.append(part)
        elif token := _SEGMENT.match(rest):
            part = token[0]
            segments.add(token[1])
            out.append(f"(?P<{token[1]}>[^/]+)")
        elif character == "{" and (rest[1:2].isalpha() or rest[1:2] == "_"):
            raise PatternError("expected {name} with letters, digits and _ only; write \\{ for {")
        elif token := _GROUP_HEAD.match(rest):
            part = token[0]
            out.append(part)
        elif character == " " or not character.isascii():
            part = character
            out.append(f"(?:{quote(character)})")
        elif part := escaped_character(rest):
            out.append(f"(?:{re.escape(normal_path(part))})")
        elif _STRAY.match(rest):
            part = character
            out.append("(?:%25)")
        else:
            part = character
            out.append(part)
        position += len(part)
    return "".join(out)


def _children(operator: Any, argument: Any) -> list[Any]:
    """Return the parts of one item of a parsed pattern that are patterns themselves."""
    if operator in _REPEATS:
        return [argument[2]]
    if operator is _re.SUBPATTERN:
        return [argument[3]]
    if operator is _re.BRANCH:
        return list(argument[1])
    if operator in (_re.ASSERT, _re.ASSERT_NOT):
        return [argument[1]]
    if operator is _re.ATOMIC_GROUP:
        return [argument]
    if operator is _re.GROUPREF_EXISTS:
        return [part for part in argument[1:] if part is not None]
    return []


def _refuse_nested(items: Iterable[Any], inside: bool) -> None:
    for operator, argument in items:
        unbounded = operator in _REPEATS and argument[1] is _re.MAXREPEAT
        if operator is _re.GROUPREF and inside:
            raise PatternError(
                "a back-reference inside an unbounded repeat can stall the server; "
                "write the repeat without * and +"
            )
        if unbounded and inside:
            raise PatternError(
                "nested unbounded repeats such as (a+)+ can stall the server; "
                "write the inner or the outer repeat without * and +"
            )
        for child in _children(operator, argument):
            _refuse_nested(child, inside or unbounded)


def _ways(items: Any, follow: Any) -> float:
    """Bound the ways in which a path of MAX_PATH characters can be matched.

    Args:
        items: A parsed pattern.
        follow: The code of the character behind it, `_END`, or None if not known.
    """
    total = 1.0
    for operator, argument in reversed(list(items)):
        if operator in _REPEATS:
            low, high, body = argument
            total *= _repeat_ways(low, high, body, follow)
            follow = _first(body) if low else None
        elif operator is _re.BRANCH:
            branches = argument[1]
            ways = [_ways(branch, follow) for branch in branches]
            firsts = {_first(branch) for branch in branches}
            distinct = None not in firsts and len(firsts) == len(branches)
            total *= max(ways) if distinct else sum(ways)
            follow = None
        elif operator is _re.LITERAL:
            follow = argument
        elif operator is _re.GROUPREF:
            # It compares what its group has matched, again for each way to match that.
            total *= MAX_PATH
            follow = None
        elif operator is not _re.AT:
            for child in _children(operator, argument):
                total *= _ways(child, follow)
            follow = _first([(operator, argument)])
    return total


def _repeat_ways(low: int, high: Any, body: Any, follow: Any) -> float:
    unbounded = high is _re.MAXREPEAT
    choices = (MAX_PATH if unbounded else min(int(high), MAX_PATH)) - min(low, MAX_PATH) + 1
    inner = _ways(body, follow if high == 1 else None)
    if inner > 1:
        return float("inf") if unbounded else inner ** min(int(high), 64) * choices
    if len(body) == 1 and (follow is _END or (follow is not None and _apart(body, follow))):
        return 1
    return max(choices, 1)


def _apart(body: Any, follow: int) -> bool:
    """Say whether a repeat must stop at this character, in either case of it."""
    character = chr(follow)
    codes = {ord(both) for both in (character, *character.lower(), *character.upper())}
    return not any(_may_hold(body, code) for code in codes)


def _first(items: Any) -> int | None:
    """Return the code of the character with which a match must begin, if there is one."""
    for operator, argument in items:
        if operator is _re.LITERAL:
            return int(argument)
        if operator in (_re.SUBPATTERN, _re.ATOMIC_GROUP):
            return _first(_children(operator, argument)[0])
        if operator in _REPEATS and argument[0]:
            return _first(argument[2])
        return None
    return None


def _may_hold(items: Any, code: int) -> bool:
    """Say whether a pattern of one item may match this character; True if in doubt."""
    operator, argument = items[0]
    if operator is _re.LITERAL:
        return bool(argument == code)
    if operator is _re.NOT_LITERAL:
        return bool(argument != code)
    if operator is not _re.IN:
        return True
    negated = argument[0][0] is _re.NEGATE
    held = False
    for kind, value in argument:
        if kind is _re.LITERAL:
            held |= value == code
        elif kind is _re.RANGE:
            held |= value[0] <= code <= value[1]
        elif kind is _re.CATEGORY:
            name = str(value)
            if "NOT" in name or negated:
                return True
            held |= chr(code).isalnum() or code == ord("_") or chr(code).isspace()
    return held != negated


def _literal(items: Any) -> str | None:
    if all(operator is _re.LITERAL for operator, _ in items):
        return "".join(chr(argument) for _, argument in items)
    if any(operator not in (_re.LITERAL, _re.SUBPATTERN) for operator, _ in items):
        return None
    # a group that captures nothing, as _translate writes around an escaped character
    parts = []
    for operator, argument in items:
        if operator is _re.SUBPATTERN and (argument[0] is not None or argument[1] or argument[2]):
            return None
        part = chr(argument) if operator is _re.LITERAL else _literal(argument[3])
        if part is None:
            return None
        parts.append(part)
    return "".join(parts)


def _prefix(items: Any) -> str:
    parts: list[str] = []
    for operator, argument in items:
        if operator is not _re.LITERAL:
            break
        parts.append(chr(argument))
    return "".join(parts)


def _measure(items: Any) -> tuple[int, int, int]:
    """Count literal slashes, unbounded repeats and literal characters."""
    slashes = wildcards = literals = 0
    for operator, argument in items:
        if operator is _re.LITERAL:
            slashes += argument == ord("/")
            literals += 1
        elif operator in _REPEATS and argument[1] is _re.MAXREPEAT:
            wildcards += 1
        if operator in (_re.ASSERT, _re.ASSERT_NOT):
            continue
        counts = [_measure(child) for child in _children(operator, argument)]
        if counts:
            best = max(counts)
            slashes, wildcards, literals = (
                slashes + best[0],
                wildcards + best[1],
                literals + best[2],
            )
    return slashes, wildcards, literals


def _sample(items: Any) -> str:
    parts: list[str] = []
    for operator, argument in items:
        if operator is _re.LITERAL:
            parts.append(chr(argument))
        elif operator in _REPEATS:
            low, high, body = argument
            parts.append((_sample(body) * min(max(low, 1), int(high), 50))[:MAX_PATH])
        elif operator is _re.BRANCH:
            parts.append(_sample(argument[1][0]))
        elif operator is _re.IN and argument[0][0] in (_re.LITERAL, _re.RANGE):
            value = argument[0][1]
            parts.append(chr(value if argument[0][0] is _re.LITERAL else value[0]))
        elif operator in (_re.ANY, _re.IN, _re.NOT_LITERAL):
            parts.append("x")
        elif operator in (_re.SUBPATTERN, _re.ATOMIC_GROUP):
            parts.append(_sample(_children(operator, argument)[0]))
    return "".join(parts)
