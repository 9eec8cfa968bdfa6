"""Breaks of the connection, as wshandler.js bears them: nothing is lost or comes twice."""

from __future__ import annotations

import random
import socket

import pytest
from support.lastingserver import SECRET, resuming_server
from support.nodepage import NodePage, node_page
from support.server import wait_for


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with node_page(tmp_path_factory.mktemp("page")) as opened:
        yield opened


@pytest.fixture
def page(shared):
    yield shared
    shared.run("globalThis.bot?.close(); stored.clear();")


@pytest.fixture
def server():
    with resuming_server() as running:
        yield running


def begin(page: NodePage, server, **options) -> None:
    page.run(
        "globalThis.bot = watched(connect(url, options)); await until(() => bot.state === 'open');",
        url=server.url,
        options=options,
    )


def test_two_thousand_messages_and_two_hundred_questions_come_once_in_order_through_twenty_cuts(
    page, server
):
    begin(page, server, queue=10_000)
    server.answer = lambda text: ["it", " is ", text]
    page.run("""
      globalThis.answers = [];
      globalThis.round = 1;
      globalThis.done = (async () => {
        for (let number = 0; number < 2000; number += 1) {
          if (!bot.send(`m${number}`)) throw new Error('refused');
          if (number % 10 === 0) answers.push(bot.ask(`q${number}`));
          if (number % 100 === 0) await until(() => round >= number / 100);
          if (number % 8 === 0) await new Promise((resolve) => { setTimeout(resolve, 4); });
        }
        return (await Promise.all(answers)).map((answer) => answer.join(''));
      })();
    """)
    chance = random.Random(7)
    talk = server.last
    pushed = 0
    for number in range(1, 21):
        goal = (number - 1) * 110 + chance.randrange(5, 100)
        wait_for(lambda goal=goal: len(talk.messages) >= goal, 30, "more messages")
        for _ in range(20):
            talk.send({"message": f"p{pushed}"})
            pushed += 1
        server.cut()
        for _ in range(chance.randrange(10)):
            talk.send({"message": f"p{pushed}"})
            pushed += 1
        # Pauses grow with each break, unless somebody does not want to wait.
        page.run(
            "await until(() => bot.seen.filter((each) => each === 'away').length === number);"
            "round += 1; bot.connect(); await until(() => bot.state === 'open');",
            number=number,
        )
    answers = page.run("return await done;")
    wait_for(lambda: len(talk.messages) == 2200, 30, "all that was sent")
    page.run("await until(() => bot.got.length === pushed);", pushed=pushed)
    expected = []
    for number in range(2000):
        expected.append(f"m{number}")
        if number % 10 == 0:
            expected.append(f"q{number}")
    assert talk.messages == expected
    assert answers == [f"it is q{number}" for number in range(0, 2000, 10)]
    assert page.run("return bot.got;") == [f"p{number}" for number in range(pushed)]
    seen = page.run("return bot.seen;")
    assert seen.count("away") == 20
    assert [each[0] for each in seen if isinstance(each, list)] == ["resumed"] * 20
    assert seen.count("open") == 1
    assert server.conversations == [talk]


def asked(page: NodePage, server) -> None:
    """Have the page ask one question that the test answers."""
    server.answer = lambda text: []
    page.run("""
      globalThis.pieces = [];
      globalThis.answer = bot.stream('tell');
      globalThis.read = (async () => {
        for await (const piece of answer) pieces.push(piece);
        return answer.how;
      })().catch((error) => `${error.how}: ${error.message}`);
    """)
    wait_for(lambda: server.last.messages == ["tell"], 10, "the question")


def test_an_answer_goes_on_through_a_break_and_a_stop_that_was_lost_in_it_is_sent_again(
    page, server
):
    begin(page, server)
    asked(page, server)
    talk = server.last
    for number in range(300):
        if number in (50, 120, 200):
            server.cut()
        talk.send({"piece": f"{number} ", "of": 1})
    page.run("await until(() => pieces.length === 300);")
    assert page.run("return pieces;") == [f"{number} " for number in range(300)]
    server.cut()
    page.run("await until(() => bot.state === 'away'); answer.stop();")
    wait_for(lambda: talk.stopped == [1], 10, "the stop")
    talk.send({"end": 1, "how": "stopped"})
    assert page.run("return await read;") == "stopped"


