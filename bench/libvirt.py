"""libvirt in folders of our own: its daemons are started by hand, and end with the bench."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import measure
import report
from raw import Line

LISTED = """\
<domain type='qemu'><name>guest{number:04}</name><uuid>00000000-0000-4000-8000-{number:012}</uuid>
<title>a guest that is only listed</title><memory unit='GiB'>1</memory><vcpu>2</vcpu>
<os><type machine='q35'>hvm</type></os>
<devices><disk type='file'><driver name='qemu' type='qcow2'/><source file='/nowhere/{number}'/>
<target dev='vda' bus='virtio'/></disk><interface type='user'><model type='virtio'/></interface>
<serial type='pty'/></devices></domain>
"""

# The same machine as Lodge makes of its shortest definition, as near as libvirt can say it.
MACHINE = """\
<domain type='qemu'><name>{name}</name><memory unit='MiB'>{memory}</memory><vcpu>1</vcpu>
<os><type machine='q35'>hvm</type></os><cpu mode='custom'><model>qemu64</model></cpu>
<devices><disk type='file'><driver name='qemu' type='qcow2'/><source file='{disk}'/>
<target dev='vda' bus='virtio'/></disk>
<interface type='user'><model type='virtio'/></interface>
<serial type='file'><source path='{log}'/></serial>
<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
<memballoon model='virtio'/><rng model='virtio'><backend model='builtin'/></rng>
<panic model='isa'/><input type='mouse' bus='ps2'/></devices></domain>
"""


def start(place):
    """libvirt, or None (and why, said) where it is not installed or can't be run."""
    missing = [name for name in ("libvirtd", "virtlogd", "virsh") if not find(name)]
    if missing:
        report.note(f"libvirt is left out: {missing[0]} is not installed")
        return None
    if os.geteuid() != 0:
        report.note("libvirt is left out: its folders can be made private only by root")
        return None
    report.note("starting libvirt in folders of its own")
    return Libvirt(place)


def find(name):
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


class Libvirt:
    def __init__(self, place):
        self.place = place
        self.folder = place.folder / "libvirt"
        self.folder.mkdir(mode=0o755)
        self.defined = 0
        self.virsh_program = find("virsh")
        self.environment = dict(os.environ, LC_ALL="C")
        self.warden = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("warden.py"), self.folder, find("virtlogd"),
             find("libvirtd")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        place.at_end.append(self.close)
        # It prints a line when the daemons answer.
        if self.warden.stdout.readline().strip() != "ready":
            log = self.folder / "log" / "daemons.log"
            words = log.read_text(errors="replace")[-2000:] if log.exists() else ""
            raise RuntimeError(f"libvirt did not start: {words}")

    @property
    def uri(self):
        return f"qemu:///system?socket={self.folder}/run/libvirt-sock"

    def virsh_ms(self, *words):
        return measure.run_ms([self.virsh_program, "-q", "-c", self.uri, *words],
                              self.environment)

    def virsh(self, commands):
        """Many commands in one session, which is how libvirt does them fastest."""
        result = subprocess.run([self.virsh_program, "-q", "-c", self.uri], input=commands,
                                text=True, check=True, capture_output=True)
        if result.stderr:  # its exit status says nothing in a session
            raise RuntimeError(f"virsh: {result.stderr.strip()}")

    def define(self, count):
        commands = []
        for number in range(self.defined, count):
            path = self.folder / f"guest{number}.xml"
            path.write_text(LISTED.format(number=number), encoding="ascii")
            commands.append(f"define {path}\n")
        self.virsh("".join(commands))
        self.defined = count

    def undefine_all(self):
        self.virsh("".join(f"undefine guest{i:04}\n" for i in range(self.defined)))
        self.defined = 0

    def define_machine(self, name, memory_mib=256):
        self.disk = self.place.disk(f"libvirt-{name}.qcow2")
        path = self.folder / "machine.xml"
        log = self.folder / "log" / "console.log"
        path.write_text(MACHINE.format(name=name, memory=memory_mib, disk=self.disk, log=log), encoding="ascii")
        self.virsh(f"define {path}\n")

    def line(self, name):
        pid = int((self.folder / "run" / "qemu" / f"{name}.pid").read_text())
        return Line(pid, self.folder / "raw", self.disk, "charmonitor")

    def private_bytes(self):
        pid = int((self.folder / "run" / "libvirtd.pid").read_text())
        return measure.private_bytes(pid)

    def close(self):
        self.warden.stdin.close()  # which tells it to end
        self.warden.wait()
