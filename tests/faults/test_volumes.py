"""Volumes that lack what others have: names, renames, one mount, space that is told, inodes that stay."""

import errno
import os
import shutil
from contextlib import contextmanager

import pytest
from disk import Behaviour, Disk, Mounted
from images import run
from real_volumes import VOLUMES, mounted, prepare
from sweep import killed_after
from target import MIB, STATE, Target, Wanted, fetched

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts file systems")
LAYOUTS = pytest.mark.parametrize("cache", [False, True], ids=["directory", "cache"])


@contextmanager
def volume(place, **behaviour):
    root = place / "volume"
    root.mkdir(exist_ok=True)
    with Mounted(Disk(Behaviour(**behaviour)), root) as mounted:
        yield mounted, root


def called(serve, *names, sizes=("256KiB",)):
    """A repository of files with these names, each of a content of its own."""
    arguments = [f"--file={name}" for name in names]
    return Wanted.of(serve(*arguments, *[part for size in sizes for part in ("--size", size)]))


def asked(target, command):
    """`plan` and `smoke` take the arguments of `fetch`."""
    class Asked(Target):
        def command(self, *more):
            binary, _, repo, where, *_ = super().command(*more)
            return [binary, command, repo, where, "--json", *more]

    return Asked(target.place, target.wanted, target.cache, root=target.root).fetch()


def refused(target, *words, status=22):
    """All three say so before the first byte, and leave nothing."""
    for command in "plan", "smoke", "fetch":
        before = sorted(target.root.rglob("*"))
        ended = asked(target, command)
        assert ended.status == status, f"{command}: exit {ended.status}: {ended.stderr}"
        for word in words:
            assert word in ended.stderr, f"{command}: {word!r} is not in {ended.stderr}"
        assert "hint: " in ended.stderr, ended.stderr
        assert not target.leftovers(), f"{command}: {target.leftovers()}"
        if command == "plan":
            assert sorted(target.root.rglob("*")) == before
    for path in target.wanted.files:
        assert not target.final(path).exists(), path


@LAYOUTS
def test_a_volume_that_cannot_rename_is_told_before_the_first_byte(cache, serve, place):
    with volume(place, renames=False) as (_, root):
        refused(Target(place, called(serve, "model.gguf"), cache, root=root), str(root), os.strerror(errno.ENOSYS))


@LAYOUTS
def test_a_volume_that_takes_no_byte_out_of_turn_is_told_before_the_first_byte(cache, serve, place):
    with volume(place, anywhere=False) as (_, root):
        target = Target(place, called(serve, "model.gguf"), cache, root=root)
        refused(target, str(root), "takes a file only from its first byte to its last", "--vfs-cache-mode writes")


@pytest.mark.parametrize("name", ["ab:c.gguf", "sub/ab:c.gguf", "ab:/a.gguf", "a?.gguf"])
@LAYOUTS
def test_a_name_that_the_volume_refuses_is_told_before_the_first_byte(cache, name, serve, place):
    with volume(place, refuses=":?") as (_, root):
        target = Target(place, called(serve, "model.gguf", name), cache, root=root)
        refused(target, name, "this volume takes no such name")
        # Of what is not wanted nothing is said.
        other = Target(place, Wanted.of(serve("--file", "model.gguf", "--size", "256KiB")), cache, root=root)
        other.assert_done(other.fetch())


@LAYOUTS
def test_a_name_that_is_too_long_is_told_before_the_first_byte(cache, serve, place):
    with volume(place, name_max=143) as (_, root):
        target = Target(place, called(serve, "model.gguf", "sub/" + "x" * 140 + ".gguf"), cache, root=root)
        refused(target, "xxx.gguf", os.strerror(errno.ENAMETOOLONG))


@LAYOUTS
def test_a_name_as_long_as_the_volume_allows_has_a_receipt(cache, serve, place):
    name = "x" * 138 + ".gguf"
    with volume(place, name_max=143) as (_, root):
        target = Target(place, called(serve, name), cache, root=root)
        target.assert_done(target.fetch())
        (state,) = root.rglob(STATE)
        assert len(list((state / "receipts").rglob("*.json"))) == 1


def test_a_name_too_long_for_its_receipt_is_told_before_the_first_byte(serve, place):
    name = "x" * 95 + ".gguf"
    with volume(place, name_max=100) as (_, root):
        refused(Target(place, called(serve, name), root=root), f"receipts/{name}", os.strerror(errno.ENAMETOOLONG))


@LAYOUTS
def test_two_names_that_fold_to_one_are_told_before_the_first_byte(cache, serve, place):
    for names in ("Model.gguf", "model.gguf"), ("Q4/a.gguf", "q4/a.gguf"), ("É.gguf", "é.gguf"):
        with volume(place, folds_case=True) as (_, root):
            target = Target(place, called(serve, *names), cache, root=root)
            refused(target, *names, "are one name")
            # One alone is no trouble.
            ended = target.fetch(names[1])
            assert ended.status == 0, ended.stderr


