"""What is wrong is refused with the right exit status and words that name what, where and the mend;
and nothing is left behind."""

import os
import re
import shutil
import socket
import subprocess
import tarfile
from pathlib import Path

import pytest

from lodge import BUSY, EXISTS, NOT_FOUND, UNSUPPORTED, USAGE, tree, wait_until

FAILED = 1


# Command lines. NAME stands for a guest that is there, FOLDER for a folder of the test's.

COMMANDS = [
    # Words, exit status, what the message says
    ("xyzzy", USAGE, "no command “xyzzy” lodge --help"),
    ("crate x", USAGE, "did you mean “lodge create”?"),
    ("--frob", USAGE, "no command “--frob”"),
    ("image frob", USAGE, "no command “image frob”"),
    ("image biuld tiny", USAGE, "did you mean “lodge image build”?"),
    ("destroy x", USAGE, "“lodge kill”: pull the plug; or “lodge delete”: remove"),
    ("image rm x", USAGE, "here it is “lodge image delete”:"),
    ("snap list x", USAGE, "here it is “lodge snapshot list”:"),
    ("net list", USAGE, "here it is “lodge network list”:"),
    ("volume", USAGE, "lodge disk --help"),
    ("help frob", USAGE, "no command “frob”"),
    ("list --frob", USAGE, "--frob lodge list --help"),
    ("list extra", USAGE, "too many words: lodge list"),
    ("show", USAGE, "something is missing: lodge show GUEST"),
    ("show NAME NAME", USAGE, "too many words"),
    ("exec NAME", USAGE, "something is missing lodge exec GUEST COMMAND…"),
    ("exec NAME --", USAGE, "which command?"),
    ("start", USAGE, "start: name guests, or say --autostart"),
    ("stop NAME --all", USAGE, "stop: name guests, or say --all"),
    ("start NAME --timeout soon", USAGE, "--timeout “soon” is not a time 90s"),
    ("completion csh", USAGE, "“csh” is not one of bash, zsh, fish"),
    # Names
    ("create Web --os tiny", USAGE, "“Web” can't be the guest's name a-z"),
    ("create ../x --os tiny", USAGE, "“../x” can't be the guest's name"),
    ("create . --os tiny", USAGE, "“.” can't be the guest's name"),
    ("create EMPTY --os tiny", USAGE, "name can't be empty"),
    ("create " + "a" * 64 + " --os tiny", USAGE, "longer than 63"),
    ("create new --os ../../etc/passwd", USAGE, "--os can't be the image's name"),
    ("create NAME --os tiny", EXISTS, "guest NAME exists already"),
    ("show nmae", NOT_FOUND, "no guest “nmae” did you mean “name”?"),
    ("start nmae", NOT_FOUND, "no guest “nmae”"),
    ("delete nmae --yes", NOT_FOUND, "no guest “nmae”"),
    ("ssh nmae", NOT_FOUND, "no guest “nmae”"),
    ("exec nmae true", NOT_FOUND, "no guest “nmae”"),
    ("log nmae", NOT_FOUND, "no guest “nmae”"),
    ("show ../../etc", USAGE, "can't be the guest's name"),
    # What runs
    ("create new", USAGE, "--os --image --disk lodge image list"),
    ("create new --os tiny --image tiny", USAGE, "one of"),
    ("create new --os tinny", NOT_FOUND, "“tinny” did you mean “tiny”?"),
    ("create new --os nothing-like-it", NOT_FOUND, "“nothing-like-it” shows them"),
    ("create new --image tinny", NOT_FOUND, "no image “tinny” did you mean “tiny”?"),
    ("create new --disk FOLDER/none", NOT_FOUND, "--disk FOLDER/none: No such file"),
    ("create new --disk FOLDER", USAGE, "--disk FOLDER is neither a file nor a block device"),
    ("create new --disk /dev/null", USAGE, "--disk /dev/null is neither a file nor"),
    # Sizes and choices
    ("create new --os tiny --memory lots", USAGE, "--memory “lots” is not a size 512M"),
    ("create new --os tiny --memory 1M", USAGE, "--memory 1M is less than the least, 32M"),
    ("create new --os tiny --memory 9000T", USAGE, "--memory more than the most"),
    ("create new --os tiny --memory 99999999999999999999", USAGE, "--memory too large"),
    ("create new --os tiny --memory -1G", USAGE, "--memory “-1G”"),
    ("create new --os tiny --memory 3T", UNSUPPORTED, "wants 3 TiB of memory this host has"),
    ("create new --os tiny --cpus 0", USAGE, "--cpus 0 is less than the least, 1"),
    ("create new --os tiny --cpus 4x", USAGE, "--cpus “4x” is not a whole number"),
    ("create new --os tiny --size 1M", USAGE, "too small 64 MiB"),
    ("create new --os tiny --firmware efi", USAGE, "--firmware bios, uefi did you mean “uefi”?"),
    ("create new --os tiny --accel hvf", USAGE, "--accel auto, kvm, tcg"),
    ("create new --os tiny --timeout soon", USAGE, "--timeout “soon”"),
    ("create new --os tiny --user Root", USAGE, "--user “Root” can't be a login name"),
    ("create new --os tiny --user $(id)", USAGE, "can't be a login name"),
    ("create new --os tiny --description a\nb", USAGE, "--description control characters"),
    ("create new --os tiny --momory 1G", USAGE, "--momory lodge create --help"),
    ("create new --os tiny momory=1G", USAGE, "unknown key “momory” did you mean “memory”?"),
    ("create new --os tiny memory=lots", USAGE, "memory: “lots” is not a size"),
    ("create new --os tiny disk.data.iops=5", NOT_FOUND, "it has no disk “data”"),
    ("create new --os tiny nic.net.network=lan", USAGE, "that is for --network to say"),
    ("create new --os tiny extra", USAGE, "“extra”: write KEY=VALUE"),
    # Ports
    ("create new --os tiny --forward 80", UNSUPPORTED, "port 80 below 1024 forward a higher one"),
    ("create new --os tiny --forward 99999:1", USAGE, "--forward “99999:1” like 8080:80"),
    ("create new --os tiny --forward 1:2:3:4", USAGE, "--forward"),
    ("create new --os tiny --forward 203.0.113.9:20800:80", BUSY, "203.0.113.9 not this host's"),
    # Files
    ("create new --os tiny --ssh-key FOLDER/none", NOT_FOUND, "FOLDER/none: No such file"),
    ("create new --os tiny --ssh-key FOLDER/private", USAGE, "is a private key private.pub"),
    ("create new --os tiny --password-file FOLDER/none", NOT_FOUND, "--password-file FOLDER/none"),
    ("create new --os tiny --user-data FOLDER", FAILED, "--user-data not a regular file"),
    # Images
    ("image show none-such", NOT_FOUND, "none-such lodge image list"),
    ("image build none-such", NOT_FOUND, "none-such"),
    ("image build FOLDER/x", NOT_FOUND, "FOLDER/x: No such file"),
    ("image build Tiny", USAGE, "can't be the image's name"),
    ("image import x", USAGE, "something is missing"),
    ("image import x FOLDER/none", NOT_FOUND, "FOLDER/none: No such file"),
    ("image import tiny FOLDER/private", EXISTS, "image tiny exists already"),
    ("image import x FOLDER/private", FAILED, "not a disk of a known format"),
    ("image import x FOLDER", FAILED, "FOLDER"),
    ("image delete tiny --yes", BUSY, "image tiny is needed by name"),
    ("image delete none-such --yes", NOT_FOUND, "none-such"),
    # State
    ("pause NAME", BUSY, "guest NAME is stopped"),
    ("resume NAME", BUSY, "guest NAME is stopped"),
    ("exec NAME true", BUSY, "guest NAME is stopped"),
    ("ssh NAME", BUSY, "not running lodge start NAME"),
]


