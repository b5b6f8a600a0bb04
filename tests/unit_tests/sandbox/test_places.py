"""Places for workers: who gets one, who gives one up, and when idle sessions end."""

from __future__ import annotations

import gc
import os
import threading
import time
import weakref
from typing import Any

from langchain_replm.sandbox._live import IdleSession
from langchain_replm.sandbox._places import MOST_IDLE, Places
from langchain_replm.sandbox._wire import Session, WireLimits
from langchain_replm.sandbox.base import Exchanged, Transport
from langchain_replm.sandbox.local import LocalSandbox


class Silent(Transport):
    """A transport that only knows whether it is open."""

    is_open = True

    def exchange(self, data: Any, timeout_seconds: float | None) -> Exchanged:
        return Exchanged(data=b"", elapsed_seconds=0.0)

    def wake(self) -> None: ...

    def interrupt(self) -> bool:
        return False

    def kill(self) -> None: ...

    def close(self) -> None:
        self.is_open = False


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def idle() -> Any:
    session: Any = Session(WireLimits(), make_key=str)
    return IdleSession(Silent(), session)


def watchers() -> int:
    """How many watch the clock, once those of earlier tests have had the time to end."""
    deadline = time.monotonic() + 10
    while (count := sum(one.name == "rlm-idle" for one in threading.enumerate())) > 1:
        if time.monotonic() > deadline:
            break
        time.sleep(0.01)
    return count


def test_an_idle_session_gives_its_place_to_whoever_needs_one_and_the_oldest_goes_first() -> None:
    places, sessions = Places(2, 1_000), [idle(), idle()]
    for key, session in enumerate(sessions):
        assert places.take(0)
        places.keep(key, session)
    assert places.take(0), "nobody waits for what does nothing"
    assert [session.transport.is_open for session in sessions] == [False, True]
    assert places.take_up(0) is None
    found = places.take_up(1)
    assert found is not None
    assert found.transport is sessions[1].transport
    assert not places.take(0), "both places are those of runs now"
    places.give_back()
    assert places.take(0)
    places.close()


def test_a_run_that_waits_for_a_place_gets_that_of_a_session_that_falls_idle() -> None:
    places, session = Places(1, 1_000), idle()
    assert places.take(0)
    got: list[bool] = []
    waiting = threading.Thread(target=lambda: got.append(places.take(60)))
    waiting.start()
    places.keep("a", session)
    waiting.join(60)
    assert (got, session.transport.is_open) == ([True], False)
    places.close()


def test_sessions_end_when_their_time_is_over_and_the_watch_ends_with_the_last() -> None:
    clock = Clock()
    places, sessions = Places(None, 100, clock=clock), [idle(), idle()]
    for now, session in zip((0, 60), sessions, strict=True):
        clock.now = now
        assert places.take(0)
        places.keep(now, session)
    assert watchers() == 1, "one for all"
    assert places.sweep() == 40
    clock.now = 100
    assert places.sweep() == 60
    assert [session.transport.is_open for session in sessions] == [False, True]
    clock.now = 160
    assert places.sweep() is None
    assert not sessions[1].transport.is_open
    places.close()
    places.close()


def test_a_key_has_one_session_and_without_a_limit_there_are_not_any_number() -> None:
    places = Places(None, 1_000)
    sessions = [idle() for _ in range(MOST_IDLE + 1)]
    places.keep(0, first := idle())
    for key, session in enumerate(sessions):
        places.keep(key, session)
    assert not first.transport.is_open
    assert [session.transport.is_open for session in sessions] == [False, *[True] * MOST_IDLE]
    places.close()
    assert not any(session.transport.is_open for session in sessions)


def test_the_watch_keeps_nobody_alive() -> None:
    places = Places(None, 1_000)
    places.keep("a", idle())
    watch, gone = places._watch, weakref.ref(places)
    assert watch is not None
    del places
    gc.collect()
    watch.join(60)
    assert gone() is None
    assert not watch.is_alive()


def test_a_forked_copy_has_no_idle_sessions_and_all_places() -> None:
    places, session = Places(1, 1_000), idle()
    assert places.take(0)
    places.keep("a", session)
    pid = os.fork()
    if pid == 0:
        forgets = places.take_up("a") is None and places.take(0)
        os._exit(0 if forgets and session.transport.is_open else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert places.take_up("a") is not None


def test_a_forked_copy_gives_back_descriptors_and_leaves_other_workers_alone() -> None:
    places, remote = Places(2, 1_000), idle()
    local: Any = LocalSandbox().open()
    places.keep("remote", remote)
    places.keep("local", IdleSession(local, remote.opened))
    watch, bell = places._watch, places._bell
    places.forget_parent()
    assert remote.transport.is_open, "to close it would end the worker of another process"
    assert local.exchange((), 0).eof
    assert places.take_up("remote") is places.take_up("local") is None
    assert places.take(0)
    assert places.take(0)
    assert watch is not None
    bell.set()  # in a real copy there is no such thread
    watch.join(60)
    assert not watch.is_alive()
