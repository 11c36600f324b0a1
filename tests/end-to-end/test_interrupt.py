"""Commands that are interrupted or killed at each stage, and commands that meet.

Programs that Lodge calls are replaced by ones that say that they were reached, and wait: so each stage
is hit for certain. Kills at random moments follow, from a fixed seed.
"""

import json
import os
import random
import shutil
import signal

import pytest

from lodge import BUSY, EXISTS, INTERRUPTED, alive, fake, wait_until

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGKILL]
by_signal = pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)


# Which program is reached at which stage of create, and what else create is told
STAGES = {
    "key": ("ssh-keygen", "", []),
    "image": ("recipe", "", []),
    "disk": ("qemu-img", "create", []),
    "firmware": ("qemu-img", "convert", ["--firmware", "uefi"]),
    "QEMU": ("qemu-system-x86_64", "-name", []),
    "boot": (None, "", []),
}


def waiting(switches, program, first):
    """The program says that it was reached and waits; called with other words it is itself."""
    real = shutil.which(program)
    switches.chmod(0o777)
    return fake(switches, program, f'case "$1" in "{first}"*) : >"{switches}/reached"; exec sleep 600'
                                   f' ;; esac\nexec {real} "$@"')


def slow_image(lodge, switches):
    """An image `slow`, built by a recipe that waits for the file `go`, then takes tiny's files."""
    for folder in ("catalogue", "recipes"):
        (lodge.folder / folder).mkdir()
    [disk] = (lodge.folder / "images/tiny").glob("disk-*")
    (lodge.folder / "catalogue/slow.conf").write_text(
        "[image]\nuser=root\nmemory=64M\nsize=64M\n[build]\nrecipe=slow\nspace=1M\n")
    recipe = lodge.folder / "recipes/slow"
    recipe.write_text(f'#!/bin/sh\necho "stage waiting"\necho run >>{switches}/reached\n'
                      f'for i in $(seq 6000); do [ -e {switches}/go ] && break; sleep 0.02; done\n'
                      f'cp {disk} "$1/disk.qcow2"\n')
    recipe.chmod(0o755)


def reached(switches):
    wait_until((switches / "reached").exists, what="the stage")


def nothing_left(lodge):
    wait_until(lambda: not lodge.processes(), 40, "the end of all processes")
    assert lodge.leftovers() == [] and lodge.names() == []


@by_signal
@pytest.mark.parametrize("stage", STAGES)
def test_create_interrupted(lodge, switches, stage, number):
    program, first, words = STAGES[stage]
    os_name, env = "tiny", {}
    if stage == "key":
        shutil.rmtree(lodge.folder / "ssh", ignore_errors=True)
    if stage == "image":
        slow_image(lodge, switches)
        os_name = "slow"
    elif program is not None:
        env = waiting(switches, program, first)
    process = lodge.begin("create", "g", "--os", os_name, "--memory", "128M", *words, env=env)
    if program is not None:
        reached(switches)
    else:
        lodge.wait_event("g", "started")
        assert lodge.show("g")["job"] == "create"
        wait_until(lambda: lodge.show("g")["job_stage"] == "guest boots and answers",
                   what="the stage in show")
    result = lodge.end(process, number)
    (switches / "go").touch()
    if number == signal.SIGKILL:
        assert result.status == -signal.SIGKILL
        lodge("list")
        if stage == "boot":
            assert lodge.state("g") == "creating" and "unfinished" in lodge("list").out
    else:
        assert result.status == INTERRUPTED and "interrupted" in result.message, result
        assert result.seconds < 20
        nothing_left(lodge)
    result = lodge("create", "g", "--os", os_name, "--memory", "128M", "--no-wait")
    assert lodge.state("g") == "running" and "unfinished" not in lodge("list").out
    lodge("delete", "g", "--yes", "--force")
    nothing_left(lodge)