@pytest.fixture(scope="module")
def name(shared):
    (shared.folder.parent / "private").write_text(
        "-----BEGIN OPENSSH PRIVATE KEY-----\nx\n-----END OPENSSH PRIVATE KEY-----\n")
    return shared.make("name")


@pytest.mark.parametrize("line,status,words", COMMANDS, ids=[row[0][:60] for row in COMMANDS])
def test_command_is_refused(shared, name, line, status, words):
    def fill(text):
        return text.replace("NAME", name).replace("FOLDER", str(shared.folder.parent))
    argv = [word if word != "EMPTY" else "" for word in fill(line).split(" ")]
    before = tree(shared.folder)
    result = shared(*argv, status=status)
    for word in fill(words).split(" "):
        assert any(one in result.message for one in word.split("|")), f"“{word}” missing: {result}"
    assert result.message.count("\n") == 1, "one line says it"
    after = tree(shared.folder)
    for ours in ("creating", "run/events.jsonl", "run/qemu-version.json",
                 "run/qemu-aio.json", "run/kvm.json"):
        after.pop(ours, None), before.pop(ours, None)
    assert after == before, "something was left behind"
    assert shared.processes() == []


def test_errors_as_json_too(shared, name):
    for words, code in ((["show", "none"], "not-found"), (["start", "none"], "not-found"),
                        (["create", "Bad", "--os", "tiny"], "usage"),
                        (["create", name, "--os", "tiny"], "exists"),
                        (["pause", name], "busy"), (["image", "show", "none"], "not-found"),
                        (["create", "new", "--os", "tiny", "--memory", "3T"], "unsupported")):
        result = shared(*words, "--json", status=None)
        assert list(result.json) == ["error"], result
        assert result.json["error"]["code"] == code
        assert result.json["error"]["message"] in result.err


