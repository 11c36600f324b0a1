"""An incremental backup: bytes, not time."""

import json
import resource

from measure import Row, Sample

WRITTEN_MB = 50
REACH_BYTES = 80e6
BLOCK_BYTES = 512  # of getrusage(2)


def written_bytes():
    """By all children that have ended, and theirs."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_oublock * BLOCK_BYTES


def measure_backup(place, rival, options):
    del rival
    store = place.image_store()
    target = place.folder / "backups"
    target.mkdir(exist_ok=True)
    store.lodge("create", "saved", "--os", "tiny")
    store.lodge("disk", "create", "saved", "data", "--size", "20G")
    store.lodge("backup", "saved", str(target))
    read, wrote = Sample(), Sample()
    for i in range(min(options.runs, 3)):
        store.lodge("exec", "saved", "--", "sh", "-c",
                    f"dd if=/dev/urandom of=/dev/vdb bs=1000000 count={WRITTEN_MB} seek={i * 997} conv=fsync")
        before = written_bytes()
        point = json.loads(store.lodge("backup", "saved", str(target), "--json"))
        if point["full"]:
            raise SystemExit(f"bench: the backup was full: {point['disks']}")
        read.add(point["copied_bytes"])
        wrote.add(written_bytes() - before)
    store.lodge("delete", "saved", "--yes", "--force")
    what = f"backup, {WRITTEN_MB} MB changed of 20 GiB: "
    return [Row(what + "read of the disk", REACH_BYTES, read, unit="MB"),
            Row(what + "written", REACH_BYTES, wrote, unit="MB")]
