"""A Debian guest, as its user meets it; and tiny by UEFI."""

import crypt
import re
import shutil
import socket
import subprocess
import tempfile
import urllib.request

from pathlib import Path

import pytest

from lodge import BUILD, wait_until

LOGIN = "ada"
PASSWORD = "correct horse: battery $taple"


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in sockets]
    for listener in sockets:
        listener.close()
    return ports


@pytest.fixture(scope="module")
def ports():
    return free_ports(2)


@pytest.fixture(scope="module")
def deb(request, folder, debian_image, ports):
    """The guest `deb`, made with most of what create takes. Tests go through its life in order."""
    from conftest import close, new_store
    lodge = new_store(folder, debian_image, "debian")
    home = lodge.folder.parent
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "mine", "-f",
                    home / ".ssh/id_ed25519"], check=True)
    (home / "password").write_text(PASSWORD + "\nsecond line\n")
    lodge("create", "deb", "--os", "debian-12", "--size", "12G", "--memory", "768M", "--user", LOGIN,
          "--password-file", home / "password", "--forward", f"{ports[0]}:22",
          "--forward", f"{ports[1]}:8080", "--timeout", "4m", timeout_s=300)
    yield lodge
    close(lodge, request.session.testsfailed > 0)


def sh(lodge, script, status=0):
    return lodge("exec", "deb", "--", "sh", "-c", script, status=status).out.strip()


def test_it_is_who_it_should_be(deb):
    assert deb("ssh", "deb", "uname", "-s").out == "Linux\n"
    assert deb("ssh", "deb", "id", "-un").out == LOGIN + "\n"
    assert deb("ssh", "deb", "sudo", "-n", "id", "-u").out == "0\n"
    assert sh(deb, "hostname") == "deb"
    assert sh(deb, ". /etc/os-release; echo $VERSION_CODENAME") == "bookworm"
    # Its console's getty comes after SSH.
    wait_until(lambda: "deb login:" in deb("log", "deb").out, what="the console's login prompt")
    assert deb.show("deb")["user"] == LOGIN


def test_its_system_is_well(deb):
    # or its kernel gives up on a busy host: “IO-APIC + timer doesn't work”
    assert "no_timer_check" in sh(deb, "cat /proc/cmdline").split()
    assert sh(deb, "systemctl is-system-running --wait || systemctl --failed --no-legend") == "running"
    assert sh(deb, "getent hosts deb").split()[1] == "deb"


def test_the_password_is_the_file_s_first_line(deb):
    hashed = sh(deb, f"getent shadow {LOGIN}").split(":")[1]
    assert hashed.startswith("$") and crypt.crypt(PASSWORD, hashed) == hashed
    assert crypt.crypt(PASSWORD + "\n", hashed) != hashed
    seed = (deb.guest_folder("deb") / "seed.txt").read_text()
    assert PASSWORD not in seed and PASSWORD not in deb.conf("deb").read_text()