def test_start_finishes_what_a_killed_create_began(lodge):
    process = lodge.begin("create", "g", "--os", "tiny")
    lodge.wait_event("g", "started")
    lodge.end(process, signal.SIGKILL)
    qemu = lodge.qemu("g")
    assert lodge.state("g") == "creating"
    lodge("start", "g")
    assert lodge.state("g") == "running" and lodge.qemu("g") == qemu
    assert "exists already" in lodge("create", "g", "--os", "tiny", status=EXISTS).message


def test_a_second_interrupt_does_not_leave_half_a_guest(lodge):
    process = lodge.begin("create", "g", "--os", "tiny")
    lodge.wait_event("g", "started")
    os.kill(lodge.qemu("g"), signal.SIGSTOP)  # so that cleaning up takes a while
    process.send_signal(signal.SIGINT)
    for _ in range(5):
        wait_until(lambda: alive(process.pid), 1)
        process.send_signal(signal.SIGINT)
    done = lodge.end(process)
    assert done.status == INTERRUPTED
    assert lodge.names() == [], done
    nothing_left(lodge)


def test_create_killed_at_random_moments(lodge):
    """About as long as create takes to start QEMU, in 24 steps of luck."""
    rng = random.Random(20)
    whole = lodge("create", "g", "--os", "tiny", "--memory", "64M", "--no-wait").seconds
    lodge("delete", "g", "--yes", "--force")
    for round_number in range(24):
        number = SIGNALS[round_number % 3]
        process = lodge.begin("create", "g", "--os", "tiny", "--memory", "64M", "--no-wait")
        try:
            process.wait(rng.uniform(0, whole * 1.2))
        except Exception:
            pass
        result = lodge.end(process, number)
        listed = lodge("list", "--json").json
        if result.status == INTERRUPTED:
            assert listed == [] and not (lodge.folder / "guests/.new-g").exists()
        elif result.status == 0:
            assert listed[0]["state"] == "running"
        else:
            assert result.status == -number, result
        again = lodge("create", "g", "--os", "tiny", "--memory", "64M", "--no-wait", status=None)
        assert again.status == (EXISTS if result.status == 0 else 0) or (
            number == signal.SIGKILL and again.status in (0, EXISTS)), f"{result}\n{again}"
        lodge("delete", "g", "--yes", "--force")
        assert lodge.leftovers() == []


@by_signal
@pytest.mark.parametrize("verb", ["start", "stop", "restart"])
def test_other_verbs_interrupted(lodge, verb, number):
    """The guest stays as it is, and the next command has its way."""
    lodge.make("g", "--memory", "128M")
    if verb != "start":
        lodge("start", "g", "--no-wait")
    process = lodge.begin(verb, "g")
    if verb == "start":
        lodge.wait_event("g", "started")
    else:
        wait_until(lambda: lodge.show("g")["job_stage"] == "guest shuts down", what="the stage")
    result = lodge.end(process, number)
    assert result.status in (INTERRUPTED, -number)
    shown = lodge.show("g")
    assert shown["job"] is None and shown["state"] in ("running", "stopping")
    lodge("kill", "g")
    assert lodge.state("g") == "stopped"


@by_signal
def test_delete_interrupted(lodge, number):
    """Killed in the middle: what lost its name is cleared away by whoever comes next."""
    for round_number in range(4):
        lodge.make("g")
        for i in range(400):
            (lodge.guest_folder("g") / f"file{i}").touch()
        process = lodge.begin("delete", "g", "--yes")
        try:
            process.wait(0.002 * round_number)
        except Exception:
            pass
        result = lodge.end(process, number)
        if lodge.names():
            assert lodge.state("g") == "stopped"
            lodge("delete", "g", "--yes")
        else:
            assert result.status in (0, INTERRUPTED, -number)
    lodge.make("next")
    lodge("delete", "next", "--yes")
    assert lodge.leftovers() == []


# Several at once