def test_what_is_sent_in_a_break_arrives_in_order_after_it(page, server):
    begin(page, server)
    page.run("bot.send('before');")
    wait_for(lambda: server.last.messages == ["before"], 10, "the first")
    server.cut()
    sent = page.run("""
      await until(() => bot.state === 'away');
      return [bot.send('one'), bot.send(new Uint8Array([1, 2])), bot.words];
    """)
    assert sent == [True, True, "The connection was lost."]
    wait_for(lambda: len(server.last.messages) == 3, 10, "the others")
    assert server.last.messages == ["before", "one", b"\x01\x02"]
    page.run("await until(() => bot.got.length === 1);")
    assert page.run("return bot.got;") == [[2, 1]]
    assert server.offers[0] == ["wsh.v1", "wsh.resume"]
    assert server.offers[1] == ["wsh.v1", f"wsh.resume.c1.{SECRET}.0"]


def test_what_waits_is_bounded_in_messages_and_in_bytes(page, server):
    begin(page, server, queue=2, queueBytes=10)
    sent = page.run(
        """
      bot.connect();
      const other = watched(connect(url, {queue: 3, queueBytes: 10}));
      const sent = ['1234', '5678', '901'].map((each) => other.send(each));
      sent.push(other.send('90'), other.send(''));
      const full = await other.ask('more').catch((error) => [error.how, error.message]);
      await until(() => other.state === 'open');
      other.close();
      return [sent, full];
    """,
        url=server.url,
    )
    assert sent == [
        [True, True, False, True, False],
        ["lost", "Too much waits for the connection."],
    ]
    wait_for(lambda: server.last.messages == ["1234", "5678", "90"], 10, "what was taken")


@pytest.mark.parametrize("reason", ["unknown", "user", "lost", "ended"])
def test_a_connection_that_cannot_be_gone_on_with_is_renewed_and_says_what_is_not_known(
    page, server, reason
):
    begin(page, server)
    asked(page, server)
    page.run("bot.send('perhaps');")
    wait_for(lambda: len(server.last.messages) == 2, 10, "both")
    server.reason = reason
    server.known.clear()
    server.cut()
    page.run("""
      await until(() => bot.state === 'away');
      bot.send('queued');
      bot.ask('queued too').catch(() => {});
      await until(() => bot.seen.some(([type]) => type === 'renewed'));
    """)
    assert page.run("return await read;") == "lost: The connection was lost."
    assert page.run("return bot.seen.slice(2);") == [
        "is away",
        "away",
        "is open",
        ["renewed", {"reason": reason, "unsure": ["perhaps"], "answers": []}],
        "open",
    ]
    wait_for(lambda: server.last.messages == ["queued", "queued too"], 10, "what had waited")
    assert server.last.received == 2, "the numbers begin again"
    assert page.run("return bot.id;") == "c2"


def test_an_end_tells_what_was_never_sent_and_what_may_not_have_arrived(page, server):
    begin(page, server)
    server.answer = lambda text: []
    page.run("bot.send('perhaps'); bot.ask('a question').catch(() => {});")
    wait_for(lambda: len(server.last.messages) == 2, 10, "both")
    server.cut()
    page.run("""
      await until(() => bot.state === 'away');
      for (const each of ['waits', 'waits too']) bot.send(each);
      bot.close();
    """)
    told = [["unsure", "perhaps"], ["unsent", "waits"], ["unsent", "waits too"]]
    assert page.run("return bot.seen.slice(-4);") == ["is closed", *told]
    begin(page, server)
    page.run("bot.send('arrives'); bot.close();")
    assert page.run("return bot.seen.at(-1);") == "is closed"
    wait_for(lambda: server.last.messages == ["arrives"], 10, "what was sent")
    begin(page, server)
    page.run("bot.send('perhaps');")
    wait_for(lambda: server.last.messages == ["perhaps"], 10, "what was sent")
    server.close(4401, "signed out")
    page.run("await until(() => bot.state === 'closed');")
    assert page.run("return bot.seen.at(-1);") == ["unsure", "perhaps"]


