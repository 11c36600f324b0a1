"""Every verb on a guest in every state: exit status and words, from one table.

Guests have a blank disk and boot nothing. Each cell has a guest of its own where the verb may change
it; verbs that have to wait for a deadline wait all at once.
"""

import os
import re
import shutil
import signal
import subprocess

import pytest

from lodge import BUSY, INTERRUPTED, NOT_FOUND, Lodge, fake, wait_until

FAILED = 1
DEAF = "its QEMU (did not answer within|does not answer).*lodge kill"
HELD = "is busy: `lodge start` .* is at work on it"
START = "lodge start .* starts it"
FULL = "No space left.*free some"

# What must be answered whatever the guest does. Of QEMU only `limits` asks, and says what it could not.
READS = ["list", "list --json", "show G", "show G --json", "log G", "disk list G", "events G",
         "top --batch", "limits G", "set --help"]

STATES = ["defined", "starting", "running", "paused", "stopping", "crashed", "hung", "full"]

# The words; then for each state the exit status and a pattern that the error must match, or, after
# success, the state that the guest is in then (None: as before).
ALIKE = ("running", "paused", "stopping", "full")
TABLE = {
    "console G --watch --timeout 100ms": {
        "defined": (BUSY, START), "starting": (0, None), "crashed": (BUSY, START), "hung": (0, None),
        ALIKE: (0, None)},
    "screenshot G EXTRA": {
        "defined": (BUSY, START), "starting": (FAILED, DEAF), "crashed": (BUSY, START),
        "hung": (FAILED, DEAF), ALIKE: (0, None)},
    "type G x": {
        "defined": (BUSY, START), "starting": (FAILED, DEAF), "paused": (BUSY, "lodge resume"),
        "crashed": (BUSY, START), "hung": (FAILED, DEAF), ALIKE: (0, None)},
    "monitor G --qmp query-status": {
        "defined": (BUSY, START), "starting": (FAILED, DEAF), "crashed": (BUSY, START),
        "hung": (FAILED, DEAF), ALIKE: (0, None)},
    "exec --timeout 1s G true": {
        "defined": (BUSY, "is stopped"), "starting": (BUSY, ""), "paused": (BUSY, "is paused"),
        "crashed": (BUSY, "is crashed"), "hung": (BUSY, "no agent"), ALIKE: (BUSY, "no agent")},
    "ssh G true": {
        "defined": (BUSY, "lodge start"), "paused": (BUSY, "lodge resume"),
        "crashed": (BUSY, "lodge start")},
    "limits G --cpu 50%": {
        "starting": (BUSY, HELD), "full": (FAILED, FULL),
        ("defined", "crashed", "hung", *ALIKE): (0, None)},
    "limits G --memory 48M": {
        "defined": (BUSY, START), "starting": (BUSY, HELD), "crashed": (BUSY, START),
        "hung": (FAILED, DEAF), ALIKE: (0, None)},
    "set G description=x": {
        "starting": (BUSY, HELD), "full": (FAILED, FULL),
        ("defined", "crashed", "hung", *ALIKE): (0, None)},
    "edit G": {
        "starting": (BUSY, HELD), "full": (FAILED, FULL),
        ("defined", "crashed", "hung", *ALIKE): (0, None)},
    "vnc G --no-viewer": {
        "defined": (BUSY, START), "starting": (FAILED, DEAF), "crashed": (BUSY, START),
        "hung": (FAILED, DEAF)},
    "set G nic.net.ssh-port=2": {
        "starting": (BUSY, HELD), "full": (FAILED, FULL),
        ("defined", "crashed", "hung", *ALIKE): (0, None)},
    "disk create G new --size 1M": {
        "starting": (BUSY, HELD), "hung": (FAILED, DEAF), "full": (FAILED, FULL),
        ("defined", "crashed", *ALIKE): (0, None)},
    "disk attach G EXTRA --name extra": {
        "starting": (BUSY, HELD), "hung": (FAILED, DEAF), "full": (FAILED, FULL),
        ("defined", "crashed", *ALIKE): (0, None)},
    "disk resize G stick 2M": {
        "starting": (BUSY, HELD), "hung": (FAILED, DEAF), "full": (FAILED, FULL),
        ("defined", "crashed", *ALIKE): (0, None)},
    "disk detach G stick": {
        "paused": (BUSY, "lodge resume"), "starting": (BUSY, HELD), "hung": (FAILED, DEAF), "full": (FAILED, FULL),
        ("defined", "crashed", *ALIKE): (0, None)},
    "cdrom G insert DISC": {
        "starting": (BUSY, HELD), "hung": (FAILED, DEAF), "full": (FAILED, FULL),
        ("defined", "crashed", *ALIKE): (0, None)},
    "usb storage G STICK --name stick2": {
        "starting": (BUSY, HELD), "hung": (FAILED, DEAF), "full": (FAILED, FULL),
        ("defined", "crashed", *ALIKE): (0, None)},
    "usb attach G 1234:5678": {
        "starting": (BUSY, HELD), "full": (FAILED, FULL),
        ("defined", "crashed", "hung", *ALIKE): (0, None)},
    "usb detach G usb": {
        "starting": (BUSY, HELD), "hung": (NOT_FOUND, "no USB device"), "full": (NOT_FOUND, "no USB device"),
        ("defined", "crashed", *ALIKE): (0, None)},
    "rename G G-2": {
        "defined": (0, "gone"), "crashed": (0, "gone"), "starting": (BUSY, HELD),
        ("hung", *ALIKE): (BUSY, "stop it")},
    "pause G": {
        "defined": (BUSY, START), "starting": (BUSY, HELD), "crashed": (BUSY, START),
        "hung": (FAILED, DEAF), ALIKE: (0, "paused")},
    "resume G": {
        "defined": (BUSY, START), "starting": (BUSY, HELD), "crashed": (BUSY, START),
        "stopping": (0, None), "hung": (FAILED, DEAF), ALIKE: (0, "running")},
    "delete G --yes": {
        "defined": (0, "gone"), "crashed": (0, "gone"), "starting": (BUSY, HELD),
        ("hung", *ALIKE): (BUSY, "lodge stop .* first")},
    "delete G --yes --force": {
        "starting": (BUSY, HELD), ("defined", "crashed", "hung", *ALIKE): (0, "gone")},
    "stop G --timeout 500ms": {
        "defined": (0, "stopped"), "crashed": (0, "crashed"), "starting": (BUSY, HELD),
        "hung": (FAILED, DEAF), ALIKE: (FAILED, "was asked to shut down and still runs.*lodge kill")},
    "start G --no-wait": {
        "starting": (BUSY, HELD), "defined": (0, "running"), "crashed": (0, "running"),
        ("hung", *ALIKE): (0, None)},
    "restart G --timeout 500ms": {
        "starting": (BUSY, HELD), "hung": (FAILED, DEAF),
        ("defined", "crashed"): (FAILED, "did not answer within"),
        ALIKE: (FAILED, "was asked to shut down and still runs")},
    "kill G": {
        "starting": (BUSY, HELD), "crashed": (0, "crashed"),
        ("defined", "hung", *ALIKE): (0, "stopped")},
}

