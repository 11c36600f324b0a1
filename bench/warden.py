"""Parent of libvirt's daemons: warden.py FOLDER VIRTLOGD LIBVIRTD. Ends them, and their guests, when
its input ends, however the bench came to its own end.

It gives them folders of their own (a mount namespace), and takes two burdens from them that a
machine without udev and a prompt init would put on libvirt and not on Lodge:
- /dev/kvm is there for the kvm group, as udev leaves it. Else libvirt finds at each start that the
  answer of its last probe has changed, and probes QEMU anew, which takes seconds.
- Orphans are reaped at once, as systemd does. Else `virsh destroy` waits for a QEMU that has ended.
"""

import ctypes
import grp
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

CLONE_NEWNS = 0x20000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36

PRIVATE = {"run": "/run/libvirt", "lib": "/var/lib/libvirt", "cache": "/var/cache/libvirt",
           "log": "/var/log/libvirt", "etc": "/etc/libvirt"}
CONFIG = 'unix_sock_group = "root"\nauth_unix_rw = "none"\nauth_unix_ro = "none"\n'

libc = ctypes.CDLL(None, use_errno=True)


def call(function, *arguments):
    if function(*arguments) != 0:
        raise OSError(ctypes.get_errno(), f"{function.__name__}: "
                      f"{os.strerror(ctypes.get_errno())}")


def mount(source, target, kind, flags):
    call(libc.mount, os.fsencode(source), os.fsencode(target), kind, flags, None)


def make_private(folder):
    for target in PRIVATE.values():
        Path(target).mkdir(parents=True, exist_ok=True)
    call(libc.unshare, CLONE_NEWNS)
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    for name, target in PRIVATE.items():
        (folder / name).mkdir()
        mount(folder / name, target, None, MS_BIND)
    (folder / "etc" / "libvirtd.conf").write_text(CONFIG, encoding="ascii")


def show_kvm(folder):
    """A /dev/kvm with udev's permissions, for libvirt alone."""
    try:
        device, group = os.stat("/dev/kvm").st_rdev, grp.getgrnam("kvm").gr_gid
    except (OSError, KeyError):
        return
    devices = folder / "dev"
    devices.mkdir()
    mount("none", devices, b"tmpfs", 0)
    os.mknod(devices / "kvm", stat.S_IFCHR, device)
    os.chown(devices / "kvm", 0, group)
    os.chmod(devices / "kvm", 0o660)
    mount(devices / "kvm", "/dev/kvm", None, MS_BIND)


def wait_for(paths):
    deadline = time.monotonic() + 30
    while not all(path.is_socket() for path in paths):
        if time.monotonic() > deadline:
            sys.exit("warden: a daemon did not open its socket")
        time.sleep(0.02)


def end_with_input(daemons):
    sys.stdin.read()
    for daemon in daemons:
        daemon.send_signal(signal.SIGTERM)


def prepare_daemon():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def end_orphans():
    """The QEMUs that libvirt left: no daemon is above them any more, so they came to us."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii")
    for pid in map(int, children.split()):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def main():
    folder = Path(sys.argv[1])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the input's end is the sign, and no other
    make_private(folder)
    show_kvm(folder)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    log = open(folder / "log" / "daemons.log", "wb")
    options = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, "cwd": "/",
               "start_new_session": True,  # out of the way of the terminal's signals
               "preexec_fn": prepare_daemon}
    run = folder / "run"
    daemons = [subprocess.Popen([program, "--pid-file", run / f"{Path(program).name}.pid"],
                                **options) for program in sys.argv[2:]]
    threading.Thread(target=end_with_input, args=(daemons,), daemon=True).start()
    wait_for([run / "virtlogd-sock", run / "libvirt-sock"])
    print("ready", flush=True)
    living = {daemon.pid for daemon in daemons}
    while living:
        pid, _ = os.wait()  # orphans come by here too
        living.discard(pid)
    end_orphans()


if __name__ == "__main__":
    main()
