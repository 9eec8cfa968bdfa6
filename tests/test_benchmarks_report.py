"""The report of the benchmarks adds up: figures, goals, drawings, and the programs it asks."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
SVG = "{http://www.w3.org/2000/svg}"

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the benchmarks need Linux"
)


@pytest.fixture
def bench(monkeypatch):
    """The modules of the benchmarks, by their names."""
    monkeypatch.syspath_prepend(str(CHECKOUT))
    import benchmarks
    from benchmarks import figures, goals, launch, machine, parts, plots, publish, report

    assert {figures, goals, launch, machine, parts, plots, publish, report}
    return benchmarks


def echo(bench, key="echo-64-1", **values):
    known = {
        "tornado": [80.0, 40.0, 100.0],
        "picows": [8.0, 8.0, 10.0],
        "wshandler": [16.0, 6.0, 12.0],
        "wshandler-def": [16.0, 12.0, 40.0],
    }
    bars = {
        name: bench.figures.Bar(f"the {name}", found) for name, found in (known | values).items()
    }
    return bench.figures.Figure(key, "echo 64 B, 1 in flight", "us", bars, of="tornado")


def test_a_ratio_compares_what_was_measured_at_the_same_time_and_leaves_out_what_is_missing(bench):
    figure = echo(bench, wshandler=[16.0, None, 12.0])
    assert figure.ratios("wshandler", "tornado") == pytest.approx([0.2, 0.12])
    assert figure.ratios("wshandler", "picows") == pytest.approx([2.0, 1.2])
    assert figure.ratios("wshandler", "nobody") == []
    assert figure.values("wshandler") == [16.0, 12.0]
    assert figure.values("nobody") == []


def test_figures_that_are_written_are_read_again_as_they_were(bench, tmp_path):
    path = tmp_path / "figures.json"
    written = [echo(bench, wshandler=[16.0, None, 12.0])]
    bench.figures.write(path, written)
    assert bench.figures.read(path) == written


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("no JSON", "figures.json holds no figures"),
        ('{"key": "a"}', "figures.json holds no figures"),
        ('[{"key": "a", "title": "A"}]', "KeyError.*bars"),
        (
            json.dumps(
                [
                    {
                        "key": "a",
                        "title": "A",
                        "of": "x",
                        "bars": {
                            "x": {"name": "X", "values": [1, 2]},
                            "y": {"name": "Y", "values": [1]},
                        },
                    }
                ]
            ),
            "a: the bars have different numbers of values",
        ),
    ],
)
def test_a_file_that_holds_no_figures_is_refused_by_its_name(bench, tmp_path, text, why):
    path = tmp_path / "figures.json"
    path.write_text(text)
    with pytest.raises(bench.machine.BenchmarkError, match=why):
        bench.figures.read(path)


@pytest.mark.parametrize(
    ("figure", "bar", "of", "limit"),
    [
        ("echo-64-1", "wshandler-def", "tornado", 0.25),
        ("echo-64-16", "wshandler-def", "tornado", 0.20),
        ("echo-4096-1", "wshandler-def", "tornado", 0.35),
        ("echo-64-1", "wshandler", "picows", 1.25),
        ("active-few", "wshandler", "picows", 1.25),
        ("echo-64-16", "wshandler", "tornado", 0.07),
        ("connect", "wshandler", "jupyter", 0.9),
        ("storm-p99", "wshandler", "jupyter-all", 1.2),
        ("scale-1", "room", "socketio", 0.25),
        ("scale-p99-4", "room", "socketio", 1.0),
        ("idle-deflate", "wshandler", "tornado", 0.20),
        ("idle", "wshandler", "tornado", 0.32),
        ("blocked", "wshandler-def", "", 10.0),
        ("tls-64-1", "wshandler", "tornado", 0.6),
        ("tls-64-16", "wshandler", "tornado", 0.12),
        ("kernels-rate", "kernel", "", 20_000),
        ("kernels-trip", "kernel", "", 2.0),
    ],
)
def test_what_the_project_sets_itself_stands_in_the_one_table_of_goals(
    bench, figure, bar, of, limit
):
    [goal] = [
        one for one in bench.goals.GOALS if (one.figure, one.bar, one.of) == (figure, bar, of)
    ]
    assert goal.limit == limit
    assert goal.met(limit)
    assert goal.met(limit * 1.01) is goal.least
    assert goal.met(limit * 0.99) is not goal.least


def test_every_goal_of_the_tables_is_of_a_figure_and_a_row_that_there_are(bench):
    from benchmarks.scenarios import GROUPS, Plan, compressed, scenarios

    measured = [*scenarios(Plan(), set(GROUPS)), *compressed(Plan())]
    known = {scenario.key for scenario in measured} | {"small-echoed", "small-pushed"}
    elsewhere = ("tls-", "storm-", "rooms-", "scale-", "kernels-", "guests")
    rows = {row.key for server in bench.launch.ALL for row in server.rows}
    own = [goal for goal in bench.goals.GOALS if not goal.figure.startswith(elsewhere)]
    assert own
    for goal in own:
        assert goal.figure in known
        assert goal.bar in rows
        assert not goal.of or goal.of in rows


def test_a_goal_is_judged_by_the_median_of_the_ratios_and_one_without_figures_is_left_out(bench):
    verdicts = bench.goals.judge([echo(bench)])
    by_bar = {one.goal.bar: one for one in verdicts}
    assert len(verdicts) == 2
    # of picows: 2, 0.75 and 1.2
    assert by_bar["wshandler"].value == pytest.approx(1.2)
    assert by_bar["wshandler"].half == pytest.approx(0.625)
    assert by_bar["wshandler"].met
    # of raw Tornado: 0.2, 0.3 and 0.4
    assert by_bar["wshandler-def"].value == pytest.approx(0.3)
    assert not by_bar["wshandler-def"].met
    lines = bench.goals.table(verdicts).splitlines()
    assert (
        "| `def`, echo 64 B, 1 in flight | at most 0.25 | 0.30 ± 0.10 | the tornado | **missed** |"
        in lines
    )
    assert (
        "| `async def`, echo 64 B, 1 in flight | at most 1.25 | 1.20 ± 0.62 | the picows | met |"
        in lines
    )


def test_a_goal_that_is_a_lower_limit_is_said_so_with_its_unit(bench):
    bars = {"kernel": bench.figures.Bar("kernel", [19_000.0, 21_000.0, 20_500.0])}
    figure = bench.figures.Figure("kernels-rate", "rate", "messages/s", bars)
    text = bench.goals.table(bench.goals.judge([figure]))
    assert "at least 20,000 messages/s | 20,500 ± 1,000 messages/s |  | met" in text


def drawing(text):
    root = ET.fromstring(text)
    texts = [(one.get("class"), one.text) for one in root.iter(f"{SVG}text")]
    widths = [float(one.get("width")) for one in root.iter(f"{SVG}rect")][1:]
    return root, texts, widths


def test_a_drawing_shows_each_bar_as_long_as_its_ratio_with_its_number(bench):
    root, texts, widths = drawing(bench.plots.draw(echo(bench)))
    assert ("small", "less is better; the tornado = 1 (80.0 µs of CPU)") in texts
    tornado, picows, ours, threads = widths
    assert picows / tornado == pytest.approx(0.1, abs=0.01)
    assert ours / tornado == pytest.approx(0.15, abs=0.01)
    assert threads / tornado == pytest.approx(0.3, abs=0.01)
    numbers = [text for kind, text in texts if kind == "number"]
    assert numbers == ["1.00", "0.10 ± 0.050", "0.15 ± 0.040", "0.30 ± 0.10"]
    names = [text for kind, text in texts if kind in ("name", "ours")]
    assert names == ["the tornado", "the picows", "the wshandler", "the wshandler-def"]
    assert root.find(f"{SVG}desc").text.startswith("the tornado: 1.00; the picows: 0.10")


def test_times_of_a_storm_are_no_cpu_time_and_names_lose_their_marks(bench, tmp_path):
    path = tmp_path / "figures.json"
    bars = {
        "jupyter-all": {"name": "plain Jupyter, all", "values": [4.0]},
        "wshandler": {"name": "**ours**, `async def`", "values": [3.0]},
    }
    storm = {"key": "storm-p99", "title": "a storm", "unit": "s", "of": "jupyter-all"}
    path.write_text(json.dumps([storm | {"bars": bars}]))
    [figure] = bench.figures.read(path)
    _, texts, _ = drawing(bench.plots.draw(figure))
    assert ("small", "less is better; plain Jupyter, all = 1 (4.00 s)") in texts
    assert ("ours", "ours, async def") in texts
    [verdict] = bench.goals.judge([figure])
    assert (verdict.value, verdict.met) == (0.75, True)


def test_a_goal_is_drawn_in_the_scale_of_the_figure_whatever_it_is_a_ratio_of(bench):
    figure = echo(bench)
    assert bench.plots.goal(figure, "wshandler-def") == 0.25
    assert bench.plots.goal(figure, "wshandler") == pytest.approx(1.25 * 0.1)
    assert bench.plots.goal(figure, "tornado") is None
    _, texts, _ = drawing(bench.plots.draw(figure))
    assert [text for kind, text in texts if kind == "limit"] == ["goal 0.12", "goal 0.25"]


def test_a_drawing_is_for_light_and_dark_and_nothing_stands_out_of_it(bench):
    values = {"wshandler-loop": [80.0, 90.0, 110.0], "aiohttp": [0.001, 0.001, 0.001]}
    text = bench.plots.draw(echo(bench, **values))
    assert "@media (prefers-color-scheme: dark)" in text
    root, _, widths = drawing(text)
    assert min(widths) > 0
    width, height = float(root.get("width")), float(root.get("height"))
    for one in root.iter(f"{SVG}text"):
        # the mean width of a letter and of a digit in the widest of the usual fonts
        letter = 7.8 if one.get("class") in ("number", "limit") else 6.8
        assert float(one.get("x")) + letter * len(one.text) < width, one.text
        assert float(one.get("y")) < height


def test_names_are_drawn_as_they_are_and_a_bar_without_values_is_left_out(bench):
    figure = echo(bench, **{"a<b": [1.0, 1.0, 1.0], "none": [None, None, None]})
    _, texts, _ = drawing(bench.plots.draw(figure))
    assert ("name", "the a<b") in texts
    assert "the none" not in [text for _, text in texts]


def test_a_figure_of_rates_says_that_more_is_better(bench):
    bars = {"kernel": bench.figures.Bar("kernel", [20_000.0])}
    figure = bench.figures.Figure("kernels-rate", "rate", "messages/s", bars)
    assert "messages/s; more is better" in bench.plots.draw(figure)
    assert "raw" not in bench.plots.draw(figure)


def results(bench, *failures):
    from benchmarks.launch import Row
    from benchmarks.scenarios import QUICK, scenarios

    rows = [Row("tornado", "raw Tornado"), Row("wshandler-def", "**ours**, `def`")]
    measured = [
        {
            (row.key, "echo-64-1"): {"cpu_us_per": cpu, "rate": 1e6 / cpu, "client_share": 0.5}
            for row, cpu in zip(rows, costs, strict=True)
        }
        for costs in ((80.0, 16.0), (40.0, 12.0), (100.0, 40.0))
    ]
    found = bench.report.Results(rows, scenarios(QUICK, {"echo"})[:1], measured)
    found.slices = [{"row": "tornado", "round": "1/1", "slice": 1, "cpu_us_per": 80.0}]
    found.failures += failures
    return found


def test_the_page_has_the_goals_the_drawings_the_tables_and_what_failed(bench, tmp_path):
    (tmp_path / "of-an-earlier-run.svg").write_text("<svg/>")
    part = bench.parts.Part("rooms", "Rooms")
    bars = {"floor": bench.figures.Bar("C", [1.0]), "room": bench.figures.Bar("room", [1.2])}
    figure = bench.figures.Figure("rooms-1", "a room", "us", bars, of="floor")
    outcomes = [bench.parts.Outcome(part, "| a | table |", [figure], 0)]
    verdicts = bench.publish.write(
        tmp_path, "# Results", results(bench, "aiohttp: it fell over"), outcomes
    )
    page = (tmp_path / "README.md").read_text()
    places = [
        page.index(words)
        for words in (
            *("# Results", "## Goals", "**missed**", "## At a glance", "## Server CPU"),
            *("| ours | 0.30 ± 0.10 |".replace("ours", "**ours**, `def`"), "## Rooms"),
            *("| a | table |", "## Failed", "aiohttp: it fell over"),
        )
    ]
    assert places == sorted(places)
    images = re.findall(r"!\[.+\]\((.+\.svg)\)", page)
    assert images == ["echo-64-1.svg", "rooms-1.svg"]
    assert sorted(file.name for file in tmp_path.glob("*.svg")) == images
    assert [one.met for one in verdicts] == [False, True]


def test_every_slice_and_every_figure_is_in_the_json(bench, tmp_path):
    bench.publish.write(tmp_path, "# Results", results(bench), [])
    data = json.loads((tmp_path / "results.json").read_text())
    assert data["slices"] == [{"row": "tornado", "round": "1/1", "slice": 1, "cpu_us_per": 80.0}]
    [figure] = data["figures"]
    assert figure["bars"]["wshandler-def"] == {"name": "ours, def", "values": [16.0, 12.0, 40.0]}


def asked(bench, monkeypatch, tmp_path, program, **options):
    """Run a program as if it were one of the benchmarks."""
    (tmp_path / "programofatest.py").write_text(program)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(bench.parts.Part, "module", "programofatest")
    part = bench.parts.Part("x", "X", **options)
    return bench.parts.run(part, tmp_path, quick=True, check=True)


KNOWS = """\
import argparse, json, pathlib
parser = argparse.ArgumentParser()
parser.add_argument("--quick", action="store_true")
parser.add_argument("--check", action="store_true")
parser.add_argument("--json", type=pathlib.Path)
options = parser.parse_args()
bars = {"a": {"name": "A", "values": [1, 2]}}
options.json.write_text(json.dumps([{"key": "k", "title": "K", "unit": "us", "bars": bars}]))
print("a table, quick and checked:", options.quick and options.check)
"""


def test_a_benchmark_that_writes_figures_is_asked_for_them(bench, monkeypatch, tmp_path):
    outcome = asked(bench, monkeypatch, tmp_path, KNOWS)
    assert (outcome.code, outcome.text) == (0, "a table, quick and checked: True")
    [figure] = outcome.figures
    assert figure.values("a") == [1.0, 2.0]


def test_a_benchmark_that_knows_no_figures_is_not_asked_for_them(bench, monkeypatch, tmp_path):
    program = "import sys\nprint(sys.argv[1:])\nsys.exit(1)\n"
    outcome = asked(bench, monkeypatch, tmp_path, program)
    assert (outcome.code, outcome.text, outcome.figures) == (1, "['--quick']", [])


def test_a_benchmark_that_dies_has_measured_nothing_and_its_section_says_so(
    bench, monkeypatch, tmp_path
):
    outcome = asked(bench, monkeypatch, tmp_path, "raise SystemExit(2)")
    assert outcome.code == 2
    assert "Nothing was measured." in bench.parts.section(outcome)


def test_the_figures_of_bots_in_kernels_are_read_from_beside_their_page(
    bench, monkeypatch, tmp_path
):
    program = """\
