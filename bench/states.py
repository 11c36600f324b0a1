"""What a guest was: kept, gone back to, and made again, beside what libvirt has for it.

Machines with an empty disk and 1 GiB of memory that nobody has touched: what is measured is what the
manager and QEMU do for it, not the copying of what a guest has in its memory. virsh save ends the
guest, which no command of Lodge's does; a snapshot with memory is what comes next to it, and gone
back to it is what restore does.
"""

import json
import shutil

import report
from measure import Row, Sample, now_ms, run_ms

NAME = "states"


class Ours:
    def __init__(self, store):
        self.store = store
        self.create, self.pause, self.back, self.copy = Sample(), Sample(), Sample(), Sample()

    def one_round(self, counts):
        lodge = self.store.lodge_ms
        begin = now_ms()
        made = json.loads(self.store.lodge("snapshot", "create", NAME, "then", "--json"))
        created = now_ms() - begin
        back = lodge("snapshot", "restore", NAME, "then", "--yes")
        self.store.lodge("snapshot", "delete", NAME, "then", "--yes")
        self.store.lodge("kill", NAME)
        copy = lodge("fork", NAME, "copy") + lodge("start", "copy", "--no-wait")
        self.store.lodge("delete", "copy", "--yes", "--force")
        self.store.lodge("start", NAME, "--no-wait")
        if counts:
            self.create.add(created)
            self.pause.add(made["pause_ms"])
            self.back.add(back)
            self.copy.add(copy)


class Theirs:
    def __init__(self, rival):
        self.rival = rival
        self.saved = rival.folder / "saved"
        self.create, self.back, self.copy = Sample(), Sample(), Sample()
        self.clone = shutil.which("virt-clone")

    def one_round(self, counts):
        virsh, folder = self.rival.virsh_ms, self.rival.folder
        created = virsh("snapshot-create-as", NAME, "then", "--memspec",
                        f"file={folder}/memory,snapshot=external", "--diskspec",
                        f"vda,snapshot=external,file={folder}/layer.qcow2")
        self.rival.virsh(f"snapshot-delete {NAME} then --metadata\n"
                         f"blockcommit {NAME} vda --active --pivot --wait\n")
        for name in ("memory", "layer.qcow2"):
            (folder / name).unlink(missing_ok=True)
        back = virsh("save", NAME, str(self.saved)) + virsh("restore", str(self.saved))
        self.saved.unlink(missing_ok=True)
        self.rival.virsh(f"destroy {NAME}\n")
        copy = self.copy_ms(folder / "copy.qcow2")
        self.rival.virsh(f"start {NAME}\n")
        if counts:
            self.create.add(created)
            self.back.add(back)
            if copy is not None:
                self.copy.add(copy)

    def copy_ms(self, disk):
        if self.clone is None:
            return None
        took = run_ms([self.clone, "--quiet", "--connect", self.rival.uri, "--original", NAME,
                       "--name", "copy", "--file", str(disk)], self.rival.environment)
        took += self.rival.virsh_ms("start", "copy")
        self.rival.virsh("destroy copy\nundefine copy\n")
        disk.unlink(missing_ok=True)
        return took


def measure_states(place, rival, options):
    store = place.store("states")
    disk = place.disk("states.qcow2")
    store.lodge("image", "import", "empty", str(disk))
    store.lodge("create", NAME, "--image", "empty", "--cpus", "1",
                "--memory", "1G", "--network", "user", "--no-wait")
    ours = Ours(store)
    theirs = None
    if rival:
        rival.define_machine(NAME, memory_mib=1024)
        rival.virsh(f"start {NAME}\n")
        theirs = Theirs(rival)
        if theirs.clone is None:
            report.note("virt-clone is left out: it is not installed (package virtinst)")
    for i in range(options.runs + 1):  # the first only warms caches
        ours.one_round(i > 0)
        if theirs:
            theirs.one_round(i > 0)
    store.lodge("delete", NAME, "--yes", "--force")
    if rival:
        rival.virsh(f"destroy {NAME}\nundefine {NAME}\n")
    of = [theirs.create, theirs.back, theirs.copy] if theirs else [None] * 3
    return [
        Row("snapshot with memory: the guest stands still", 100, ours.pause),
        Row("snapshot with memory, whole  (virsh snapshot-create-as)", 1000, ours.create, libvirt=of[0]),
        Row("snapshot restore with memory  (virsh save and restore)", 500, ours.back, libvirt=of[1]),
        Row("fork of a stopped guest, and start  (virt-clone and start)", 400, ours.copy, libvirt=of[2]),
    ]