def test_a_handshake_that_nobody_answers_is_given_up_and_tried_again(page):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        seen = page.run(
            """
            const real = globalThis.setTimeout;
            globalThis.setTimeout = (act, wait, ...more) => (
              real(act, wait === 20_000 ? 50 : wait, ...more));
            try {
              globalThis.bot = watched(connect(url));
              await until(() => bot.attempts > 1);
            } finally {
              globalThis.setTimeout = real;
            }
            return [bot.state, bot.cause, bot.words];
            """,
            url=f"ws://127.0.0.1:{mute.getsockname()[1]}/bot",
        )
    assert seen == ["waiting", "unreachable", "The server cannot be reached."]


def test_a_server_that_is_gone_is_tried_again_in_node_too(page):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    page.run("""
      globalThis.bot = watched(connect(`ws://127.0.0.1:${port}/bot`));
      await until(() => bot.attempts > 1);
    """, port=port)  # fmt: skip
    assert page.run("return [bot.state, bot.cause];") == ["waiting", "unreachable"]


def test_a_close_of_the_servers_ends_the_connection_and_the_next_one_is_new(page, server):
    begin(page, server)
    asked(page, server)
    server.close(1012, "reloaded")
    page.run("await until(() => bot.seen.some(([type]) => type === 'renewed'));")
    assert page.run("return await read;") == "lost: The bot is being restarted."
    assert "away" not in page.run("return bot.seen;")
    assert page.run("return bot.seen.find(([type]) => type === 'renewed')[1].reason;") == "ended"
    assert server.offers[-1] == ["wsh.v1", "wsh.resume"]


@pytest.mark.parametrize("code", [1000, 1002, 1003, 1007, 1008, 1009, 4000, 4403])
def test_a_close_for_good_is_not_come_back_from(page, server, code):
    begin(page, server)
    asked(page, server)
    server.close(code)
    page.run("await until(() => bot.state === 'closed');")
    assert page.run("return await read;").startswith("lost: ")
    assert page.run("return [bot.send('more'), bot.retryIn];") == [False, 0]
    assert len(server.offers) == 1


def test_without_resume_frames_have_no_numbers_and_a_break_is_waiting(page, server):
    server.resumes = False
    begin(page, server)
    talk = server.last
    server.cut()
    page.run("await until(() => bot.state === 'waiting');")
    assert page.run("return bot.send('kept');") is True
    page.run("await until(() => bot.seen.some(([type]) => type === 'renewed'));")
    seen = page.run("return bot.seen.find(([type]) => type === 'renewed')[1].reason;")
    assert seen == "off"
    assert server.last is not talk


def test_a_repetition_is_dropped_and_a_gap_ends_the_socket_and_is_filled(page, server):
    begin(page, server)
    talk = server.last
    talk.send({"message": "one"})
    page.run("await until(() => bot.got.length === 1);")
    talk.write(talk.kept[0][1])
    before, talk.socket = talk.socket, None
    talk.send({"message": "two"})
    talk.socket = before
    talk.send({"message": "three"})
    page.run("await until(() => bot.got.length === 3);")
    assert page.run("return bot.got;") == ["one", "two", "three"]
    wait_for(lambda: 4900 in server.closes, 10, "the end of the first socket")
    assert server.offers[-1][1].endswith(".1")


def test_what_has_come_is_acknowledged_each_64_frames_and_after_5_seconds(page, server):
    begin(page, server)
    talk = server.last
    for number in range(130):
        talk.send({"message": str(number)})
    wait_for(lambda: talk.acknowledged == [64, 128], 4, "two acknowledgements")
    wait_for(lambda: talk.acknowledged == [64, 128, 130], 10, "the last one")
    assert talk.kept == []


