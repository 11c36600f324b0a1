"""Images and disks over their life: who stands on what, what may go, what comes out, what goes in."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from lodge import BUSY, EXISTS, INTERRUPTED, NOT_FOUND, USAGE, fake, tree, wait_until


# tiny's disk is mounted last, when it answers already.
DATA = "until grep -q ' /data ' /proc/mounts; do usleep 20000; done; "


def flat(nodes, below=None):
    """{file: (what it stands on, node)} of a disk tree."""
    found = {}
    for node in nodes:
        found[node["file"]] = (below, node)
        found.update(flat(node["children"], node["file"]))
    return found


def test_what_stands_on_what_and_may_not_go(lodge):
    """The tree names images, snapshots and other guests' disks; what they need is refused to go."""
    one, two = lodge.make("one"), lodge.make("two")
    lodge("snapshot", "create", one, "monday")
    root, layer = (str(lodge.guest_folder(one) / file) for file in ("root.qcow2", "layers/root-1.qcow2"))
    linked = lodge.guest_folder(two) / "linked.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", root, linked],
                   check=True)
    lodge("disk", "attach", two, linked, status=1)  # who took its QEMU over may have made that up
    lodge("set", two, "forked-from=one/root.qcow2 one/data.qcow2")
    lodge("disk", "attach", two, linked)

    files = flat(lodge("disk", "tree", "--json").json)
    image = files[root][0]
    assert files[image][1]["image"] == "tiny" and files[image][0] is None
    assert files[root][1]["users"] == [{"guest": one, "disk": "root", "snapshot": "monday"}]
    assert files[layer][0] == root and files[layer][1]["users"][0]["snapshot"] is None
    assert files[str(linked)][0] == root
    assert str(linked) not in flat(lodge("disk", "tree", one, "--json").json)
    assert layer not in flat(lodge("disk", "tree", two, "--json").json)
    shown = lodge("disk", "tree").out
    assert "├─ guests/one/root.qcow2" in shown and "│  └─ guests/two/linked.qcow2" in shown
    assert "image tiny" in shown and "one/root at monday" in shown

    before = tree(lodge.folder / "guests")
    for words in (["delete", one, "--yes"], ["rename", one, "other"]):
        assert " two" in lodge(*words, status=BUSY).message
    assert lodge("image", "delete", "tiny", "--yes", status=BUSY).message.count("one, two")
    assert tree(lodge.folder / "guests") == before

    # A disk that a snapshot has kept stays too; one that nobody needs goes.
    lodge("disk", "detach", two, "linked", "--delete")
    lodge("disk", "create", one, "data", "--size", "1M")
    lodge("disk", "create", one, "more", "--size", "1M")
    below = lodge.guest_folder(one) / "data.qcow2"
    lodge("disk", "attach", two, below, "--read-only", status=BUSY)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", below, linked],
                   check=True)
    lodge("disk", "attach", two, linked)
    assert "needed by two" in lodge("disk", "detach", one, "data", "--delete", status=BUSY).message
    lodge("disk", "detach", one, "more", "--delete")
    lodge("delete", two, "--yes")
    lodge("disk", "detach", one, "data", "--delete")
    lodge("rename", one, "other")

    # Damage is shown, and hides nothing else.
    os.unlink(image)
    nodes = flat(lodge("disk", "tree", "--json").json)
    assert nodes[image][1]["problem"] == "missing"
    assert lodge("disk", "tree", "nobody", status=NOT_FOUND).message