# Definitions


DEFINITIONS = [
    # What a person did to guest.conf (a line replaced, or added at the end), status, words
    ("memory=", "memry=2G", FAILED, "line LINE unknown key “memry” did you mean “memory”?"),
    ("memory=", "memory=lots", FAILED, "line LINE “lots” is not a size"),
    ("cpus=", "cpus=0", FAILED, "line LINE least, 1"),
    ("mac=", "mac=zz", FAILED, "line LINE not a unicast MAC"),
    ("agent=", "agent=maybe", FAILED, "line LINE yes or no"),
    (None, "[dsk x]", FAILED, "line LINE unknown section [dsk] did you mean “disk”?"),
    (None, "[nic]", FAILED, "line LINE [nic NAME]"),
    (None, "what is this", FAILED, "line LINE neither"),
    (None, "\0\xff", FAILED, "not a text file"),
    ("file=", "file=none.qcow2", NOT_FOUND, "disk root none.qcow2 No such file"),
    ("kernel=", "kernel=/none", NOT_FOUND, "/none No such file"),
    ("network=", "network=lan", NOT_FOUND, "network “lan”"),
    ("network=", "network=user\nssh-port=22", UNSUPPORTED, "port 22 below 1024"),
    ("network=", "network=user\nssh-port=PORT", BUSY, "port PORT in use ss"),
    ("network=", "network=user\nforward=PORT:80", BUSY, "port PORT in use ss"),
    ("cpus=", "cpus=1\ncpu=none-such", FAILED, "none-such"),
    ("cpus=", "cpus=1\naccel=kvm", UNSUPPORTED, "accel=kvm KVM accel=auto"),
    ("memory=", "memory=3T", UNSUPPORTED, "3 TiB lower memory="),
]


@pytest.mark.parametrize("old,new,status,words", DEFINITIONS,
                         ids=[repr(row[1])[1:50] for row in DEFINITIONS])
def test_a_definition_is_refused(shared, name, old, new, status, words):
    if "accel=kvm" in new and "ok" in shared("check", status=None).out.splitlines()[0]:
        pytest.skip("KVM works here")
    if "ff" in repr(new):
        new = new.encode("latin1")
    conf, listener = shared.conf(name), socket.create_server(("127.0.0.1", 0))
    good = conf.read_bytes()
    port = str(listener.getsockname()[1])
    lines = good.decode().splitlines()
    line = len(lines) + 1 if old is None else next(
        i for i, text in enumerate(lines, 1) if text.startswith(old))
    if isinstance(new, bytes):
        bad = good + new
    else:
        lines[line - 1:line] = new.replace("PORT", port).split("\n")
        bad = ("\n".join(lines) + "\n").encode()
    try:
        conf.write_bytes(bad)
        result = shared("start", name, "--no-wait", status=status)
        for word in words.replace("PORT", port).replace("LINE", str(line)).split(" "):
            assert word in result.message, f"“{word}” is missing in {result}"
        assert name in shared("list").out and shared("list", "--json").json[0]["name"] == name
        assert shared.processes() == []
    finally:
        conf.write_bytes(good)
        listener.close()