@LAYOUTS
def test_a_name_that_folds_to_one_that_is_there_is_told_before_it_is_lost(cache, serve, place):
    with volume(place, folds_case=True) as (_, root):
        target = Target(place, called(serve, "Model.gguf", "model.gguf"), cache, root=root)
        assert target.fetch("Model.gguf").status == 0
        ended = target.fetch("model.gguf")
        assert ended.status == 22 and "are one name" in ended.stderr, ended.stderr
        assert "`model.gguf` and `Model.gguf`" in ended.stderr, ended.stderr
        again = target.fetch("Model.gguf")
        assert again.status == 0 and fetched(again) == 0, again.stderr


@LAYOUTS
def test_a_volume_that_folds_case_takes_a_new_revision(cache, serve, place):
    with volume(place, folds_case=True) as (_, root):
        for seed in "1", "2":
            wanted = Wanted.of(serve("--file", "Sub/Model.gguf", "--size", "256KiB", "--seed", seed))
            target = Target(place, wanted, cache, root=root)
            target.assert_done(target.fetch())


def test_a_mounted_folder_is_told_before_the_first_byte(serve, place):
    root = place / "models"
    (root / "sub").mkdir(parents=True)
    run("mount", "-t", "tmpfs", "-o", "size=16m", "none", root / "sub")
    try:
        wanted = called(serve, "model.gguf", "sub/deeper/model.gguf")
        refused(Target(place, wanted, root=root), str(root / "sub"), "is on another volume than `.modelfetch`")
    finally:
        run("umount", root / "sub")


@LAYOUTS
def test_free_space_is_asked_of_the_mount_that_takes_the_bytes(cache, serve, place):
    root = place / "models"
    target = Target(place, called(serve, "model.gguf", sizes=["20MiB"]), cache, root=root)
    mount = target.state if not cache else target.repo
    mount.mkdir(parents=True)
    run("mount", "-t", "tmpfs", "-o", "size=16m", "none", mount)
    try:
        refused(target, "16.8 MB free", status=21)
    finally:
        run("umount", mount)


@LAYOUTS
def test_a_volume_that_does_not_tell_its_free_space_is_used(cache, serve, place):
    with volume(place, tells_space=False) as (_, root):
        target = Target(place, called(serve, "model.gguf"), cache, root=root)
        for command in "plan", "smoke":
            assert asked(target, command).status == 0
        ended = target.fetch()
        target.assert_done(ended)
        assert "does not tell how much space is free" in ended.stderr, ended.stderr


@LAYOUTS
def test_a_volume_that_fails_to_tell_its_free_space_is_used(cache, serve, place):
    root = place / "volume"
    root.mkdir()
    with Mounted(Disk(), root, fails=lambda operation, _: errno.EIO if operation == "statfs" else None):
        target = Target(place, called(serve, "model.gguf"), cache, root=root)
        ended = target.fetch()
        target.assert_done(ended)
        assert "does not tell how much space is free" in ended.stderr, ended.stderr


def test_hard_links_in_the_place_of_symlinks_do_not_cost_a_hash(serve, place):
    with volume(place, symlinks=False, change_time=True) as (_, root):
        target = Target(place, called(serve, "model.gguf", "other.gguf"), cache=True, root=root)
        assert target.fetch("model.gguf").status == 0
        target.assert_done(target.fetch())
        again = target.fetch()
        target.assert_done(again)
        assert again.stdout.count('"done":"skipped"') == 2, again.stdout
        # Another commit with the same content gives it one more name.
        moved = Wanted.of(serve("--file", "model.gguf", "--file", "new.gguf", "--size", "256KiB", "--size", "1MiB"))
        for _ in range(2):
            ended = Target(place, moved, cache=True, root=root).fetch("model.gguf")
            assert ended.status == 0 and '"done":"skipped"' in ended.stdout, ended.stdout


@LAYOUTS
def test_a_volume_where_reading_moves_times_is_used(cache, serve, place):
    """Without links in a cache: each copy is one more reader."""
    with volume(place, reading_moves_times=True, keeps_numbers=False, symlinks=False, hard_links=False) as (_, root):
        target = Target(place, called(serve, "model.gguf", "other.gguf"), cache, root=root)
        for options in [], [], ["--verify=full"], []:
            ended = target.fetch(*options)
            target.assert_done(ended)
            assert not target.leftovers(), target.leftovers()