import json, pathlib, sys
page = pathlib.Path(sys.argv[sys.argv.index("--output") + 1])
page.write_text("# Bots")
rounds = [{"round": r, "row": "kernel", "scenario": "text-64", "rate": r * 1e4} for r in (1, 3)]
trip = {"round": 1, "row": "kernel", "scenario": "trip", "p50_us": 1500, "p99_us": 9000}
page.with_suffix(".json").write_text(json.dumps([*rounds, trip]))
print("a long report")
"""
    outcome = asked(bench, monkeypatch, tmp_path, program, page="kernels.md")
    rate, trip = outcome.figures
    assert (rate.key, rate.values("kernel")) == ("kernels-rate", [1e4, 3e4])
    assert (trip.key, trip.values("kernel")) == ("kernels-trip", [1.5])
    assert trip.bars["kernel"].name == "bot in a kernel, async def"
    text = bench.parts.section(outcome)
    assert "[kernels.md](kernels.md)" in text
    assert "a long report" not in text


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()


def test_a_benchmark_that_does_not_end_is_ended_with_all_that_it_has_started(
    bench, monkeypatch, tmp_path
):
    program = f"""\
import pathlib, subprocess, sys, time
if "--help" not in sys.argv:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    pathlib.Path({str(tmp_path / "child")!r}).write_text(str(child.pid))
    time.sleep(600)