def test_a_page_that_is_loaded_anew_goes_on_with_the_connection(page, server, tmp_path):
    begin(page, server)
    asked(page, server)
    talk = server.last
    talk.send({"message": "seen"})
    talk.send({"piece": "one ", "of": 1})
    page.run("await until(() => pieces.length === 1);")
    server.cut()
    kept = page.run("""
      await until(() => bot.state === 'away');
      bot.send('in the break');
      happens('pagehide', {persisted: false});
      const kept = [...stored];
      bot.close();
      return kept;
    """)
    wait_for(lambda: talk.socket is None, 10, "the end of the first page")
    with node_page(tmp_path) as next_page:
        next_page.run(
            "for (const [key, value] of kept) stored.set(key, value);"
            "globalThis.bot = watched(connect(url)); globalThis.left = stored.size;"
            "await until(() => bot.state === 'open');",
            kept=kept,
            url=server.url,
        )
        assert next_page.run("return left;") == 0, "nobody else comes back as this connection"
        wait_for(lambda: talk.messages == ["tell", "in the break"], 10, "what had waited")
        talk.send({"piece": "two", "of": 1})
        talk.send({"message": "new"})
        talk.send({"end": 1, "how": "done", "streamed": True})
        got = next_page.run("""
          await until(() => bot.got.length === 1);
          return bot.got;
        """)
        assert got == ["new"]
        assert server.conversations == [talk]
        next_page.run("bot.close();")


def test_the_answers_of_the_page_before_are_handed_to_the_next_one(page, server, tmp_path):
    begin(page, server)
    asked(page, server)
    talk = server.last
    talk.send({"piece": "one ", "of": 1})
    kept = page.run("""
      await until(() => pieces.length === 1);
      happens('pagehide', {persisted: false});
      return [...stored];
    """)
    script = """
      for (const [key, value] of kept) stored.set(key, value);
      globalThis.bot = watched(connect(url));
      globalThis.found = new Promise((done) => { bot.onresumed = (event) => done(event.detail); });
      globalThis.read = found.then(async ({answers: [answer]}) => {
        const pieces = [];
        for await (const piece of answer) pieces.push(piece);
        return [answer.question, pieces, answer.how];
      });
      await found;
    """
    with node_page(tmp_path) as next_page:
        next_page.run(script, kept=kept, url=server.url)
        talk.send({"piece": "two", "of": 1})
        talk.send({"end": 1, "how": "done", "streamed": True})
        assert next_page.run("return await read;") == ["tell", ["two"], "done"]
        assert next_page.run("return bot.id;") == "c1"
        next_page.run("bot.close();")


def test_a_page_that_is_left_lets_its_socket_go_and_comes_back(page, server):
    begin(page, server)
    asked(page, server)
    page.run("happens('pagehide', {persisted: true});")
    assert page.run("return [bot.state, bot.cause, stored.size];") == ["away", "away", 1]
    wait_for(lambda: server.closes == [4900], 10, "the end of the socket")
    server.last.send({"piece": "meanwhile", "of": 1})
    page.run("happens('pageshow', {persisted: true}); await until(() => bot.state === 'open');")
    page.run("await until(() => pieces.length === 1);")
    assert page.run("return stored.size;") == 0


def test_a_page_that_was_left_does_not_take_the_connection_back_from_a_newer_one(page, server):
    begin(page, server)
    page.run("happens('pagehide', {persisted: true}); stored.clear();")
    page.run("happens('pageshow', {persisted: true}); await until(() => bot.state === 'open');")
    assert server.offers[-1] == ["wsh.v1", "wsh.resume"]
    assert page.run("return bot.seen.find(([type]) => type === 'renewed')[1].reason;") == "unknown"


def test_a_machine_that_is_online_again_does_not_trust_its_old_socket(page, server):
    begin(page, server)
    page.run("happens('online'); await until(() => bot.seen.some(([type]) => type === 'resumed'));")
    assert server.offers[-1][1].startswith("wsh.resume.c1.")


def test_resume_and_reconnect_can_be_turned_off(page, server):
    begin(page, server, resume=False)
    assert server.offers == [["wsh.v1"]]
    page.run("bot.close();")
    begin(page, server, reconnect=False)
    server.cut()
    page.run("await until(() => bot.state === 'closed');")
    assert page.run("return [bot.cause, bot.words];") == [1006, "The connection was lost."]