def test_ones_own_key_gets_in_by_a_forwarded_port(deb, ports):
    done = subprocess.run(
        ["ssh", "-F", "none", "-i", deb.folder.parent / ".ssh/id_ed25519", "-p", str(ports[0]),
         "-oIdentitiesOnly=yes", "-oBatchMode=yes", "-oStrictHostKeyChecking=no", "-oLogLevel=ERROR",
         "-oUserKnownHostsFile=/dev/null", f"{LOGIN}@127.0.0.1", "echo own"],
        capture_output=True, text=True, timeout=60)
    assert done.stdout == "own\n", done.stderr
    stranger = deb.folder.parent / "stranger"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", stranger], check=True)
    done = subprocess.run(
        ["ssh", "-F", "none", "-i", stranger, "-p", str(ports[0]), "-oIdentitiesOnly=yes",
         "-oBatchMode=yes", "-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null",
         f"{LOGIN}@127.0.0.1", "true"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 255 and "Permission denied" in done.stderr


def test_a_forwarded_port_reaches_a_server(deb, ports):
    server = r"""
        use IO::Socket::INET;
        $listener = IO::Socket::INET->new(LocalPort => 8080, Listen => 5, ReuseAddr => 1) or die;
        while ($client = $listener->accept) {
            while (<$client>) { last if /^\r?$/ }
            print $client "HTTP/1.0 200 OK\r\n\r\nhello from inside\n";
            close $client;
        }"""
    deb("exec", "-i", "deb", "tee", "/tmp/server", input=server.encode())
    sh(deb, "setsid perl /tmp/server >/dev/null 2>&1 </dev/null &")

    def answer():
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{ports[1]}/", timeout=10) as page:
                return page.read()
        except OSError:
            return None
    assert wait_until(answer, 60, "the server inside") == b"hello from inside\n"


def test_the_disk_has_the_size_that_was_asked_for(deb):
    size_bytes = int(sh(deb, "df --output=size -B1 / | tail -n 1"))
    assert 10.5 * (1 << 30) < size_bytes <= 12 << 30
    assert deb.show("deb")["disks"][0]["size_bytes"] == 12 << 30
    assert sh(deb, "lsblk -bdno SIZE /dev/vda") == str(12 << 30)


def test_a_large_output_comes_whole(deb):
    assert deb("exec", "deb", "seq", "200000").out == "".join(f"{i}\n" for i in range(1, 200001))


def test_reboot_from_inside(deb):
    deb("ssh", "deb", "touch kept && sync")
    mark, qemu = len(deb.events("deb")), deb.qemu("deb")
    deb("ssh", "deb", "sudo", "systemctl", "reboot", status=None)
    for word in ("agent-down", "reset", "agent-up"):
        deb.wait_event("deb", word, after=mark)
    assert deb.qemu("deb") == qemu and deb.state("deb") == "running"
    deb("start", "deb")
    assert deb("ssh", "deb", "ls").out == "kept\n"


def test_vlans_where_the_kernel_knows_them(deb):
    """Here it may not: the test of bridged networks runs in the guest, with all that it needs."""
    with tempfile.TemporaryDirectory(dir=deb.folder) as name:
        tree = Path(name) / "vlans"
        tree.mkdir()
        programs = [BUILD / "test-net-modes", shutil.which("nft", path="/usr/sbin:/sbin")]
        linked = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=True).stdout
        for path in {*programs, *re.findall(r"=> (/\S+)", linked)}:
            shutil.copy(path, tree)
        deb("cp", tree, "deb:/root")
    said = sh(deb, "cd /root/vlans; modprobe -a 8021q bridge veth;"
                   " export LD_LIBRARY_PATH=$PWD PATH=$PWD:$PATH; ./test-net-modes -p /net/modes/vlan"
                   " -p /net/modes/vlan-aware --verbose 2>&1", status=None)
    assert re.search(r"ok \d /net/modes/vlan\n", said), said
    assert re.search(r"ok \d /net/modes/vlan-aware\n", said), said
    assert "knows no VLANs" not in said
    sh(deb, "rm -r /root/vlans")


def test_power_off_from_inside_then_start_again(deb):
    deb("ssh", "deb", "sudo", "systemctl", "poweroff", status=None)
    deb.wait_state("deb", "stopped")
    assert deb.show("deb")["reason"] is None
    wait_until(lambda: deb.processes() == [], what="the keeper's end")
    deb("start", "deb")
    assert deb("ssh", "deb", "ls").out == "kept\n", "the host key is the same, the disk too"


# What a guest has of its own, and what it did: none of it may be in a template that is sealed.
WORD = "word-of-deb-alone"
PLANT = f"""
for home in /root /home/{LOGIN}; do
    mkdir -p $home/.ssh
    echo {WORD} | tee $home/.bash_history $home/.python_history $home/.ssh/known_hosts >/dev/null
done
mkdir -p /var/lib/dhcp /var/lib/cloud
echo {WORD} | tee /var/lib/dhcp/dhclient.leases /var/lib/cloud/instance-id /var/log/some.log /var/log/some.log.1 \
    /tmp/left /var/tmp/left /var/mail/root /root/.viminfo >/dev/null
logger {WORD}
journalctl --sync
echo kept-by-deb >/home/{LOGIN}/work
"""
OWN = """
sha256sum /etc/ssh/ssh_host_*_key | cut -d' ' -f1
cat /etc/machine-id
cat /sys/class/net/e*/address
networkctl status e* | sed -n 's/.*DHCP4* Client ID: *//p; s/.*DHCP6* Client [ID]*U*ID: *//p'
"""
LOOK = f"""
mkdir -p /mnt/template
mount -o ro,noload /dev/vdb2 /mnt/template
cd /mnt/template
ls -d etc/ssh/ssh_host_* var/lib/dbus/machine-id var/lib/systemd/random-seed var/lib/systemd/credential.secret \
    var/lib/lodge var/lib/cloud var/log/journal/* root/.*_history home/*/.*_history root/.ssh/known_hosts 2>/dev/null
cat etc/machine-id
grep -rl -e {WORD} -e MACHINE-ID etc home opt root srv tmp usr/local var
cat home/{LOGIN}/work
cd /
umount /mnt/template
"""


@pytest.fixture(scope="module")
def sealed(deb):
    """(its machine id, what is its own) of `deb`, of which a template was made."""
    machine_id = sh(deb, PLANT + "cat /etc/machine-id")
    own = set(sh(deb, OWN).split())
    deb("stop", "deb")
    deb("image", "make", "deb", "template", "--seal", timeout_s=400)
    return machine_id, own


def test_a_sealed_template_is_made(sealed):
    assert len(sealed[1]) >= 4, sealed


def test_a_sealed_template_keeps_nothing_of_its_guest(deb, sealed):
    """Two guests made of it have nothing in common that only one may have, and what was done is there."""
    machine_id, own = sealed[0], [sealed[1]]
    names = ["one", "two"]
    for name in names:
        deb("create", name, "--image", "template", "--memory", "512M", "--network", "user", "--no-start")
    for process in [deb.begin("start", name) for name in names]:
        done = deb.end(process, timeout_s=200)
        assert done.status == 0, done
    for name in names:
        own.append(set(deb("exec", name, "--", "sh", "-c", OWN).out.split()))
    assert all(len(one) >= 4 for one in own), own
    assert not own[0] & own[1] and not own[0] & own[2] and not own[1] & own[2]
    [disk] = (deb.folder / "images/template").glob("disk-*")
    deb("disk", "attach", "one", disk, "--read-only")  # not before: its file system has the same name
    found = deb("exec", "one", "--", "sh", "-c", LOOK.replace("MACHINE-ID", machine_id)).out
    assert found == "kept-by-deb\n"
    deb("delete", *names, "--yes", "--force")
    deb("image", "delete", "template", "--yes")
    deb("start", "deb")


def test_stop_by_acpi_without_the_agent(deb):
    sh(deb, "systemd-run --quiet --on-active=0.1 systemctl stop qemu-guest-agent lodge-agent")
    wait_until(lambda: not deb.show("deb")["agent"], what="both agents' end")
    result = deb("stop", "deb", "--timeout", "100s")
    assert deb.state("deb") == "stopped", result
    assert "asked-to-stop" in deb.event_words("deb")


def test_a_real_panic(deb):
    deb.set("deb", "guest", **{"on-crash": "pause"})
    deb("start", "deb")
    deb("exec", "--timeout", "5s", "deb", "--", "sh", "-c",
        "modprobe pvpanic-mmio; echo c >/proc/sysrq-trigger", status=None)
    deb.wait_state("deb", "paused")
    assert "panicked" in deb.show("deb")["reason"]
    assert "sysrq" in deb("log", "deb").out.lower() or "panic" in deb("log", "deb").out.lower()
    deb("kill", "deb")


def test_tiny_by_uefi(lodge):
    lodge.make("u", "--firmware", "uefi", start=True)
    assert "UEFI" in lodge("show", "u").out
    assert lodge("exec", "u", "ls", "/sys/firmware").out.split().count("efi") == 1
    assert "no_timer_check" in lodge("exec", "u", "cat", "/proc/cmdline").out.split()
    assert (lodge.guest_folder("u") / "nvram.qcow2").exists()
    lodge("stop", "u")
    lodge("start", "u")