"""
    monkeypatch.setattr(bench.parts, "LIMIT", 4.0)
    outcome = asked(bench, monkeypatch, tmp_path, program)
    assert outcome.code == 2
    assert "did not end in 4 s" in outcome.text
    child = tmp_path / "child"
    deadline = time.monotonic() + 20
    while child.exists() and alive(int(child.read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_another_checkout_is_measured_beside_this_one_under_names_of_its_own(bench, tmp_path):
    server = bench.launch.before(tmp_path)
    ours = next(one for one in bench.launch.ALL if one.key == "wshandler")
    assert server.tree == tmp_path
    assert [row.key for row in server.rows] == ["before", "before-loop", "before-def"]
    assert server.rows[0].title == "before, `async def`"
    assert [row.path for row in server.rows] == [row.path for row in ours.rows]
    assert replace(server, key=ours.key, rows=ours.rows, tree=ours.tree) == ours


@pytest.mark.parametrize(
    ("program", "status", "words"),
    [
        ("print('all is well')", 0, "all is well"),
        ("raise SystemExit(1)", 1, "- x: a measurement failed, see its section"),
        ("raise SystemExit(2)", 1, "- x: benchmarks.x measured nothing"),
    ],
)
def test_the_command_fails_where_a_benchmark_fails_and_notes_one_that_is_not_there(
    bench, monkeypatch, tmp_path, program, status, words
):
    from benchmarks import cli

    (tmp_path / "programofatest.py").write_text(program)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    known = {"x": "programofatest", "missing": "benchmarks.missing"}
    monkeypatch.setattr(bench.parts.Part, "module", property(lambda part: known[part.key]))
    monkeypatch.syspath_prepend(str(tmp_path))
    listed = (bench.parts.Part("x", "X"), bench.parts.Part("missing", "Missing"))
    monkeypatch.setattr(bench.parts, "PARTS", listed)
    monkeypatch.setattr(cli.loadclient, "build", lambda: None)
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert cli.main(["--only", "x,missing", "--output", str(tmp_path)]) == status
    finally:
        signal.signal(signal.SIGTERM, before)
    page = (tmp_path / "README.md").read_text()
    assert words.replace("benchmarks.x", "programofatest") in page
    assert "- missing: not measured, there is no benchmarks.missing" in page


def test_only_a_whole_run_replaces_the_published_results(bench, tmp_path):
    from benchmarks import cli

    options = cli._options
    assert bench.publish.folder(options([])) == CHECKOUT / "docs" / "benchmarks"
    partial = CHECKOUT / "benchmarks" / "build" / "partial"
    for arguments in (["--quick"], ["--only", "echo"], ["--servers", "aiohttp"]):
        assert bench.publish.folder(options(arguments)) == partial
    assert bench.publish.folder(options(["--before", str(tmp_path)])) == partial
    assert bench.publish.folder(options(["--output", str(tmp_path / "x")])) == tmp_path / "x"
    with pytest.raises(SystemExit):
        options(["--only", "echo,rooom"])


@pytest.mark.parametrize(("empty", "measured"), [(3, True), (4, False)])
def test_a_slice_for_which_a_busy_machine_left_no_time_is_measured_again(bench, empty, measured):
    from benchmarks import cli
    from benchmarks.scenarios import Scenario

    asked = []

    def measure(target, row):
        asked.append(row)
        if len(asked) <= empty:
            raise bench.machine.NothingMeasured("echo: nothing was measured")
        return {"cpu_us_per": 1.0}

    scenario = Scenario("echo-64-1", "echo", "echo", measure)
    if measured:
        assert cli._patiently(scenario, None, "row") == {"cpu_us_per": 1.0}
    else:
        with pytest.raises(bench.machine.NothingMeasured):
            cli._patiently(scenario, None, "row")
    assert len(asked) == 4