def test_a_chat_keeps_what_stands_in_it_for_the_next_page_as_far_as_there_is_room(page):
    script = """
      const {Record, forgotten} = await load('chatrecord');
      const record = new Record();
      record.add({who: 'you', kind: '', text: 'tell'});
      record.add({who: 'bot', kind: 'piece', of: 1, text: 'one '});
      record.go({of: 1, text: 'two'});
      record.go({of: 1, json: '{"a":1}'});
      record.go({of: 1});
      record.finish(1);
      record.add({who: 'bot', kind: 'piece', of: 2, text: 'more'});
      record.keep('here');
      const kept = forgotten('here').map(({at, ...message}) => message);
      for (let number = 0; number < 600; number += 1) record.add({who: 'you', text: `${number}`});
      const {setItem} = sessionStorage;
      sessionStorage.setItem = (key, value) => {
        if (value.length > 5000) throw new DOMException('full', 'QuotaExceededError');
        setItem(key, value);
      };
      record.keep('here');
      sessionStorage.setItem = setItem;
      const some = forgotten('here');
      return [kept, some.length, some.at(-1).parts, forgotten('here')];
    """
    kept, some, last, again = page.run(script)
    gone = "*A picture or a file was here; it is not kept when the page is loaded again.*"
    parts = [{"text": "one two"}, {"json": '{"a":1}'}, {"text": gone}]
    assert kept == [
        {"who": "you", "kind": "", "parts": [{"text": "tell"}], "open": False},
        {"who": "bot", "kind": "piece", "of": 1, "parts": parts, "open": False},
        {"who": "bot", "kind": "piece", "of": 2, "parts": [{"text": "more"}], "open": True},
    ]
    assert (some, last) == (31, [{"text": "599"}])
    assert again == [], "the page after the next one has nothing of it"


# ---- rooms -----------------------------------------------------------------------------------


def test_a_room_is_joined_has_messages_and_members_and_is_left(page, server):
    begin(page, server)
    talk = server.last
    page.run("""
      globalThis.room = bot.join('blue', {presence: true});
      room.got = [];
      room.changes = [];
      room.onmessage = ({data, offset}) => room.got.push([data, offset]);
      room.onmembers = ({detail}) => room.changes.push(detail.change ?? 'all');
    """)
    wait_for(lambda: len(talk.other) == 1, 10, "the join")
    assert talk.other == [{"join": "blue", "presence": True, "n": 1}]
    talk.send({"joined": "blue", "epoch": "e", "offset": 17})
    talk.send({"message": "hello", "room": "blue", "offset": 18})
    talk.send({"message": "elsewhere", "room": "red"})
    ada, bob = ({"id": name, "card": {}, "connections": 1, "since": 1} for name in ("ada", "bob"))
    people = {"room": "blue", "presence_offset": 5}
    talk.send({"members": [ada], "more": True, **people})
    talk.send({"members": [bob], **people})
    change = {"room": "blue", "presence_offset": 6, "change": "changed"}
    talk.send({"member": {**ada, "connections": 2}, **change})
    talk.send({"member": {**ada, "connections": 3}, **change})
    talk.send({"member": bob, **change, "presence_offset": 7, "change": "left"})
    page.run("await room.joined; await until(() => room.changes.length === 3);")
    assert page.run("return room.changes;") == ["all", "changed", "left"]
    assert page.run("return room.members;") == {"ada": {**ada, "connections": 2}}
    assert page.run("return room.got;") == [["hello", 18]]
    assert page.run("return bot.got;") == ["elsewhere"]
    page.run("room.leave();")
    wait_for(lambda: len(talk.other) == 2, 10, "the leave")
    assert talk.other[1] == {"leave": "blue", "n": 2}