@pytest.mark.parametrize("words", [("xyzzy",), ("image", "frob", "x"), ("list", "--frob")])
def test_what_is_not_understood_is_json_too(shared, words):
    assert shared(*words, "--json", status=USAGE).json["error"]["code"] == "usage"


def test_no_editor_is_shown_where_nobody_looks(lodge):
    lodge.make("web1")
    lodge.env.pop("EDITOR", None)
    lodge.env.pop("VISUAL", None)
    assert "EDITOR" in lodge("edit", "web1", status=USAGE).message


def test_a_damaged_definition_hides_nobody_and_its_guest_can_be_ended(lodge):
    for guest in ("bad", "good"):
        lodge.make(guest)
    lodge("start", "bad", "--no-wait")
    lodge.conf("bad").write_text("[guest]\nmemry=1\n")
    table = lodge("list").out
    assert "line 2: unknown key “memry”" in table
    assert re.search(r"^good +stopped +tiny", table, re.M)
    bad, good = lodge("list", "--json").json
    assert "line 2" in bad["definition_error"] and bad["state"] == "running"
    assert good["state"] == "stopped" and "definition_error" not in good
    assert "line 2" in lodge("show", "bad", status=FAILED).message
    os.kill(lodge.keeper("bad"), 9)
    lodge("pause", "bad")
    lodge("kill", "bad")
    assert "line 2" in lodge("start", "bad", status=FAILED).message
    lodge.conf("bad").unlink()
    message = lodge("start", "bad", status=FAILED).message
    assert "has lost its definition" in message and str(lodge.conf("bad")) in message
    lodge("delete", "bad", "--yes")
    assert lodge.names() == ["good"]


# Disks


def corrupt(offset, data):
    def change(lodge, disk):
        with open(disk, "r+b") as file:
            file.seek(offset)
            file.write(data)
    return change


def rebase(target, form="qcow2"):
    def change(lodge, disk):
        path = target if target.startswith("/") else str(lodge.folder / target)
        subprocess.run(["qemu-img", "rebase", "-q", "-u", "-F", form, "-b", path, disk], check=True)
    return change


DISKS = {
    "another magic": (corrupt(0, b"XFI\xfb"), "not a qcow2 file"),
    "a version to come": (corrupt(4, b"\0\0\0\x09"), "version 9"),
    "impossible clusters": (corrupt(20, b"\0\0\0\x40"), "damaged clusters"),
    "unknown features": (corrupt(72, b"\x80" + b"\0" * 7), "newer QEMU"),
    "marked corrupt": (corrupt(79, b"\x02"), "corrupt qemu-img check"),
    "cut off": (lambda lodge, disk: os.truncate(disk, 80), "cut off"),
    "deleted": (lambda lodge, disk: disk.unlink(), "No such file"),
    "on nothing": (rebase("/none.qcow2"), "stands on /none.qcow2 missing qemu-img rebase"),
    "on itself": (rebase("guests/g/root.qcow2"), "loop"),
    "on a file of the host": (rebase("/etc/passwd", "raw"), "stands on /etc/passwd image"),
    "on another guest": (rebase("guests/other/root.qcow2"), "stands on other image"),
}


@pytest.mark.parametrize("what", DISKS)
def test_a_bad_disk_is_refused(lodge, what):
    change, words = DISKS[what]
    lodge.make("g")
    if "other" in words:
        lodge.make("other")
    change(lodge, lodge.guest_folder("g") / "root.qcow2")
    result = lodge("start", "g", "--no-wait", status=None)
    assert result.status in (FAILED, NOT_FOUND, UNSUPPORTED)
    for word in ["guest g", "disk root", *words.split(" ")]:
        assert word in result.message, result
    assert lodge.processes() == [] and "start-failed" in lodge.event_words("g")
    assert lodge.show("g")["reason"]


