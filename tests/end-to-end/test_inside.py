"""exec, cp and agent install, by lodge-agent, and by QEMU's where it is all there is."""

import hashlib
import os
import pty
import fcntl
import select
import signal
import struct
import subprocess
import termios
import time

import pytest

from lodge import LONG_S, NOT_FOUND, UNSUPPORTED, USAGE, alive, read_until, wait_until

MIB = 1 << 20


@pytest.fixture(scope="module")
def box(shared):
    shared("create", "box", "--os", "tiny", "--memory", "768M")
    return shared


@pytest.fixture(scope="module")
def big(folder):
    path = folder / "big"
    path.write_bytes(os.urandom(MIB) * 50)
    return path


def inside(box, script):
    return box("exec", "box", "sh", "-c", script).out


# What is known of it


def test_show_knows_its_system_and_addresses(box):
    said = box.show("box")["inside"]
    assert said["hostname"] == "box" and said["version"]
    [nic] = said["nics"]
    assert nic["mac"] == box.show("box")["nics"][0]["mac"]
    wait_until(lambda: "10.0.2.15/24" in box.show("box")["inside"]["nics"][0]["addresses"],
               what="its address")
    page = box("show", "box").out
    assert "lodge-agent there" in page and "eth0: 10.0.2.15/24" in page and "Lodge tiny" in page


def test_agent_status(box):
    page = box("agent", "status", "box").out
    assert "lodge-agent" in page and "Lodge tiny" in page
    said = box("agent", "status", "box", "--json").json
    assert said["agent"] == "lodge-agent" and said["inside"]["since_ms"] > 1e12


def test_an_address_that_comes_is_known(box):
    inside(box, "ip address add 10.99.0.1/24 dev lo; ip address add 10.98.0.1/24 dev eth0")
    wait_until(lambda: "10.98.0.1/24" in box.show("box")["inside"]["nics"][0]["addresses"],
               what="the new address")


# exec


def test_50_mb_through_a_pipe(box, big):
    with open(big, "rb") as data:
        done = subprocess.run(box.argv(["exec", "box", "cat"]), env=box.env, stdin=data,
                              stdout=subprocess.PIPE, timeout=LONG_S, check=True)
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(big.read_bytes()).digest()


def test_output_comes_as_it_is_made(box):
    process = box.begin("exec", "box", "sh", "-c", "echo first; sleep 1000")
    read_until(process.stdout, "first")
    assert process.poll() is None
    assert box.end(process, signal.SIGINT).status == 130


def test_signals_reach_it(box):
    script = "trap 'echo term; exit 9' TERM; trap 'echo usr1' USR1; echo up; while :; do sleep 0.05; done"
    process = box.begin("exec", "box", "sh", "-c", script)
    read_until(process.stdout, "up")
    process.send_signal(signal.SIGUSR1)
    read_until(process.stdout, "usr1")
    result = box.end(process, signal.SIGTERM)
    assert (result.status, result.out) == (9, "term\n")


def test_the_third_ctrl_c_leaves_it(box):
    process = box.begin("exec", "box", "sh", "-c", "trap 'echo no' INT; echo up; while :; do sleep 0.05; done")
    read_until(process.stdout, "up")
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        read_until(process.stdout, "no")
    assert box.end(process, signal.SIGINT).status == 130
    wait_until(lambda: not inside(box, "ps | grep '[e]cho no' || true"),
               what="the end of what was left")


def test_a_reader_that_goes_ends_it(box):
    done = subprocess.run(["sh", "-c", '"$0" exec box yes | head -n 1', str(box.program)],
                          env=box.env, capture_output=True, timeout=LONG_S)
    assert done.stdout == b"y\n"
    wait_until(lambda: not inside(box, "pidof yes || true"), what="the end of yes")


def test_user_folder_and_variables(box):
    result = box("exec", "--env", "A=b c", "--env=B=", "--folder", "/tmp", "box", "sh", "-c",
                 'echo "$A|$B|$PWD|$HOME"')
    assert result.out == "b c||/tmp|/root\n"
    assert "no such user" in box("exec", "--user", "no-such", "box", "true", status=127).message
    assert "No such file" in box("exec", "box", "no-such", status=127).message
    assert "sh -c 'echo a'" in box("exec", "box", "echo a", status=127).message
    assert "--env" in box("exec", "--env", "oops", "box", "true", status=USAGE).message
    assert "--folder" in box("exec", "--folder", "x", "box", "true", status=USAGE).message
    assert "--terminal" in box("exec", "-t", "box", "true", status=USAGE).message


def test_terminal(box):
    """Its size, a change of it, Ctrl-C as a key, and the status."""
    pid, fd = pty.fork()
    words = box.argv(["exec", "-t", "box", "sh", "-c",
                      "trap 'stty size; exit 4' INT; stty size; while :; do sleep 0.05; done"])
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        os.execvpe(words[0], words, box.env)

    def until(text):
        seen, end = "", time.monotonic() + LONG_S
        while text not in seen:
            ready, _, _ = select.select([fd], [], [], max(0, end - time.monotonic()))
            assert ready, seen
            seen += os.read(fd, 4096).decode()
    until("30 100")
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 31, 101, 0, 0))
    os.kill(pid, signal.SIGWINCH)
    os.write(fd, b"\x03")
    until("31 101")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 4
    os.close(fd)


# cp