@LAYOUTS
def test_inodes_that_are_new_after_a_mount_do_not_cost_a_hash(cache, serve, place):
    disk, root = Disk(Behaviour(renumbers=True, change_time=True)), place / "volume"
    root.mkdir()
    target = Target(place, called(serve, "model.gguf"), cache, root=root)
    inodes = set()
    for done in "fetched", "skipped", "skipped":
        with Mounted(disk, root):
            ended = target.fetch()
            target.assert_done(ended)
            assert f'"done":"{done}"' in ended.stdout, ended.stdout
            inodes.add(target.final("model.gguf").stat().st_ino)
    assert len(inodes) == 3, "the numbers stayed"


@LAYOUTS
def test_inodes_that_are_new_and_times_in_seconds_are_a_choice(cache, serve, place):
    disk, root = Disk(Behaviour(renumbers=True, seconds=1)), place / "volume"
    root.mkdir()
    target = Target(place, called(serve, "model.gguf"), cache, root=root)
    for options, done in ([], "fetched"), ([], "adopted"), (["--verify=mtime"], "skipped"), ([], "adopted"):
        with Mounted(disk, root):
            ended = target.fetch(*options)
            target.assert_done(ended)
            assert f'"done":"{done}"' in ended.stdout, ended.stdout
            assert ("--verify mtime" in ended.stderr) == (done == "adopted"), ended.stderr
            assert not target.leftovers()


def test_what_a_killed_try_left_goes_with_the_next_run(serve, place, note):
    """Killed before any call that changes something, until the first byte is asked for."""
    wanted = called(serve, "sub/a b.gguf", "other/model.gguf")
    count = 0
    for at in range(1, 60):
        root = place / f"models-{at}"
        for folder in "sub", "other":
            (root / folder).mkdir(parents=True)
        target = Target(place, wanted, root=root)
        seen = 0

        def decide(call, at=at):
            nonlocal seen
            seen += call.changes
            return "kill" if call.changes and seen == at else "continue"

        if target.run(decide).status != -9:
            break
        count += 1
        target.assert_done(target.fetch())
        assert not target.leftovers(), f"killed before call {at}: {target.leftovers()}"
        shutil.rmtree(root)
    note(f"{count} kills")


def kernel():
    return tuple(int(part) for part in os.uname().release.split(".")[:2])


@pytest.fixture(params=VOLUMES)
def real(request):
    if not shutil.which(VOLUMES[request.param].program):
        pytest.skip(f"there is no {VOLUMES[request.param].program} here")
    if VOLUMES[request.param].block > os.sysconf("SC_PAGE_SIZE") and kernel() < (6, 15):
        pytest.skip("a kernel before 6.15 has no disk whose blocks are larger than a page")
    return VOLUMES[request.param]


@LAYOUTS
def test_real_volumes(cache, real, serve, place):
    """Killed half way, gone on with, found again, mounted anew, looked through."""
    root = place / "at"
    root.mkdir()
    prepare(real, place)
    wanted = called(serve, "sub/model.gguf", "other.gguf", sizes=["24MiB", "1MiB"])
    target = Target(place, wanted, cache, root=root / "models")
    with mounted(real, place, root):
        killed_after(target, bytes_written=14 * MIB)
        had = target.journaled()
        ended = target.fetch()
        target.assert_done(ended)
        assert had > 0 and fetched(ended) < wanted.bytes, f"{had} bytes were there"
        again = target.fetch()
        target.assert_done(again)
        assert fetched(again) == 0
        for folder in "odd", "twins":
            (root / folder).mkdir()
        for name in real.refuses:
            refused(Target(place, called(serve, name), cache, root=root / "odd"), name, "takes no such name")
        if real.folds_case:
            names = "Model.gguf", "model.gguf"
            refused(Target(place, called(serve, *names), cache, root=root / "twins"), *names, "are one name")
    for done in ["adopted" if real.hashes_again else "skipped", "skipped"]:
        with mounted(real, place, root):
            ended = target.fetch()
            target.assert_done(ended)
            assert fetched(ended) == 0
            if done == "skipped" and not real.hashes_again:
                assert "adopted" not in ended.stdout, ended.stdout
            assert ("--verify mtime" in ended.stderr) == ("adopted" in ended.stdout), ended.stderr


def test_a_union_that_keeps_files_in_their_branch_is_told_before_the_first_byte(serve, place):
    """mergerfs renames nothing into a folder that another branch has."""
    if not shutil.which("mergerfs"):
        pytest.skip("there is no mergerfs here")
    root = place / "at"
    for folder in root, place / "one" / "models", place / "two" / "models" / "sub":
        folder.mkdir(parents=True)
    run("mergerfs", "-o", "category.create=epff", f"{place}/one:{place}/two", root)
    try:
        target = Target(place, called(serve, "sub/model.gguf"), root=root / "models")
        refused(target, str(target.root / "sub"), os.strerror(errno.EXDEV))
    finally:
        run("umount", root)
