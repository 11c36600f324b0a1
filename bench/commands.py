"""Commands that only read: how long a user waits for words on the screen."""

from measure import Row, Sample


def measure_help(place, rival, options):
    store = place.store("help")
    ours, theirs = Sample(), Sample()
    for i in range(options.runs + 1):
        took = store.lodge_ms("--help")
        virsh_took = rival.virsh_ms("--version") if rival else None
        if i > 0:  # the first only warms the page cache
            ours.add(took)
            if rival:
                theirs.add(virsh_took)
    return [Row("lodge --help  (virsh --version)", 5, ours, libvirt=theirs)]


def measure_list(place, rival, options):
    rows = []
    for count, reach in ((1, 4), (100, 6), (1000, 15)):
        store = place.store(f"list{count}")
        store.define(count)
        if rival:
            rival.define(count)
        ours, theirs = Sample(), Sample()
        for i in range(options.runs + 1):
            took = store.lodge_ms("list")
            virsh_took = rival.virsh_ms("list", "--all") if rival else None
            if i > 0:
                ours.add(took)
                if rival:
                    theirs.add(virsh_took)
        rows.append(Row(f"list, {count:,} guest{'s' if count > 1 else ''} defined", reach, ours,
                        libvirt=theirs))
    if rival:
        rival.undefine_all()
    return rows