def test_rooms_are_joined_again_on_a_new_connection_with_where_they_were(page, server):
    begin(page, server)
    page.run("globalThis.room = bot.join('blue'); globalThis.plain = bot.join('red');")
    wait_for(lambda: len(server.last.other) == 2, 10, "the joins")
    server.last.send({"joined": "blue", "epoch": "", "offset": 0})
    server.last.send({"joined": "red"})
    server.last.send({"message": "hello", "room": "blue", "offset": 18, "epoch": "e"})
    page.run("await until(() => room.offset === 18 && plain.state === 'joined');")
    server.cut()
    page.run("await until(() => bot.seen.some(([type]) => type === 'resumed'));")
    assert len(server.last.other) == 2, "who comes back is in its rooms"
    server.known.clear()
    server.cut()
    wait_for(lambda: len(server.conversations) == 2, 10, "a new connection")
    wait_for(lambda: len(server.last.other) == 2, 10, "the joins")
    since = {"epoch": "e", "offset": 18}
    assert server.last.other == [
        {"join": "blue", "since": since, "n": 1},
        {"join": "red", "n": 2},
    ]
    page.run("room.got = []; room.onmessage = ({data}) => room.got.push(data);")
    # The route has put the new connection into the room before its join was answered.
    server.last.send({"message": "20", "room": "blue", "offset": 20})
    server.last.send({"joined": "blue", "epoch": "e", "offset": 20, "recovered": True})
    for offset in (19, 20):
        server.last.send({"message": str(offset), "room": "blue", "offset": offset})
    page.run("await until(() => room.offset === 20);")
    assert page.run("return [room.recovered, room.got];") == [True, ["19", "20"]]


def test_a_room_that_is_left_in_a_break_is_left_after_it_whatever_else_waits(page, server):
    begin(page, server, queue=1)
    page.run("globalThis.room = bot.join('blue');")
    wait_for(lambda: server.last.other, 10, "the join")
    server.last.send({"joined": "blue"})
    page.run("await room.joined;")
    server.cut()
    taken = page.run("""
      await until(() => bot.state === 'away');
      const taken = [bot.send('one'), bot.send('one too many')];
      room.leave();
      return taken;
    """)
    assert taken == [True, False]
    wait_for(lambda: len(server.last.other) == 2, 10, "the leave")
    assert server.last.other[1] == {"leave": "blue", "n": 3}
    assert server.last.messages == ["one"]


def test_a_room_that_refuses_says_why_and_is_not_asked_for_again(page, server):
    begin(page, server)
    page.run("globalThis.room = bot.join('blue');")
    wait_for(lambda: server.last.other, 10, "the join")
    server.last.send({"refused": "blue", "error": "room", "detail": "not for everybody"})
    refused = page.run("return await room.joined.catch((error) => [error.message, room.state]);")
    assert refused == ["not for everybody", "refused"]
    server.known.clear()
    server.cut()
    page.run("await until(() => bot.id === 'c2');")
    assert server.last.other == []


def test_a_join_over_the_rate_is_asked_for_again_when_it_may_pass(page, server):
    begin(page, server)
    page.run("globalThis.room = bot.join('blue');")
    wait_for(lambda: server.last.other, 10, "the join")
    server.last.send({"refused": "blue", "error": "ratelimit", "retry_after": 0.2})
    wait_for(lambda: len(server.last.other) == 2, 10, "the next one")
    server.last.send({"joined": "blue"})
    assert page.run("return (await room.joined).state;") == "joined"


def test_what_was_on_its_way_from_a_room_that_is_left_is_dropped(page, server):
    begin(page, server)
    page.run("globalThis.room = bot.join('blue'); room.leave();")
    wait_for(lambda: len(server.last.other) == 2, 10, "join and leave")
    server.last.send({"joined": "blue"})
    server.last.send({"message": "late", "room": "blue"})
    server.last.send({"left": "blue"})
    server.last.send({"message": "of the bot's own accord", "room": "blue"})
    page.run("await until(() => bot.got.length === 1);")
    assert page.run("return [bot.got, room.state];") == [["of the bot's own accord"], "left"]


def test_a_room_that_is_left_in_a_break_is_left_after_it(page, server):
    begin(page, server)
    page.run("globalThis.room = bot.join('blue');")
    wait_for(lambda: server.last.other, 10, "the join")
    server.cut()
    page.run("await until(() => bot.state === 'away'); room.leave();")
    wait_for(lambda: len(server.last.other) == 2, 10, "the leave")
    assert server.last.other[1] == {"leave": "blue", "n": 2}