# As `list` calls it.
SEEN = {"defined": "stopped", "hung": "running", "full": "running"}


def expected(row, state):
    """The cell's, if the row names it; else that of a group that holds the state; else nothing."""
    groups = [cell for key, cell in row.items() if isinstance(key, tuple) and state in key]
    return row.get(state) or (groups[0] if groups else None)


def test_the_table_is_whole():
    empty = [(verb, state) for verb, row in TABLE.items() for state in STATES
             if expected(row, state) is None]
    assert {verb for verb, _ in empty} == {"ssh G true", "vnc G --no-viewer"}, \
        "ssh waits for who is silent, half a minute; vnc for viewers, for ever"


# Making the states


def define(lodge, name):
    disk = lodge.folder.parent / f"{name}.raw"
    with open(disk, "wb") as file:
        file.truncate(1 << 20)
    lodge("create", name, "--disk", disk, "--memory", "64M", "--cpus", "1", "--no-start")
    files = {kind: lodge.folder.parent / f"{name}.{kind}" for kind in ("stick", "iso")}
    for path in files.values():
        path.write_bytes(bytes(1 << 20))
    lodge("disk", "attach", name, files["stick"], "--name", "stick", "--bus", "usb", "--format", "raw")
    lodge("cdrom", name, "insert", files["iso"])