def test_a_disk_of_ones_own_is_used_where_it_is_and_stays(lodge):
    disk = lodge.folder.parent / "mine.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", disk, "64M"], check=True)
    lodge("create", "g", "--disk", disk, "--no-wait", "--memory", "64M")
    assert lodge.show("g")["disks"][0]["file"] == str(disk)
    _, shown = lodge.on_terminal("delete", "g", "--force", answers=[("[y/N]", "y\n")])
    assert f"{disk} stays: it is yours" in shown and disk.exists()
    secret = lodge.folder.parent / "elsewhere"
    secret.mkdir()
    (secret / "base.raw").write_bytes(b"\0" * 65536)
    rebase(str(secret / "base.raw"), "raw")(lodge, disk)
    message = lodge("create", "g", "--disk", disk, status=FAILED).message
    assert "outside its folder" in message and "lodge image import" in message


# Guests that never answer


@pytest.fixture
def blank(lodge):
    path = lodge.folder.parent / "blank.raw"
    with open(path, "wb") as file:
        file.truncate(1 << 20)
    return path


def test_a_guest_that_never_answers_is_removed(lodge, blank):
    result = lodge("create", "mute", "--disk", blank, "--memory", "64M", "--timeout", "3s",
                   status=FAILED)
    assert "did not answer within 3.00 s" in result.message and "console" in result.message
    assert re.search(r"✗ guest boots and answers +failed", result.err), result
    assert result.seconds < 10 and lodge.leftovers() == [] and blank.exists()


def test_keep_keeps_it(lodge, blank):
    result = lodge("create", "mute", "--disk", blank, "--memory", "64M", "--timeout", "1s",
                   "--keep", status=FAILED)
    assert "kept for a look" in result.message and lodge.state("mute") == "running"


def test_the_console_s_last_line_is_told(lodge):
    """Its kernel waits for a root file system that never comes."""
    lodge.make("stuck")
    lodge.set("stuck", "guest", **{"kernel-arguments": "console=ttyS0 root=/none rootwait rdinit=/x"})
    text = lodge.conf("stuck").read_text().replace("kernel-arguments=console=tty0", "#", 1)
    lodge.conf("stuck").write_text(text)
    process = lodge.begin("start", "stuck", "--timeout", "90s")
    console = lodge.guest_folder("stuck") / "console.log"
    wait_until(lambda: console.exists() and b"Linux version" in console.read_bytes(),
               what="the kernel's first words")
    lodge.end(process, 2)
    result = lodge("start", "stuck", "--timeout", "1s", status=FAILED)
    assert re.search(r"its console's last line: “.+”", result.message), result


# Foreign images


@pytest.fixture(scope="module")
def raw(shared):
    """A disk with something on it and a boot sector."""
    path = shared.folder.parent / "source.raw"
    path.write_bytes((b"Lodge" * 103)[:510] + b"\x55\xaa" + b"data" * 16384 + b"\0" * (1 << 20))
    os.truncate(path, 2 << 20)
    return path


@pytest.mark.parametrize("form", ["raw", "qcow2", "vmdk", "vdi", "vhdx", "vpc", "qcow2.gz", "ova"])
def test_import(shared, raw, form):
    folder = raw.parent
    disk = folder / f"disk.{form}"
    plain = folder / f"plain.{form.split('.')[0]}"
    made = {"ova": "vmdk"}.get(form, form.split(".")[0])
    options = ["-o", "subformat=streamOptimized"] if made == "vmdk" else []
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", made, *options, raw, plain],
                   check=True)
    if form.endswith(".gz"):
        subprocess.run(["gzip", "-kf", plain], check=True)
        (folder / "plain.qcow2.gz").rename(disk)
    elif form == "ova":
        ovf = folder / "box.ovf"
        ovf.write_text('<?xml version="1.0"?>\n<Envelope xmlns:ovf="http://schemas.dmtf.org/ovf/'
                       'envelope/1"><References><File ovf:id="file1" ovf:href="box.vmdk"/>'
                       '</References><DiskSection><Disk ovf:diskId="d1" ovf:fileRef="file1"/>'
                       '</DiskSection></Envelope>\n')
        with tarfile.open(disk, "w", format=tarfile.USTAR_FORMAT) as archive:
            archive.add(ovf, "box.ovf")
            archive.add(plain, "box.vmdk")
    else:
        disk = plain
    image = "from-" + form.replace(".", "-")
    shared("image", "import", image, disk, "--user", "admin")
    [here] = [entry for entry in shared("image", "list", "--json").json if entry["name"] == image]
    assert here["here"] and here["user"] == "admin"
    result = folder / "back.raw"
    [stored] = (shared.folder / "images" / image).glob("disk-*.qcow2")
    subprocess.run(["qemu-img", "convert", "-O", "raw", stored, result], check=True)
    assert result.read_bytes()[:2 << 20] == raw.read_bytes()
    shared("create", "user", "--image", image, "--no-start")
    assert "needed by user" in shared("image", "delete", image, "--yes", status=BUSY).message
    shared("delete", "user", "--yes")
    shared("image", "delete", image, "--yes")
    assert not (shared.folder / "images" / image).exists()