def test_gc_removes_what_no_guest_needs(lodge):
    """Old files, downloads, logs and abandoned work go; what a guest stands on, or is being made, stays."""
    guest = lodge.make("one")
    shutil.rmtree(lodge.folder / "images/debian-12", ignore_errors=True)  # other tests' is here too
    image = lodge.folder / "images/tiny"
    conf = image / "image.conf"
    old = {line.split("=")[1] for line in conf.read_text().splitlines()
           if line.partition("=")[0] in ("disk", "kernel", "initrd")}
    text = conf.read_text()
    for name in old:  # as a second build leaves them
        fresh = name.replace("disk-", "disk-9").replace("kernel-", "kernel-9").replace("initrd-", "initrd-9")
        os.link(image / name, image / fresh)
        text = text.replace(name, fresh)
    conf.unlink()  # a hard link: others have it too
    conf.write_text(text)
    (image / "disk-1.qcow2").write_bytes(b"x" * 100000)
    cache = lodge.folder / "cache"
    cache.mkdir()
    (cache / "pull-debian-12=0123456789abcdef").write_bytes(b"x" * 5000)
    (cache / "build-tiny.log").write_text("said")
    (cache / "mine").write_text("not Lodge's")
    (lodge.folder / "images/.new-gone/work").mkdir(parents=True)
    (lodge.folder / "guests/.gone-two-1234").mkdir()

    before = tree(lodge.folder)
    found = lodge("image", "gc", "--dry-run", "--json").json
    assert {(item["kind"], item["file"].removeprefix(f"{lodge.folder}/")) for item in found} == {
        ("old-file", "images/tiny/disk-1.qcow2"), ("log", "cache/build-tiny.log"),
        ("download", "cache/pull-debian-12=0123456789abcdef"), ("abandoned", "images/.new-gone"),
        ("abandoned", "guests/.gone-two-1234")}
    assert not any(item["done"] for item in found) and tree(lodge.folder) == before
    lodge("image", "gc", status=USAGE)  # nobody to ask
    assert lodge.on_terminal("image", "gc", answers=[("[y/N]", "n\n")])[0] == INTERRUPTED
    assert tree(lodge.folder) == before

    assert "freed." in lodge("image", "gc", "--yes").err
    assert all((image / name).exists() for name in old)  # the guest stands on them
    assert not (image / "disk-1.qcow2").exists() and os.listdir(cache) == ["mine"]
    assert "Nothing to remove" in lodge("image", "gc", "--images", "--yes").err
    lodge("start", guest)
    lodge("delete", guest, "--yes", "--force")
    assert len(lodge("image", "gc", "--dry-run", "--json").json) == len(old)
    assert len(lodge("image", "gc", "--images", "--json", "--yes").json) == 1
    assert not image.exists()


def virtual_size(path, form):
    done = subprocess.run(["qemu-img", "info", "-f", form, "--output=json", path], check=True,
                          capture_output=True)
    return json.loads(done.stdout)["virtual-size"]


def test_export_and_back(lodge, tmp_path):
    """What a guest wrote is in the OVA, which another Lodge imports and boots; formats by name."""
    guest = lodge.make("one", start=True)
    lodge("exec", guest, "--", "sh", "-c", DATA + "echo kept >/data/mark; sync")
    lodge("snapshot", "create", guest, "then", "--disks-only")
    ova, raw = tmp_path / "one.ova", tmp_path / "one.raw"
    assert "--snapshot now" in lodge("image", "export", guest, ova, status=BUSY).message
    lodge("image", "export", guest, raw, "--snapshot", "then")
    assert raw.stat().st_size == 64 << 20 and raw.stat().st_blocks * 512 < 40 << 20
    lodge("stop", guest)
    lodge("image", "export", guest, ova)
    lodge("image", "export", guest, ova, status=EXISTS)
    members = subprocess.run(["tar", "-tf", ova], check=True, capture_output=True, text=True).stdout
    assert members.split() == ["one.ovf", "one.mf", "one-disk1.vmdk"]
    subprocess.run(["tar", "-xf", ova, "-C", tmp_path], check=True)
    for line in (tmp_path / "one.mf").read_text().splitlines():
        name, digits = line.removeprefix("SHA256(").split(")= ")
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == digits

    lodge("image", "import", "again", ova)
    conf = lodge.folder / "images/again/image.conf"
    conf.write_text(conf.read_text().replace("provision=none", "provision=lodge")
                    .replace("agent=no", "agent=yes"))
    lodge("create", "two", "--image", "again", "--memory", "256M")
    assert lodge("exec", "two", "--", "sh", "-c", DATA + "cat /data/mark").out == "kept\n"

    done = lodge("image", "export", "tiny", tmp_path / "t.qcow2", "--openstack")
    assert done.out.startswith("openstack image create ") and "--min-disk 1 " in done.out
    assert (tmp_path / "t.qcow2").stat().st_size < (20 << 20)
    for name, form in (("t.vmdk", "vmdk"), ("t.vdi", "vdi")):
        assert lodge("image", "export", "tiny", tmp_path / name, "--json").json["format"] == form
        assert virtual_size(tmp_path / name, form) == 64 << 20
    assert "no compression" in lodge("image", "export", "tiny", tmp_path / "t.raw", "--compress",
                                     status=USAGE).message
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_export_that_is_interrupted_leaves_nothing(lodge, switches, tmp_path):
    """SIGINT leaves the folder as it was; what a killed one leaves, the next one to that file removes."""
    marker, file = tmp_path / "began", tmp_path / "out" / "t.qcow2"
    file.parent.mkdir()
    slow = fake(switches, "qemu-img", f'case $1 in convert) touch {marker}; exec sleep 600 ;; esac\n'
                                      f'exec {shutil.which("qemu-img")} "$@"')
    for number in (signal.SIGINT, signal.SIGKILL):
        running = lodge.begin("image", "export", "tiny", file, env=slow)
        wait_until(marker.exists, what="the export is at work")
        assert lodge("image", "export", "tiny", file, status=BUSY)
        ended = lodge.end(running, number)
        marker.unlink()
        assert ended.status == (INTERRUPTED if number == signal.SIGINT else -number)
        assert not file.exists() and bool(os.listdir(file.parent)) == (number == signal.SIGKILL)
    lodge("image", "export", "tiny", file)
    assert os.listdir(file.parent) == ["t.qcow2"]


