"""Updates from an older file that is not what its receipt says any more, killed and undisturbed."""

import json
import random

from sweep import killed_after, scratch, spread
from target import MIB, Target, Wanted, copied, fetched, sha256_of

SAMPLE = 3
SIZE = 34 * MIB
HEAD = MIB
"""Bytes from the start that both versions have of their own; what follows is copied."""


def flip_unnoticed(target, at):
    """Flips a byte as a failing disk does: no time or number says so, for the receipt is rewritten for them."""
    (path,) = target.wanted.files
    final, receipt = target.final(path), target.state / "receipts" / f"{path}.json"
    with open(final, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))
    stat, known = final.stat(), json.loads(receipt.read_text())
    known |= {"mtime_ns": stat.st_mtime_ns, "ctime_ns": stat.st_ctime_ns}
    receipt.write_text(json.dumps(known))


def flipped(at, before, now, place):
    """What went wrong with an update from a file with a wrong byte, of which every second one is killed in the middle."""
    chance = random.Random(at)
    with scratch(place) as directory:
        old = Target(directory, before)
        assert old.fetch().status == 0
        flip_unnoticed(old, at)
        (path,) = before.files
        target = Target(directory, now, old=sha256_of(old.final(path)))
        try:
            was_killed = chance.random() < 0.5
            if was_killed:
                killed_after(target, calls=chance.randint(1, 60))
                target.assert_honest()
            again = target.fetch()
            target.assert_done(again)
            assert was_killed or copied(again) > 0, "nothing was copied"
            # What was copied comes from the source in the end, and nothing comes thrice.
            assert fetched(again) <= 2 * SIZE + 8 * MIB, f"{fetched(again)} bytes"
            target.clean_up()
        except AssertionError as why:
            return f"byte {at}: {why}"


def test_a_byte_that_was_flipped_after_the_receipt_is_never_published(serve, place, full, note):
    before, now = Wanted.update(serve, 8, 7), Wanted.update(serve, 7, 8)
    chance = random.Random(1)
    edges = [HEAD, HEAD + 1, SIZE - 1, HEAD + (SIZE - HEAD) // 2, HEAD - 1]
    positions = edges + [chance.randrange(HEAD, SIZE) for _ in range(95)]
    if not full:
        positions = random.sample(positions, SAMPLE)
    failures = [failure for failure in spread(flipped, positions, before, now, place) if failure]
    note(f"{len(positions)} flipped bytes")
    assert not failures, "\n".join(failures)
