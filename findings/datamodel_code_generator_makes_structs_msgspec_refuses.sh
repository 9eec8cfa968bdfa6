#!/usr/bin/env bash
# datamodel-code-generator 0.89.0 with msgspec 0.22.0: Structs made of msgspec's own schema do not decode.
#
# Guess:  `--output-model-type msgspec.Struct` makes of `msgspec.json.schema(...)` types that take the
#         same messages: for a union of two tagged Structs it has the discriminator to go by.
# Seen:   the module is written and imports, without a word. At the first message, whichever it is,
#         msgspec raises TypeError: the Structs have a field `type` in place of a tag, and a union of
#         Structs must be tagged. The same schema with "oneOf" for msgspec's "anyOf", and "const"
#         for its "enum" of one value, makes tagged Structs, which take the messages. The models
#         for pydantic take them from either.
# Why:    one side is written in msgspec, publishes its schema, and the other side generates its types:
#         every tool has done its work, and nothing can be received. Rewrite the two words
#         first, or generate models for pydantic.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -qq --disable-pip-version-check \
    datamodel-code-generator==0.89.0 msgspec==0.22.0 pydantic==2.14.4
cat >main.py <<'PY'
import importlib
import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pydantic


class Say(msgspec.Struct, tag="say"):
    text: str


class Leave(msgspec.Struct, tag="leave"):
    pass


class Frame(msgspec.Struct):
    message: Say | Leave


MESSAGES = ['{"message":{"type":"say","text":"hi"}}', '{"message":{"type":"leave"}}']
EXPECTED = {
    # (schema, kind of models): the two messages
    ("msgspec's", "msgspec.Struct"): ["TypeError", "TypeError"],
    ("msgspec's", "pydantic_v2.BaseModel"): ["Say", "Leave"],
    ("rewritten", "msgspec.Struct"): ["Say", "Leave"],
    ("rewritten", "pydantic_v2.BaseModel"): ["Say", "Leave"],
}


def rewrite(part):
    """Say "oneOf" and "const" where msgspec says "anyOf" and an "enum" of one."""
    if isinstance(part, list):
        return [rewrite(item) for item in part]
    if not isinstance(part, dict):
        return part
    if list(part) == ["enum"] and len(part["enum"]) == 1:
        return {"const": part["enum"][0], "type": "string"}
    return {"oneOf" if key == "anyOf" else key: rewrite(item) for key, item in part.items()}


def generate(schema, kind, name):
    Path(f"{name}.json").write_text(json.dumps(schema))
    program = Path(sys.executable).with_name("datamodel-codegen")
    subprocess.run(
        [program, "--input", f"{name}.json", "--input-file-type", "jsonschema"]
        + ["--output-model-type", kind, "--output", f"{name}.py"],
        check=True,
        stderr=subprocess.DEVNULL,
    )
    return importlib.import_module(name).Frame


def decode(model, text):
    try:
        if issubclass(model, msgspec.Struct):
            frame = msgspec.json.decode(text, type=model)
        else:
            frame = pydantic.TypeAdapter(model).validate_json(text)
        return type(frame.message).__name__
    except Exception as error:
        return type(error).__name__


sys.path.insert(0, "")
schema = msgspec.json.schema(Frame)
schemas = {"msgspec's": schema, "rewritten": rewrite(schema)}
seen = {}
for number, (which, kind) in enumerate(EXPECTED):
    model = generate(schemas[which], kind, f"models_{number}")
    seen[which, kind] = [decode(model, text) for text in MESSAGES]
print("seen:", seen)
if seen != EXPECTED:
    sys.exit(f"datamodel-code-generator behaves differently now; this finding said {EXPECTED}")
PY
timeout 90 venv/bin/python main.py
