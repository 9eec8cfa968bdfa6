#!/usr/bin/env bash
# msgspec 0.22.0 with jsonschema 4.25.1: the schema of a tagged Struct is stricter than its decoder.
#
# Guess:  a message without its tag is refused by the decoder, as `msgspec.json.schema` of the same
#         type says ("required": ["type", ...]), whether one type is expected or a union of two.
# Seen:   where one tagged Struct is expected, a message without the tag is accepted; where a union
#         is, it is refused; the schema refuses both. A wrong tag is refused everywhere.
# Why:    a bot with one kind of message takes in what its published schema forbids. On the day a
#         second kind is added, clients that never sent the tag break, although the schema of the
#         first kind has not changed: test with messages that the schema refuses.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq --disable-pip-version-check msgspec==0.22.0 jsonschema==4.25.1
timeout 60 "$dir/venv/bin/python" - <<'PY'
import json
import sys

import jsonschema
import msgspec


class Say(msgspec.Struct, tag="say"):
    text: str


class Leave(msgspec.Struct, tag="leave"):
    pass


EXPECTED = {
    # (expected type, message): (accepted by the decoder, accepted by the schema)
    ("one", '{"type":"say","text":"hi"}'): (True, True),
    ("one", '{"text":"hi"}'): (True, False),
    ("one", '{"type":"leave","text":"hi"}'): (False, False),
    ("union", '{"type":"say","text":"hi"}'): (True, True),
    ("union", '{"text":"hi"}'): (False, False),
}
TYPES = {"one": Say, "union": Say | Leave}


def decodes(kind, text):
    try:
        return isinstance(msgspec.json.decode(text, type=TYPES[kind]), Say)
    except msgspec.ValidationError:
        return False


def validates(kind, text):
    try:
        jsonschema.validate(json.loads(text), msgspec.json.schema(TYPES[kind]))
        return True
    except jsonschema.ValidationError:
        return False


seen = {case: (decodes(*case), validates(*case)) for case in EXPECTED}
print("seen:", seen)
if seen != EXPECTED:
    sys.exit(f"msgspec behaves differently now; this finding said {EXPECTED}")
PY
