"""The secrets of guests' pages: what each is good for, for how long, and for how many."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import pytest

from jupyter_wshandler.connection.observer import Observers
from jupyter_wshandler.server.access import pagetickets
from jupyter_wshandler.server.access.pagetickets import (
    FOR_EACH_GUEST,
    FOR_EACH_PAGE,
    FOR_EACH_SHARE,
    LENGTH,
    PAGE_SECONDS,
    SOCKET_SECONDS,
    PageTickets,
)
from jupyter_wshandler.shares.share import Guest, GuestCard


@dataclass
class Socket:
    """As much of a connection as tickets look at; who its user is, they do not."""

    id: str = "socket-1"
    closed: bool = False


class Clock:
    """A clock that a test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(pagetickets, "monotonic", clock)
    return clock


@pytest.fixture
def tickets(clock):
    return PageTickets(Observers(logging.getLogger(__name__)))


def page_of(tickets, name="guest/1", share="a-share", path="/bot"):
    card = GuestCard(share=share, guest=name, session="session-1")
    return tickets.issue(card, Guest(name, share=share), "bot", path)


def test_a_page_is_found_by_its_ticket_and_by_its_key_and_by_neither_in_place_of_the_other(tickets):
    page = page_of(tickets, path="/room/blue/")
    assert (page.route, page.path, page.card.session) == ("bot", "/room/blue", "session-1")
    assert len(page.ticket) == len(page.key) == LENGTH
    assert tickets.of_ticket(page.ticket) is tickets.of_key(page.key) is page
    assert tickets.of_ticket(page.key) is None
    assert tickets.of_key(page.ticket) is None
    assert tickets.take_socket(page.ticket) is None
    assert tickets.of_ticket("") is tickets.of_key("") is tickets.take_socket("") is None


def test_a_page_does_not_show_its_secrets_where_it_is_printed(tickets):
    page = page_of(tickets)
    socket = tickets.issue_socket(page)
    assert not any(secret in repr(page) for secret in (page.ticket, page.key, socket))


def test_a_ticket_for_a_socket_opens_one_and_only_in_time(tickets, clock):
    page = page_of(tickets)
    first, second = tickets.issue_socket(page), tickets.issue_socket(page)
    assert tickets.take_socket(first) is page
    assert tickets.take_socket(first) is None
    clock.now += SOCKET_SECONDS
    assert tickets.take_socket(second) is None
    clock.now -= 1
    assert tickets.take_socket(second) is None


def test_a_page_has_so_many_tickets_for_sockets_at_a_time_and_the_newest_are_good(tickets):
    page = page_of(tickets)
    given = [tickets.issue_socket(page) for _ in range(FOR_EACH_PAGE + 1)]
    assert [tickets.take_socket(text) for text in given] == [None] + [page] * FOR_EACH_PAGE


def test_a_page_is_forgotten_an_hour_after_its_last_use(tickets, clock):
    page = page_of(tickets)
    socket = tickets.issue_socket(page)
    for _ in range(3):
        clock.now += PAGE_SECONDS
        assert tickets.of_ticket(page.ticket) is page
        clock.now += PAGE_SECONDS
        assert tickets.of_key(page.key) is page
    clock.now += PAGE_SECONDS + 1
    assert tickets.of_ticket(page.ticket) is None
    assert tickets.of_key(page.key) is None
    assert tickets.take_socket(socket) is None
    assert len(tickets) == 0


def test_pages_that_nobody_comes_back_for_are_forgotten_when_others_come(tickets, clock):
    page_of(tickets, "guest/1", share="one")
    clock.now += PAGE_SECONDS + 1
    page = page_of(tickets, "guest/2", share="other")
    assert len(tickets) == 1
    assert tickets.of_ticket(page.ticket) is page


def test_a_page_with_an_open_socket_is_kept_however_long_that_is(tickets, clock):
    page = page_of(tickets)
    socket = Socket()
    tickets.take(socket, page.guest)
    clock.now += 10 * PAGE_SECONDS
    page_of(tickets, "guest/2")
    tickets.lost(socket)
    clock.now += PAGE_SECONDS
    assert tickets.of_ticket(page.ticket) is page
    clock.now += PAGE_SECONDS + 1
    assert tickets.of_ticket(page.ticket) is None


def test_sockets_of_others_keep_no_page(tickets, clock):
    page = page_of(tickets)
    other = replace(page.guest, username="guest/9")
    tickets.take(Socket("of another guest"), other)
    tickets.take(Socket("of another share"), replace(page.guest, share="another"))
    tickets.take(Socket("lost in the same turn", closed=True), page.guest)
    clock.now += PAGE_SECONDS + 1
    assert tickets.of_ticket(page.ticket) is None
    # A socket of before this server knew the page counts for nothing when it ends.
    again = page_of(tickets, "guest/9")
    tickets.take(Socket("known"), other)
    tickets.lost(Socket("of another guest"))
    clock.now += PAGE_SECONDS + 1
    assert tickets.of_ticket(again.ticket) is again


def test_a_guest_has_so_many_pages_and_a_share_so_many_guests(tickets):
    other = page_of(tickets, "guest/other", share="another")
    first, *rest = [page_of(tickets, "guest/1") for _ in range(FOR_EACH_GUEST + 1)]
    assert tickets.of_ticket(first.ticket) is None
    assert all(tickets.of_ticket(page.ticket) for page in rest)
    many = [page_of(tickets, f"guest/many-{n}") for n in range(FOR_EACH_SHARE)]
    assert not any(tickets.of_ticket(page.ticket) for page in rest)
    assert all(tickets.of_ticket(page.ticket) for page in many)
    assert tickets.of_ticket(other.ticket) is other
    assert len(tickets) == FOR_EACH_SHARE + 1


def test_who_looks_at_many_pages_takes_those_of_nobody_who_has_come_in(tickets):
    inside = [page_of(tickets, f"guest/in-{n}") for n in range(3)]
    for number, page in enumerate(inside):
        tickets.take(Socket(f"socket-{number}"), page.guest)
    tickets.lost(Socket("socket-0"))  # who has come in may come again
    looked = [page_of(tickets, f"guest/looks-{n}") for n in range(2 * FOR_EACH_SHARE)]
    assert all(tickets.of_ticket(page.ticket) is page for page in inside)
    known = [tickets.of_ticket(page.ticket) is page for page in looked]
    assert known == [False] * (FOR_EACH_SHARE + 3) + [True] * (FOR_EACH_SHARE - 3)
    assert len(tickets) == FOR_EACH_SHARE
