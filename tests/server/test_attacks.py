"""What others notice of an attack: every line of the table in docs/abuse.md is run again."""

from __future__ import annotations

import pytest
from support.abuse import DOCUMENT
from support.attacked import Ground
from support.attacks import all_attacks
from support.attacktable import documented, notice_well
from support.endurance import FULL_SECONDS

pytestmark = pytest.mark.alone

BUSY = 0.15
"""Seconds at p95 that are good enough for an echo on a machine that runs all tests.

On a quiet one `make abuse` asks for 20 ms; what this table was made for took from half a second to
for ever."""

QUICK = {
    "identity-fails",
    "thread-writes",
    "small-fragments",
    "large-body",
    "exits",
    "packed-messages",
    "lost-connection",
    "pings",
    "pongs",
    "one-byte-messages",
    "slow-rules-limited",
    "slow-calls",
    "many-bots",
    "deleted-subshell",
    "swallowed-cancellation",
    "new-error-classes",
    "forked-sleeper",
}
"""One or two of each kind for `make test`; `make endurance` and `make abuse` run them all."""

ATTACKS = [
    pytest.param(
        one,
        id=one.name,
        marks=[]
        if one.name in QUICK
        else [pytest.mark.endurance, pytest.mark.timeout(FULL_SECONDS)],
    )
    for one in all_attacks().values()
]


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    with Ground(tmp_path_factory.mktemp("attacks")) as ground:
        yield ground


def test_what_make_test_runs_exists():
    assert set(all_attacks()) >= QUICK


def test_the_table_has_every_attack_and_no_other():
    assert list(documented(DOCUMENT)) == [one.words for one in all_attacks().values()]


@pytest.mark.parametrize("one", ATTACKS)
def test_others_notice_nothing_of_an_attack_and_the_attacker_sees_what_the_table_says(ground, one):
    noticed = notice_well(ground, one, enough=BUSY, size=0.5, quiet=0.4)
    print(noticed.figures())
    assert noticed.faults(one, enough=BUSY) == []
    assert noticed.words == documented(DOCUMENT)[one.words], "if this is meant, run `make abuse`"


def test_after_all_attacks_nothing_of_ours_has_failed(ground):
    log = ground.server.log_text()
    for fault in OURS:
        assert fault not in log, log[max(0, log.index(fault) - 2000) : log.index(fault) + 3000]


OURS = (
    "never retrieved",
    "was never awaited",
    "Exception in callback",
    "Uncaught exception",
    "Task was destroyed",
    "ResourceWarning",
)
"""What a log holds where something of the package's own has failed, beside what bots raise."""