def backed(folder, name, backing, form):
    path = folder / name
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-u", "-F", form, "-b", backing,
                    path, "1M"], check=True)
    return path


def test_a_damaged_image_is_listed_and_can_be_deleted(lodge):
    conf = lodge.folder / "images/tiny/image.conf"
    text = conf.read_text()
    conf.unlink()
    conf.write_text(text + "colour=red\n")
    assert re.search(r"^tiny +broken .*colour", lodge("image", "list").out, re.M)
    assert any("colour" in entry.get("definition_error", "")
               for entry in lodge("image", "list", "--json").json)
    assert "colour" in lodge("create", "g", "--image", "tiny", status=FAILED).message
    lodge("image", "delete", "tiny", "--yes")
    assert not conf.parent.exists()


def hostile(folder):
    """Files that want to read the host's own, or to hurt."""
    yield "backing file", backed(folder, "a.qcow2", "/etc/shadow", "raw"), "is not trusted"
    yield "backing protocol", backed(folder, "b.qcow2", "json:{\"driver\":\"file\",\"filename\":"
                                     "\"/etc/shadow\"}", "raw"), "is not trusted"
    descriptor = folder / "c.vmdk"
    descriptor.write_text('# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n'
                          'createType="monolithicFlat"\nRW 4 FLAT "/etc/shadow" 0\n')
    yield "flat VMDK of another file", descriptor, "not a disk of a known format|VMDK"
    archive = folder / "d.ova"
    ovf = folder / "d.ovf"
    ovf.write_text('<Envelope xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"><References>'
                   '<File ovf:id="f" ovf:href="../../../../etc/shadow"/></References>'
                   '<DiskSection><Disk ovf:fileRef="f"/></DiskSection></Envelope>')
    with tarfile.open(archive, "w", format=tarfile.USTAR_FORMAT) as tar:
        tar.add(ovf, "d.ovf")
    yield "OVA that names a file outside", archive, ""
    link = folder / "e.ova"
    with tarfile.open(link, "w", format=tarfile.USTAR_FORMAT) as tar:
        tar.add(ovf, "e.ovf")
        entry = tarfile.TarInfo("disk.vmdk")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/shadow"
        tar.addfile(entry)
    yield "OVA with a symbolic link", link, ""
    cut = folder / "f.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", cut, "1M"], check=True)
    os.truncate(cut, 90)
    yield "cut off", cut, "cut off|trunc"
    yield "empty", Path(shutil.copy("/dev/null", folder / "g.raw")), "not a disk of a known format"
    huge = folder / "h.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", huge, "1M"], check=True)
    with open(huge, "r+b") as file:
        file.seek(24)
        file.write((1 << 60).to_bytes(8, "big"))
    yield "a disk of an exbibyte", huge, "64 TiB|impossible|disk size"


def test_hostile_images_are_refused(shared, raw):
    folder = raw.parent / "hostile"
    folder.mkdir()
    for what, path, words in hostile(folder):
        result = shared("image", "import", "evil", path, status=None)
        assert result.status == FAILED, f"{what}: {result}"
        assert any(word in result.message for word in words.split("|")), f"{what}: {result}"
        assert not (shared.folder / "images/evil").exists()
        assert [p for p in shared.leftovers() if "images" in p] == [], what
