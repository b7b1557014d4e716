"""Several writers in one directory, also where the file system grants a lock to everyone."""

import os
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from disk import Behaviour, Disk, Mounted
from target import MIB, Target, Wanted, fetched

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")


def together(count, run):
    with ThreadPoolExecutor(count) as pool:
        return [future.result() for future in [pool.submit(run, index) for index in range(count)]]


def assert_one_download(target, ends):
    for ended in ends:
        target.assert_done(ended)
    amounts = [fetched(ended) for ended in ends if fetched(ended)]
    # A connection that takes over a part of another's range costs what was on the way.
    assert len(amounts) == 1 and amounts[0] < 2 * target.wanted.bytes, amounts
    assert not target.leftovers(), target.leftovers()


@pytest.mark.parametrize("count", [2, 20])
@pytest.mark.parametrize("lies", [False, True], ids=["flock", "flock that always succeeds"])
def test_many_writers_make_one_download(count, lies, serve, place, full, note):
    rounds = 10 if full else 1
    for number in range(rounds):
        target = Target(place, Wanted.one_file(serve, "9MiB"), root=place / f"models-{number}", flock_lies=lies)
        assert_one_download(target, together(count, lambda _, target=target: target.fetch()))
    note(f"{rounds} rounds of {count} writers: one download each, no failure")


@needs_root
@pytest.mark.parametrize("flock", ["lies", "missing", "kernel"])
def test_many_writers_on_a_network_like_file_system(flock, serve, place, full, note):
    wanted = Wanted.one_file(serve, "9MiB")
    rounds = 5 if full else 1
    for number in range(rounds):
        for count in (2, 20):
            root = place / f"mount-{number}-{count}"
            root.mkdir()
            with Mounted(Disk(Behaviour(flock=flock)), root):
                target = Target(place, wanted, root=root)
                assert_one_download(target, together(count, lambda _, target=target: target.fetch()))
    note(f"{rounds} rounds of 2 and of 20 writers, flock {flock}: one download each, no failure")


def test_names_with_one_content_do_not_disturb_each_other(serve, place, tmp_path, note):
    """In a cache they share a receipt."""
    names = [part for name in twins(tmp_path, 24) for part in ("--local", name)]
    target = Target(place, Wanted.of(serve(*names)), cache=True)
    target.assert_done(target.fetch())
    for _ in range(10):
        # Not all is written down any more: every name is recorded again.
        (target.repo / "refs" / "main").unlink()
        target.assert_done(target.fetch())
    note("10 runs over 24 names of one content")


def twins(directory, count):
    paths = [directory / f"{number}.bin" for number in range(count)]
    for path in paths:
        path.write_bytes(b"content")
    return paths


@pytest.fixture
def lying(place):
    """A disk that grants every lock."""
    root = place / "disk"
    root.mkdir()
    with Mounted(Disk(Behaviour(flock="lies")), root):
        yield root


@needs_root
def test_when_a_holder_is_killed_one_of_those_that_wait_takes_over(lying, serve, place, full, note):
    wanted = Wanted.one_file(serve, "9MiB")
    rounds, count = (30, 6) if full else (2, 6)
    for number in range(rounds):
        root = lying / str(number)
        ends = []

        def wait(root=root, ends=ends):
            ends.extend(together(count, lambda _: Target(place, wanted, root=root).fetch()))

        waiting = threading.Thread(target=wait)

        def decide(call, waiting=waiting):
            if call.name == "pwrite64" and call.offset > 2 * MIB:
                if not waiting.is_alive():
                    waiting.start()
                    # They are waiting when it dies.
                    time.sleep(0.5)
                return "kill"
            return "continue"

        target = Target(place, wanted, root=root)
        assert target.run(decide).status == -9
        waiting.join()
        assert_one_download(target, ends)
    note(f"{rounds} killed holders, {count} waiting each: one download each, no failure")


@needs_root
def test_a_holder_killed_before_its_record_was_written_is_taken_over(lying, serve, place, full, note):
    if not full:
        pytest.skip("takes 40 s: nothing tells that it is dead but its silence")
    target = Target(place, Wanted.one_file(serve, "9MiB"), root=lying)
    ended = target.run(lambda call: "kill" if call.name == "write" and "/owner" in call.path else "continue")
    assert ended.status == -9
    assert [path.stat().st_size for path in target.state.glob("owner*")] == [0]
    begin = time.monotonic()
    assert_one_download(target, together(5, lambda _: target.fetch("--deadline", "100s")))
    note(f"5 waiting ones made one download, after {time.monotonic() - begin:.0f} s")


@needs_root
def test_a_holder_that_wakes_up_after_it_was_taken_over_harms_nothing(lying, serve, place, full, note):
    """A machine that stood still for longer than an owner is waited for."""
    if not full:
        pytest.skip("takes 40 s")
    hub = serve("--file", "model.gguf", "--size", "24MiB", "--rate-per-connection", "1MiB")
    target = Target(place, Wanted.of(hub), root=lying)
    # As on another machine: its process ids mean nothing here.
    elsewhere = ["unshare", "--pid", "--fork", "--kill-child"]
    output = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    sleeper = subprocess.Popen(
        [*elsewhere, *target.command()], env=target.environment, start_new_session=True, **output
    )
    wait_until(lambda: target.state.exists() and list((target.state / "partial").glob("*")))
    time.sleep(2)
    os.killpg(sleeper.pid, signal.SIGSTOP)
    target.assert_done(target.fetch("--deadline", "100s"))
    os.killpg(sleeper.pid, signal.SIGCONT)
    _, said = sleeper.communicate(timeout=120)
    target.assert_done(target.fetch())
    target.assert_done(target.fetch("--verify", "full"))
    assert not target.leftovers(), target.leftovers()
    note(f"the sleeper ended with {sleeper.returncode} ({said.splitlines()[-1].strip()}); the file is right")


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.1)