@pytest.mark.parametrize("count", [2, 10])
def test_creates_of_one_name(lodge, count):
    all_of_them = [lodge.begin("create", "g", "--os", "tiny", "--no-start", "--description", str(i))
                   for i in range(count)]
    results = [lodge.end(process) for process in all_of_them]
    winners = [i for i, result in enumerate(results) if result.status == 0]
    assert len(winners) == 1, "\n".join(map(str, results))
    assert lodge.show("g")["description"] == str(winners[0])
    for i, result in enumerate(results):
        if i not in winners:
            assert result.status in (EXISTS, BUSY), result
            assert "guest g" in result.message
            assert ("exists already" if result.status == EXISTS else "busy") in result.message


def test_create_and_delete_at_once(lodge):
    for _ in range(5):
        lodge.make("g")
        both = [lodge.begin("delete", "g", "--yes"),
                lodge.begin("create", "g", "--os", "tiny", "--no-start")]
        for result in map(lodge.end, both):
            assert result.status in (0, EXISTS, BUSY), result
        assert lodge.names() in ([], ["g"])
        if lodge.names():
            lodge("start", "g", "--no-wait")
            lodge("delete", "g", "--yes", "--force")


def begin_slow(lodge, name, **options):
    return lodge.begin("create", name, "--os", "slow", "--no-start", **options)


def job_stage(lodge, name):
    try:
        return json.loads(lodge.run_path(name, "job.json").read_text())["stage"]
    except (OSError, ValueError):
        return ""


def test_creates_that_need_the_same_absent_image(lodge, switches):
    slow_image(lodge, switches)
    first = begin_slow(lodge, "a")
    reached(switches)
    second = begin_slow(lodge, "b")
    wait_until(lambda: "another command is making image slow" in job_stage(lodge, "b"),
               what="the second waits")
    (switches / "go").touch()
    for process in (first, second):
        result = lodge.end(process)
        assert result.status == 0, result
    assert (switches / "reached").read_text() == "run\n", "built once"
    assert lodge.names() == ["a", "b"]


@by_signal
def test_the_maker_of_an_image_ends_and_the_waiting_takes_over(lodge, switches, number):
    slow_image(lodge, switches)
    first = begin_slow(lodge, "a")
    reached(switches)
    second = begin_slow(lodge, "b")
    wait_until(lambda: "another command" in job_stage(lodge, "b"), what="the second waits")
    lodge.end(first, number)
    wait_until(lambda: (switches / "reached").read_text() == "run\nrun\n", what="the second builds")
    (switches / "go").touch()
    result = lodge.end(second)
    assert result.status == 0, result
    assert lodge.names() == ["b"]
    lodge.make("next")


@by_signal
def test_a_real_image_build_interrupted(lodge, number):
    """The recipe's own children end with it, and its litter goes."""
    shutil.rmtree(lodge.folder / "images/tiny")
    process = lodge.begin("image", "build", "tiny")
    wait_until(lambda: len(lodge.processes()) > 3, what="the recipe at work")
    lodge.end(process, number)
    wait_until(lambda: not lodge.processes(), 30, "the end of the recipe's processes")
    if number == signal.SIGKILL:
        slow = lodge.folder / "catalogue"
        slow.mkdir()
        (slow / "none.conf").write_text("[image]\n[build]\nrecipe=none\n")
        lodge("image", "build", "none", status=None)
    assert lodge.leftovers() == []
    assert not (lodge.folder / "images/tiny").exists()


def test_a_recipe_that_fails_says_why(lodge, switches):
    slow_image(lodge, switches)
    recipe = lodge.folder / "recipes/slow"
    for script, words in (("echo first >&2; echo 'the moon is full' >&2; exit 1", "the moon is full"),
                          ("exit 0", "wrote no disk.qcow2"),
                          ("kill -9 $$", "signal 9"),
                          ('echo x >"$1/disk.qcow2"', "cut off")):
        recipe.write_text(f"#!/bin/sh\n{script}\n")
        result = lodge("create", "g", "--os", "slow", "--no-start", status=1)
        assert words in result.message and "slow" in result.message, result
        assert lodge.leftovers() == []