@pytest.fixture
def silent_qemu(switches):
    """The environment of a command whose QEMU never says a word."""
    real = shutil.which("qemu-system-x86_64")
    switches.chmod(0o777)
    return fake(switches, "qemu-system-x86_64",
                f'case "$1" in -name) exec sleep 600 ;; esac\nexec {real} "$@"')


def bring(lodge, name, state, env=None):
    """Bring a defined guest into the state; a command that goes on meanwhile, or None."""
    if state == "starting":
        return lodge.begin("start", name, "--no-wait", env=env)
    if state != "defined":
        lodge("start", name, "--no-wait")
    if state == "paused":
        lodge("pause", name)
    elif state == "stopping":
        lodge("monitor", name, "--qmp", "system_powerdown")  # as `stop` does, however busy the host
    elif state == "crashed":
        os.kill(lodge.qemu(name), signal.SIGKILL)
    elif state == "hung":
        os.kill(lodge.qemu(name), signal.SIGSTOP)
    return None


@pytest.fixture
def store(lodge, state):
    """The test's store; for `full`, guests' folders are on a small file system, seen by commands
    with a prefix only."""
    editor = "sed -i 's/^cpus=.*/&\\nstart-order=7/'"
    if state != "full":
        lodge.env["EDITOR"] = editor
        yield lodge
        return
    if os.geteuid() != 0 or subprocess.run(["unshare", "--mount", "true"],
                                           capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    guests = lodge.folder / "guests"
    guests.mkdir()
    holder = subprocess.Popen(["unshare", "--mount", "sh", "-ec",
                               f"mount -t tmpfs -o size=2M,mode=755 none {guests}\necho made\n"
                               "exec sleep 600"], stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"made\n"
    there = Lodge(lodge.folder, prefix=["nsenter", f"--mount=/proc/{holder.pid}/ns/mnt"])
    there.env["EDITOR"] = editor
    yield there
    subprocess.run([*there.prefix, "rm", "-f", guests / ".filler"], check=True)
    there.remove()
    holder.kill()
    holder.wait()


def fill(there):
    """Take all room; what is open for writing already is not touched."""
    guests = there.folder / "guests"
    subprocess.run([*there.prefix, "sh", "-c", f"cat /dev/zero >{guests}/.filler"], check=False,
                   capture_output=True)


# Asking


def words_of(verb, name, lodge):
    values = {"G": name, "G-2": f"{name}-2"}
    for word in ("EXTRA", "DISC", "STICK"):
        values[word] = lodge.folder.parent / f"{name}.{word}"
        values[word].write_bytes(bytes(1 << 20))
    return [values.get(word, word) for word in verb.split()]


def state_now(lodge, name):
    return lodge.state(name) if name in lodge.names() else "gone"


def judge(lodge, state, name, result, cell):
    """What is wrong with the result, or nothing."""
    status, wanted = cell
    if result.status != status or "Assert" in result.err or "Resource temporarily" in result.err:
        return f"wanted status {status}\n{result}"
    if status != 0:
        return None if re.search(wanted, result.message, re.S) else f"wanted “{wanted}”\n{result}"
    after = wanted or SEEN.get(state, state)
    # A verb is done before the keeper has published all that follows from it.
    try:
        wait_until(lambda: state_now(lodge, name) == after, 20)
    except AssertionError:
        return (f"wanted state {after}, not {state_now(lodge, name)}, after "
                f"{lodge.event_words(name)}\n{result}")
    return None


def read(store):
    """Reading waits for nobody, whatever the guest does."""
    for words in READS:
        results = [store(*[re.sub("^G$", "reader", word) for word in words.split()])
                   for _ in range(3)]
        # limits may ask QEMU, for two seconds
        assert min(result.seconds for result in results) < (4 if "limits" in words else 1), results


def make(store, name, state, env):
    define(store, name)
    return bring(store, name, state, env)


def settle(store, name, state):
    wait_until(lambda: store.state(name) == SEEN.get(state, state), what=f"{name}: {state}")


def all_at_once(store, state, verbs, env):
    """Each verb on a guest of its own."""
    names = {verb: f"g{number}" for number, verb in enumerate(verbs)}
    begun = [make(store, name, state, env) for name in [*names.values(), "reader"]]
    for name in [*names.values(), "reader"]:
        settle(store, name, state)
    asked = {verb: store.begin(*words_of(verb, name, store)) for verb, name in names.items()}
    read(store)
    problems = [judge(store, state, names[verb], store.end(process), expected(TABLE[verb], state))
                for verb, process in asked.items()]
    for process in filter(None, begun):
        assert store.end(process, signal.SIGINT).status == INTERRUPTED
    return problems


def one_by_one(store, state, verbs):
    """All on one guest, which is brought back into its state when a verb has changed that."""
    problems = []
    define(store, "reader")
    fresh = False
    for number, verb in enumerate(verbs):
        if not fresh:
            if state == "full":
                subprocess.run([*store.prefix, "rm", "-f", store.folder / "guests/.filler"])
            for name in store.names():
                store("delete", name, "--yes", "--force")
            make(store, "reader", state, None)
            if state == "full":
                fill(store)
        settle(store, "reader", state)
        if number == 0:
            read(store)
        result = store(*words_of(verb, "reader", store), status=None)
        problems.append(judge(store, state, "reader", result, expected(TABLE[verb], state)))
        fresh = state_now(store, "reader") == SEEN.get(state, state)
    return problems


@pytest.mark.parametrize("state", STATES)
def test_every_verb(store, silent_qemu, state):
    verbs = [verb for verb in TABLE if expected(TABLE[verb], state) is not None]
    if state in ("hung", "starting"):
        problems = all_at_once(store, state, verbs, silent_qemu)
    else:
        problems = one_by_one(store, state, verbs)
    problems = [problem for problem in problems if problem]
    assert not problems, "\n\n".join(problems)


def test_a_hung_qemu_delays_no_other_guest(lodge, switches):
    for name in ("hung", "well"):
        define(lodge, name)
    bring(lodge, "hung", "hung")
    bring(lodge, "well", "running")
    waiting = [lodge.begin("disk", "create", "hung", "new", "--size", "1M"),
               lodge.begin("screenshot", "hung", switches / "hung.png")]
    lodge.wait_state("hung", "running")
    for words in (["pause"], ["resume"], ["limits", "--memory", "48M"], ["monitor", "info status"],
                  ["kill"], ["start", "--no-wait"]):
        result = lodge(words[0], "well", *words[1:])
        assert result.seconds < 5, result
    assert waiting[0].poll() is None, "the other's commands were at work all the while"
    assert [lodge.end(process).status for process in waiting] == [FAILED, FAILED]
    # What was given up leaves its connections behind; they don't add up to a guest out of reach.
    os.kill(lodge.qemu("hung"), signal.SIGCONT)
    lodge("pause", "hung")
    assert lodge.state("hung") == "paused"


def test_keepers_of_a_hung_qemu_die_again_and_again(lodge):
    define(lodge, "g")
    bring(lodge, "g", "hung")
    qemu = lodge.qemu("g")
    for _ in range(5):
        keeper = lodge.keeper("g")
        os.kill(keeper, signal.SIGKILL)
        wait_until(lambda: not lodge.show("g")["keeper"], what="the keeper's end")
        lodge("start", "g", "--no-wait")
        assert lodge.qemu("g") == qemu and lodge.show("g")["keeper"]
    os.kill(qemu, signal.SIGCONT)
    lodge("pause", "g")
    lodge.wait_state("g", "paused")
    lodge("kill", "g")
    assert lodge.state("g") == "stopped"
