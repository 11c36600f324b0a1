#!/usr/bin/env python3
"""boot-tiny.py BUILD_DIR: lodge-agent in a real guest, tested and measured.

Emulated unless $LODGE_TEST_ACCEL says otherwise: there is a /dev/kvm that runs nothing.
$LODGE_TEST_TINY is what `recipes/tiny OUT` made. The agent is put into the guest by an archive that is
appended to its initrd. Skipped (77) without it or QEMU."""
import gzip, os, shutil, signal, statistics, subprocess, sys, tempfile, time

build = os.path.abspath(sys.argv[1])
tiny = os.environ.get("LODGE_TEST_TINY", "")
if not os.path.exists(tiny + "/kernel") or not shutil.which("qemu-system-x86_64"):
    sys.exit(77)
work = tempfile.mkdtemp(prefix="lodge-agent-guest-")
client = [build + "/src/qmp/agent-client", work]
INITTAB = """::sysinit:/usr/lib/lodge/start
::respawn:/usr/sbin/lodge-agent
ttyS0::askfirst:-/bin/login -f root
"""


def make_initrd():
    files = {"usr/sbin/lodge-agent": open(build + "/src/agent/lodge-agent", "rb").read(),
             "etc/inittab": INITTAB.encode()}
    for name, content in files.items():
        path = f"{work}/extra/{name}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
        os.chmod(path, 0o755)
    names = sorted(os.path.relpath(os.path.join(at, name), work + "/extra")
                   for at, folders, found in os.walk(work + "/extra") for name in folders + found)
    archive = subprocess.run(["cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0"], check=True,
                             input="\n".join(names).encode(), capture_output=True,
                             cwd=work + "/extra").stdout
    first = open(tiny + "/initrd", "rb").read()
    with open(work + "/initrd", "wb") as file:
        file.write(first + b"\0" * (-len(first) % 512) + gzip.compress(archive))


def start_guest():
    shutil.copy(tiny + "/disk.qcow2", work)
    argv = ["qemu-system-x86_64", "-nodefaults", "-M", "q35", "-accel", os.environ.get("LODGE_TEST_ACCEL", "tcg,thread=multi"),
            "-m", "512", "-smp", "2", "-display", "none", "-kernel", tiny + "/kernel",
            "-initrd", work + "/initrd", "-append", "console=ttyS0 quiet",
            "-serial", f"file:{work}/console.log", "-device", "virtio-serial-pci",
            "-drive", f"file={work}/disk.qcow2,if=virtio", "-nic", "user,model=virtio-net-pci"]
    for i in range(8):
        argv += ["-chardev", f"socket,id=a{i},path={work}/agent-{i}.sock,server=on,wait=off",
                 "-device", f"virtserialport,chardev=a{i},name=org.lodge.agent.{i}"]
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
    while not os.path.exists(work + "/agent-7.sock") and process.poll() is None:
        time.sleep(0.02)
    return process


def ask(*argv, **more):
    more = {"stdin": subprocess.DEVNULL, **more} if "input" not in more else more
    done = subprocess.run(client + list(argv), capture_output=True, timeout=120, **more)
    assert done.returncode == 0, (argv, done.returncode, done.stderr)
    return done.stdout.decode(errors="replace")


def median_ms(*argv):
    times = []
    for _ in range(30):
        begin = time.monotonic()
        ask(*argv)
        times.append((time.monotonic() - begin) * 1000)
    return statistics.median(times)


def seconds(*argv):
    begin = time.monotonic()
    ask(*argv)
    return time.monotonic() - begin


def check_killed_clients():
    for i in range(30):
        process = subprocess.Popen(client + ["exec", "sh", "-c", "yes 31337 | cat"],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        time.sleep(0.02 * (i % 5))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert ask("exec", "echo", str(i)) == f"{i}\n"
    for _ in range(50):
        if "yes 31337\n" not in ask("exec", "ps", "-o", "args"):
            return
        time.sleep(0.1)
    raise AssertionError("a killed client's program runs on")


def check_all():
    print("info:", ask("info").strip())
    print(f"exec true: {median_ms('exec', 'true'):.1f} ms; info: {median_ms('info'):.1f} ms")
    with open(work + "/big", "wb") as file:
        file.write(os.urandom(50_000_000))
    print(f"put 50 MB: {seconds('put', work + '/big', '/tmp/big'):.2f} s,",
          f"get: {seconds('get', '/tmp/big', work + '/back'):.2f} s")
    assert open(work + "/big", "rb").read() == open(work + "/back", "rb").read()
    ask("exec", "rm", "/tmp/big")
    check_killed_clients()
    ask("identity", "web7", "52:54:00:aa:bb:cc")
    assert ask("exec", "hostname") == "web7\n"
    assert "52:54:00:aa:bb:cc up 10.9.8.7/24" in ask("addresses"), ask("addresses")
    assert "frozen" in ask("freeze", "5000", "100")
    late = subprocess.run(client + ["freeze", "100", "500"], capture_output=True)
    assert b"thawed before" in late.stderr, late
    print("agent:", ask("exec", "sh", "-c",
                        "grep VmRSS /proc/$(pidof lodge-agent | tr ' ' '\\n' | sort -n | head -1)/status"
                        ).strip())
    before = time.monotonic()
    cut = subprocess.run(client + ["exec", "sh", "-c", "reboot; sleep 1000"], capture_output=True,
                         stdin=subprocess.DEVNULL, timeout=120)
    assert cut.returncode != 0
    print(f"answers after a reboot: {time.monotonic() - before + seconds('info'):.1f} s")


make_initrd()
guest = start_guest()
try:
    check_all()
    ask("shutdown")
    guest.wait(60)
except BaseException:
    print(open(work + "/console.log", errors="replace").read()[-3000:], file=sys.stderr)
    raise
finally:
    guest.kill()
    guest.wait()
    shutil.rmtree(work)