@pytest.fixture
def small(folder):
    """A file system of 16 MiB."""
    path = Path(tempfile.mkdtemp(prefix="small-", dir=folder))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16M,mode=755", "small", path], check=True)
    yield path
    subprocess.run(["umount", "--lazy", path], check=True)
    path.rmdir()


@pytest.mark.root
def test_a_full_host_pauses_and_space_lets_go_on(lodge, small):
    """The guest stands still, says why, goes on when there is space, and no byte of it is lost."""
    guest = lodge.make("one", start=True)
    disk, ballast = small / "data.qcow2", small / "ballast"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", disk, "64M"], check=True)
    lodge("disk", "attach", guest, disk)
    ballast.write_bytes(bytes(10 << 20))
    lodge("exec", guest, "--", "sh", "-c",
          "until [ -b /dev/vdb ]; do usleep 20000; done;"
          "dd if=/dev/urandom of=/tmp/data bs=1M count=9 2>/dev/null;"
          "(dd if=/tmp/data of=/dev/vdb bs=1M conv=fsync; echo 3 >/proc/sys/vm/drop_caches;"
          " dd if=/dev/vdb bs=1M count=9 | cmp - /tmp/data && echo same >/tmp/said;"
          " echo done >>/tmp/said) >/dev/null 2>&1 </dev/null &")
    assert "goes on by itself" in lodge.wait_event(guest, "no-space")["reason"]
    assert lodge.state(guest) == "paused" and "no space" in lodge.show(guest)["reason"]
    assert "no space" in lodge("list").out
    # A keeper that comes anew knows it too.
    os.kill(lodge.keeper(guest), signal.SIGKILL)
    lodge("resume", guest)  # at once the next write is refused
    wait_until(lambda: lodge.event_words(guest).count("no-space") > 1, what="paused again")
    ballast.unlink()
    lodge.wait_state(guest, "running")
    wait_said = "until grep -qs done /tmp/said; do usleep 20000; done; cat /tmp/said"
    assert lodge("exec", guest, "--", "sh", "-c", wait_said).out == "same\ndone\n"
    assert lodge.state(guest) == "running" and lodge.show(guest)["reason"] is None


@pytest.mark.root
def test_space_is_looked_at_before(lodge, small):
    """What would not fit is refused with both figures, before anything is written."""
    one = lodge.make("one")
    raw = lodge.folder / "random.raw"
    raw.write_bytes(os.urandom(20 << 20))
    for words in (("image", "export", one, small / "o.ova"), ("image", "export", one, small / "o.raw"),
                  ("disk", "convert", raw, small / "r.qcow2", "--from", "raw")):
        message = lodge(*words, status=1).message
        assert "only 16 MiB is free" in message and "takes " in message, message
    assert not os.listdir(small)
    message = lodge("disk", "create", one, "huge", "--size", "8T", "--preallocation", "falloc",
                    status=1).message
    assert "takes 8 TiB" in message and not (lodge.guest_folder(one) / "huge.qcow2").exists()


