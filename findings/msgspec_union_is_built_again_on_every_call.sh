#!/usr/bin/env bash
# msgspec 0.22.0: `convert` to a bare union of Structs takes many times as long as to a field of it.
#
# Guess:  what a type means is worked out once, whether it is a Struct or a union of ten of them,
#         so that `convert(message, type=Say | Leave | ...)` costs the same as a Struct does.
# Seen:   the union is worked out again on every call: with ten kinds of messages convert() and
#         json.decode() take 5 times as long and more (18 to 140 here). Not so for one Struct,
#         for the same union as the only field of a Struct, and for a Decoder that is kept.
# Why:    a bot with many kinds of messages checks each one with such a call. `convert` has no
#         object to keep as `Decoder` is; a Struct with one field around the message is one.
# How:    the best of five rounds for each, and only "5 times or more" is compared.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq --disable-pip-version-check msgspec==0.22.0
timeout 60 "$dir/venv/bin/python" - <<'PY'
import sys
import time
from functools import reduce
from operator import or_

import msgspec

KINDS = [msgspec.defstruct(f"Kind{n}", [("text", str)], tag=f"kind{n}") for n in range(10)]
ANY = reduce(or_, KINDS)
Around = msgspec.defstruct("Around", [("message", ANY)])
MESSAGE = {"type": "kind3", "text": "hi"}
TEXT = msgspec.json.encode(MESSAGE)
ONE, MANY = msgspec.json.Decoder(KINDS[3]), msgspec.json.Decoder(ANY)

# what is timed, and what it is compared with: (slow, quick)
PAIRS = {
    "convert, one Struct": (
        lambda: msgspec.convert(MESSAGE, type=KINDS[3]),
        lambda: msgspec.convert({"message": MESSAGE}, type=Around).message,
    ),
    "convert, union": (
        lambda: msgspec.convert(MESSAGE, type=ANY),
        lambda: msgspec.convert({"message": MESSAGE}, type=Around).message,
    ),
    "json.decode, one Struct": (
        lambda: msgspec.json.decode(TEXT, type=KINDS[3]),
        lambda: ONE.decode(TEXT),
    ),
    "json.decode, union": (
        lambda: msgspec.json.decode(TEXT, type=ANY),
        lambda: MANY.decode(TEXT),
    ),
}
EXPECTED = {
    "convert, one Struct": "about the same",
    "convert, union": "5 times or more",
    "json.decode, one Struct": "about the same",
    "json.decode, union": "5 times or more",
}


def seconds(call, count=1000):
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(count):
            call()
        best = min(best, time.perf_counter() - start)
    return best / count


seen = {}
for name, (slow, quick) in PAIRS.items():
    assert slow() == quick() == KINDS[3]("hi")
    ratio = seconds(slow) / seconds(quick)
    print(f"{name}: {ratio:.1f} times")
    seen[name] = "5 times or more" if ratio >= 5 else "about the same"
print("seen:", seen)
if seen != EXPECTED:
    sys.exit(f"msgspec behaves differently now; this finding said {EXPECTED}")
PY