def test_a_big_file_both_ways(box, big, tmp_path):
    box("cp", big, "box:/tmp/big")
    assert inside(box, "sha256sum </tmp/big").split()[0] == hashlib.sha256(big.read_bytes()).hexdigest()
    result = box("cp", "--json", "box:/tmp/big", tmp_path / "back")
    assert result.json["bytes"] == 50 * MIB
    assert (tmp_path / "back").read_bytes() == big.read_bytes()
    inside(box, "rm /tmp/big")


def test_a_tree_with_hostile_names_both_ways(box, tmp_path):
    top = tmp_path / "top"
    (top / "sub dir/empty").mkdir(parents=True)
    names = ["plain", "a b", "-rf", "$(touch x)", "new\nline", "'\"\\", "ü", ".hidden"]
    for name in names:
        (top / "sub dir" / name).write_text(name)
    (top / "run").write_text("#!/bin/sh\n")
    (top / "run").chmod(0o755)
    (top / "link").symlink_to("sub dir/plain")
    box("cp", top, "box:/tmp")
    assert inside(box, "cat '/tmp/top/link' '/tmp/top/sub dir/-rf'") == "plain-rf"
    box("cp", "box:/tmp/top", tmp_path / "back")
    done = subprocess.run(["diff", "-r", "--no-dereference", top, tmp_path / "back"],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert os.access(tmp_path / "back/run", os.X_OK)


def test_what_leads_out_of_the_tree_is_not_followed(box, tmp_path):
    inside(box, "mkdir /tmp/evil; ln -s ../../../etc /tmp/evil/up; ln -s /etc /tmp/evil/abs; mknod /tmp/evil/null c 1 3")
    result = box("cp", "box:/tmp/evil", tmp_path)
    assert "left out" in result.err
    assert not list((tmp_path / "evil").iterdir())


def test_pipes(box):
    data = bytes(range(256)) * 1000
    box("cp", "-", "box:/tmp/piped", input=data)
    assert box("cp", "box:/tmp/piped", "-", text=False).out == data


def test_an_interrupt_leaves_no_half_file(box):
    """Its input never ends, so it is in the middle when the signal comes."""
    inside(box, "rm -rf /tmp/*")
    process = subprocess.Popen(box.argv(["cp", "-", "box:/tmp/half"]), env=box.env,
                               stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdin.write(b"x" * MIB)
    process.stdin.flush()
    wait_until(lambda: inside(box, "ls -A /tmp"), what="its beginning")
    process.send_signal(signal.SIGINT)
    assert process.wait(LONG_S) == 130
    process.stdin.close()
    process.stderr.close()
    wait_until(lambda: not inside(box, "ls -A /tmp"), what="an empty folder")


def test_mistakes_are_named(box, tmp_path):
    assert "GUEST:/PATH" in box("cp", tmp_path, "/tmp", status=USAGE).message
    assert "begin with /" in box("cp", tmp_path, "box:tmp", status=USAGE).message
    assert "/none" in box("cp", "box:/none", tmp_path, status=NOT_FOUND).message
    assert "none" in box("cp", tmp_path / "none", "box:/tmp", status=NOT_FOUND).message


# Without the keeper, without the agent


def test_the_agent_is_known_after_adoption(box):
    keeper = box.keeper("box")
    os.kill(keeper, signal.SIGKILL)
    wait_until(lambda: not alive(keeper), what="the keeper's end")
    assert box("exec", "box", "echo", "there").out == "there\n"
    assert box.show("box")["keeper"] and box.show("box")["inside"]["hostname"] == "box"


def test_with_qemus_agent_only_and_install(box, tmp_path):
    """Last: the agent goes, and comes back by QEMU's."""
    mark = len(box.events("box"))
    left = box.begin("exec", "box", "sh", "-c", "echo up; sleep 1000")
    read_until(left.stdout, "up")
    box("ssh", "box", "sed -i /lodge-agent/d /etc/inittab; kill -HUP 1; rm /usr/sbin/lodge-agent; "
                      "killall -9 lodge-agent")
    result = box.end(left)
    assert result.status == 1 and "lodge-agent has ended" in result.message
    wait_until(lambda: box.show("box")["inside"] is None, what="its end is seen")
    assert box("agent", "status", "box", "--json").json["agent"] == "qemu-guest-agent"
    assert "agent-down" in [event["event"] for event in box.events("box")[mark:]]
    result = box("exec", "--env", "A=b", "--folder", "/tmp", "box", "sh", "-c",
                 "echo $A $PWD; cat; echo e >&2; exit 3", input=b"in", status=3)
    assert (result.out, result.err) == ("b /tmp\nin", "e\n")
    assert "lodge agent install box" in box("exec", "--user", "root", "box", "true",
                                            status=UNSUPPORTED).message
    data = os.urandom(3 * MIB)
    (tmp_path / "file").write_bytes(data)
    box("cp", tmp_path / "file", "box:/tmp/file")
    assert box("cp", "box:/tmp/file", "-", text=False).out == data
    assert "lodge agent install box" in box("cp", tmp_path, "box:/tmp", status=UNSUPPORTED).message
    installed = box("agent", "install", "box", "--json").json
    assert installed["by"] == "qemu-guest-agent" and installed["version"]
    wait_until(lambda: box.show("box")["inside"], what="it is seen")
    assert box("exec", "--user", "root", "box", "id", "-un").out == "root\n"