HOST_KEY = "dropbearkey -y -f /etc/dropbear/dropbear_ed25519_host_key | grep Fingerprint"


def test_a_sealed_template(lodge):
    """Its guests have what the guest had, and keys of their own; the guest itself keeps its own."""
    guest = lodge.make("one", start=True)
    old_key = lodge("exec", guest, "--", "sh", "-c", DATA + "echo kept >/data/mark; " + HOST_KEY).out
    assert "lodge stop one" in lodge("image", "make", guest, "template", status=BUSY).message
    lodge("stop", guest)
    before = tree(lodge.guest_folder(guest))
    made = lodge("image", "make", guest, "template", "--seal", "--json").json
    assert made["origin"] == "guest one, sealed"
    lodge("image", "make", guest, "template", status=EXISTS)
    after = tree(lodge.guest_folder(guest))
    assert {name for name in before} == {name for name in after} and lodge.state(guest) == "stopped"
    assert before["root.qcow2"] == after["root.qcow2"] and not lodge.processes()

    lodge("image", "make", guest, "plain")
    assert lodge("image", "show", "plain", "--json").json["origin"] == "guest one"
    keys = {old_key}
    for name in ("two", "three"):
        lodge("create", name, "--image", "template")
        said = lodge("exec", name, "--", "sh", "-c", DATA + "cat /data/mark; " + HOST_KEY).out
        assert said.startswith("kept\n") and said.removeprefix("kept\n") not in keys
        keys.add(said.removeprefix("kept\n"))


def test_a_killed_making_is_ended_by_who_comes_next(lodge):
    """The hidden guest outlives its maker, but not the next look; an interrupted one goes at once."""
    guest = lodge.make("one")
    box = lodge.folder / "images/.new-template/work/box/run/guests/box/qemu.lock"
    for number in (signal.SIGINT, signal.SIGKILL):
        running = lodge.begin("image", "make", guest, "template", "--seal")
        wait_until(lambda: box.exists() and box.read_text().strip(), what="the hidden guest runs")
        assert lodge.names() == [guest]
        ended = lodge.end(running, number)
        assert ended.status == (INTERRUPTED if number == signal.SIGINT else -number)
        assert bool(lodge.processes()) == (number == signal.SIGKILL)
    assert [item["kind"] for item in lodge("image", "gc", "--yes", "--json").json] == ["abandoned"]
    wait_until(lambda: not lodge.processes(), what="the hidden guest ended")
    assert "template" not in [image["name"] for image in lodge("image", "list", "--json").json]


def test_a_recipe_of_the_users_own(lodge, tmp_path):
    """Files and commands end up in the image; what fails is told with its words, and leaves nothing."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site/index").write_text("page\n")
    recipe = tmp_path / "mine.conf"
    good = f"""[image]\nbase=tiny\ntitle=Mine
[run wait]\ncommand={DATA}test ! -e /data/site
[file site]\nfrom=site\nto=/data/srv/site
[file word]\ntext=it's "so"\nto=/data/word\nmode=0600
[run see]\ncommand=test "$(cat /data/srv/site/index)" = page
"""
    recipe.write_text(good + "[run bad]\ncommand=echo first; echo the reason >&2; exit 3\n")
    before = tree(lodge.folder / "images")
    message = lodge("image", "build", recipe, status=1).err
    assert "run bad: ended with status 3" in message and "  first\n  the reason\n" in message
    assert tree(lodge.folder / "images") == before and not lodge.processes()
    recipe.write_text(good)
    assert lodge("image", "build", recipe, "--json").json[0]["name"] == "mine"
    guest = "one"
    lodge("create", guest, "--image", "mine")
    said = lodge("exec", guest, "--", "sh", "-c", DATA + "cat /data/srv/site/index /data/word;"
                                                         "stat -c %a /data/word").out
    assert said == "page\nit's \"so\"\n600\n"
    recipe.write_text(good.replace("base=", "bse="))
    assert "did you mean “base”?" in lodge("image", "build", recipe, status=1).message
    recipe.write_text(good.replace("from=site", "from=none"))
    lodge("image", "build", recipe, status=NOT_FOUND)
