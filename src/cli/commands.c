#include "config.h"

#include "cli/cli.h"

#define GUESTS "Guests"
#define INSIDE "In a guest"
#define SCREEN "A guest's screen, keys and insides"
#define DISKS "Disks and devices"
#define SNAPSHOTS "Snapshots"
#define BACKUPS "Backups"
#define IMAGES "Images"
#define NETWORKS "Networks"
#define HOST "This host"

static const LodgeCommandRow rows[] = {
    {"create", GUESTS, "NAME [KEY=VALUE…]", "make a guest, and wait until it answers",
     "Makes the guest's disk as an overlay of an image (which is built or fetched first, if it is "
     "not here), starts it and returns when it really answers: when its SSH server shows a "
     "banner. What fails or is interrupted leaves nothing behind. What no option sets, keys of the "
     "definition do, as in `lodge set`.",
     "lodge create web1 --os debian-12 # two CPUs, 1 GiB, ready for `lodge ssh web1`\n"
     "lodge create db1 --os debian-12 --cpus 4 --memory 8G --size 100G\n"
     "lodge create app --os ubuntu-24.04 --forward 8080:80 --user-data setup.yaml\n"
     "lodge create gate --os debian-12 --network default --network lab # two NICs\n"
     "lodge create old --disk /srv/old.qcow2 --firmware uefi --no-wait\n"
     "lodge create win --disk win.qcow2 --profile windows --no-start # UEFI, secure boot, a TPM\n"
     "lodge create xp --disk /srv/xp.qcow2 --profile legacy limits.cpu=100% --no-wait",
     lodge_options_create, 1, -1, LODGE_WORD_NONE, FALSE, lodge_cmd_create},
    {"fork", GUESTS, "GUEST NAME", "make guests that are what a guest is",
     "Of a guest that runs, its memory and its disks: it goes on after a pause of some "
     "milliseconds, which is said, and each fork is told its own name, keys, addresses and "
     "randomness before it has a network. Forks share what of its memory they don't change. Of "
     "several one may fail: it is removed and named, and the others stay. Of a guest that is "
     "stopped, its disks; the fork learns "
     "who it is at its first boot. Forks' disks are layers on the guest's, which is needed as long "
     "as they are there, unless --full copies them.",
     "lodge fork web1 web2\nlodge fork web1 worker --count 5 # worker-1 to worker-5\n"
     "lodge fork db1 db2 --full",
     lodge_options_fork, 2, 2, LODGE_WORD_GUEST, FALSE, lodge_cmd_fork},
    {"list", GUESTS, "", "show all guests and what they do",
     "Reads files only: it answers at once, whatever any guest is doing.",
     "lodge list\nlodge list --json # for programs", lodge_options_list, 0, 0, LODGE_WORD_NONE,
     FALSE, lodge_cmd_list},
    {"show", GUESTS, "GUEST", "show all about one guest", NULL,
     "lodge show web1\nlodge show web1 --definition # the file, as it is\nlodge show web1 --json",
     lodge_options_show, 1, 1, LODGE_WORD_GUEST, FALSE, lodge_cmd_show},
    {"start", GUESTS, "GUEST…", "start guests, and wait until they answer", NULL,
     "lodge start web1\nlodge start web1 web2 --no-wait\nlodge start old --usb-storage drivers.img "
     "# stays until `lodge disk detach old drivers`\nlodge start web1 --paused # then `lodge "
     "resume web1`",
     lodge_options_start, 0, -1, LODGE_WORD_GUEST, FALSE, lodge_cmd_start},
    {"stop", GUESTS, "GUEST…", "ask guests to shut down, and wait",
     "The agent in the guest is asked, else ACPI. A guest that does not stop in time keeps "
     "running, "
     "and the error says what to do.",
     "lodge stop web1\nlodge stop --all --timeout 2m", lodge_options_stop, 0, -1, LODGE_WORD_GUEST,
     FALSE, lodge_cmd_stop},
    {"kill", GUESTS, "GUEST…", "pull the plug",
     "What the guest had not written to its disk is lost, as when a machine loses its power.",
     "lodge kill web1", NULL, 1, -1, LODGE_WORD_GUEST, FALSE, lodge_cmd_kill},
    {"restart", GUESTS, "GUEST…", "stop and start again", NULL,
     "lodge restart web1\nlodge restart web1 --force # pull the plug instead of asking",
     lodge_options_restart, 1, -1, LODGE_WORD_GUEST, FALSE, lodge_cmd_restart},
    {"pause", GUESTS, "GUEST…", "stop a guest's CPUs where they are", NULL, "lodge pause web1",
     NULL, 1, -1, LODGE_WORD_GUEST, FALSE, lodge_cmd_pause},
    {"resume", GUESTS, "GUEST…", "let paused guests go on", NULL, "lodge resume web1", NULL, 1, -1,
     LODGE_WORD_GUEST, FALSE, lodge_cmd_resume},
    {"set", GUESTS, "GUEST KEY=VALUE…", "change a guest's definition",
     "The running guest takes at once what it can, and the rest from its next start; which is "
     "said. An "
     "empty value means the default. lodge-guest.conf(5) lists the keys.",
     "lodge set web1 memory=4G autostart=yes\n"
     "lodge set web1 nic.net.forward=8080:80 # a port, while it runs\n"
     "lodge set web1 disk.root.iops=500",
     NULL, 2, -1, LODGE_WORD_GUEST, FALSE, lodge_cmd_set},
    {"edit", GUESTS, "GUEST", "change its definition in your editor",
     "What is wrong is refused with line and reason, and may be edited again.", "lodge edit web1",
     NULL, 1, 1, LODGE_WORD_GUEST, FALSE, lodge_cmd_edit},
    {"rename", GUESTS, "GUEST NAME", "give a stopped guest another name", NULL,
     "lodge rename web1 web2", NULL, 2, 2, LODGE_WORD_GUEST, FALSE, lodge_cmd_rename},
    {"top", GUESTS, "[GUEST…]", "watch what guests use: CPU, memory, disks, network",
     "A full screen, whose key ? says what its keys do; a table, CSV or JSON with --batch, --csv "
     "or "
     "--json. A guest that hangs delays nothing.",
     "lodge top\nlodge top --batch --iterations 5 --interval 1s\nlodge top web1 --json",
     lodge_options_top, 0, -1, LODGE_WORD_GUEST, FALSE, lodge_cmd_top},
    {"limits", GUESTS, "GUEST", "show or change what a guest may take from the host",
     "Without options it shows what is asked for, what the kernel and QEMU hold it to, and how "
     "much "
     "it was held back. With options its definition is changed, and a running guest is held to it "
     "at once. Limits of disks stand in their sections of the definition.",
     "lodge limits web1\nlodge limits web1 --cpu 150% --cpu-weight 50\n"
     "lodge limits web1 --memory-max 2G # what its QEMU may take, beyond which it is ended\n"
     "lodge limits web1 --memory 512M # what the guest has now, by its balloon",
     lodge_options_limits, 1, 1, LODGE_WORD_GUEST, FALSE, lodge_cmd_limits},
    {"delete", GUESTS, "GUEST…", "remove a guest and its files",
     "Shows what goes and asks. Disks outside the guest's folder stay.",
     "lodge delete web1\nlodge delete web1 web2 --yes --force # running or not, no questions",
     lodge_options_delete, 1, -1, LODGE_WORD_GUEST, FALSE, lodge_cmd_delete},
    {"ssh", INSIDE, "GUEST [COMMAND…]", "log in, or run a command over SSH",
     "Needs no setup: Lodge has a key of its own, which its guests know from their first boot.",
     "lodge ssh web1\nlodge ssh web1 uname -a\nlodge ssh --user root web1", lodge_options_ssh, 1,
     -1, LODGE_WORD_GUEST, TRUE, lodge_cmd_ssh},
    {"exec", INSIDE, "GUEST COMMAND…", "run a command by the guest's agent",
     "Needs no network in the guest. Streams both ways; signals that come here reach the command, "
     "and the exit status is the command's (128 and the number, if a signal ended it). Ctrl-C "
     "three "
     "times leaves a command that does not heed it. Where the guest has QEMU's agent only, output "
     "comes in the end, and there are no signals, terminals or other users.",
     "lodge exec web1 systemctl is-system-running\nlodge exec web1 -- sh -c 'df -h /; free -m'\n"
     "lodge exec -t web1 bash # with a terminal\n"
     "lodge exec web1 tar -xf - -C /srv <site.tar # with standard input\n"
     "lodge exec --user www-data --folder /srv --env LANG=C web1 ls",
     lodge_options_exec, 2, -1, LODGE_WORD_GUEST, TRUE, lodge_cmd_exec},
    {"cp", INSIDE, "FROM TO", "copy files into a guest, or out of it",
     "One of both is GUEST:/PATH. Folders are copied with all that is in them, as by cp -r: into "
     "the "
     "target if that is a folder, else as the target. Each file appears when it is whole, so one "
     "that "
     "is left half-way leaves none half. - is standard input or output. Where the guest has QEMU's "
     "agent only, single files of up to 64 MiB are copied, and a copy into the guest that is left "
     "half-way leaves half a file.",
     "lodge cp site web1:/srv\nlodge cp web1:/var/log/syslog .\n"
     "tar -c site | lodge cp - web1:/tmp/site.tar\nlodge cp web1:/etc/passwd - | wc -l",
     NULL, 2, 2, LODGE_WORD_FILE, FALSE, lodge_cmd_cp},
    {"agent install", INSIDE, "GUEST", "put Lodge's agent into a running Linux guest",
     "With it exec streams and has terminals, cp takes whole trees, and show knows the guest's "
     "addresses. Images that Lodge builds have it. It goes in by the agent that is there, else "
     "over "
     "SSH as the guest's login user, who must be root or may use sudo without a password; starts "
     "with "
     "systemd, OpenRC and busybox's init. Again, it brings the present version.",
     "lodge agent install web1", NULL, 1, 1, LODGE_WORD_GUEST, FALSE, lodge_cmd_agent_install},
    {"agent status", INSIDE, "GUEST", "show which agent a guest has, and what it says",
     "Lodge's own, its version and since when it is there, and the guest's addresses; or QEMU's. "
     "Exit status 3: there is none.",
     "lodge agent status web1\nlodge agent status web1 --json", NULL, 1, 1, LODGE_WORD_GUEST, FALSE,
     lodge_cmd_agent_status},
    {"log", INSIDE, "GUEST", "show what the guest wrote to its serial console", NULL,
     "lodge log web1\nlodge log web1 --lines 20 --follow\nlodge log web1 --qemu # what QEMU said",
     lodge_options_log, 1, 1, LODGE_WORD_GUEST, FALSE, lodge_cmd_log},
    {"console", SCREEN, "GUEST", "be at the guest's serial console",
     "Ctrl-] leaves it. One at a time may write; who comes second looks on. What comes by a pipe "
     "is "
     "typed, line ends as Enter. With --screen it is the screen and keyboard instead, as far as it "
     "shows text.",
     "lodge console web1\nlodge console web1 --watch\nlodge console web1 --screen # text mode, in "
     "this terminal\nlodge console web1 --log # what it said "
     "before\necho reboot | lodge console web1 --timeout 30s",
     lodge_options_console, 1, 1, LODGE_WORD_GUEST, FALSE, lodge_cmd_console},
    {"vnc", SCREEN, "GUEST", "show the guest's screen in a viewer, or tell how to",
     "Opens the viewer that is installed. Where there is none, or no desktop, it tells the ways "
     "in. "
     "As long as it runs, viewers of your own user get in by a Unix socket; with --listen also "
     "others, by TCP and a password. VNC passwords have at most 8 characters. With --tls "
     "(VeNCrypt, "
     "X509Vnc) all is encrypted; without, over a network you don't trust, let SSH carry the Unix "
     "socket.",
     "lodge vnc web1 # tells the way in from elsewhere, too\n"
     "lodge vnc web1 --listen 192.0.2.1 --password-file secret --tls",
     lodge_options_vnc, 1, 1, LODGE_WORD_GUEST, FALSE, lodge_cmd_vnc},
    {"screenshot", SCREEN, "GUEST [FILE|-]", "save the guest's screen as a PNG picture",
     "Without a file's name it is GUEST.png; `-` is standard output.",
     "lodge screenshot web1\nlodge screenshot web1 - > now.png\n"
     "lodge screenshot web1 --text | grep login",
     lodge_options_screenshot, 1, 2, LODGE_WORD_GUEST, FALSE, lodge_cmd_screenshot},
    {"type", SCREEN, "GUEST [TEXT…]", "type on the guest's keyboard",
     "Keys are those of a US keyboard: a guest that is set to another sees other characters. First "
     "the --keys, then the text (`-`: standard input), then --enter. About 40 keys a second, which "
     "an emulated guest keeps up with.",
     "lodge type web1 root --enter\nlodge type web1 --keys ctrl-alt-del\n"
     "lodge type web1 --keys ctrl-alt-f2 --keys enter\nlodge type web1 - < commands.txt",
     lodge_options_type, 1, -1, LODGE_WORD_GUEST, FALSE, lodge_cmd_type},
    {"monitor", SCREEN, "GUEST [COMMAND…]", "speak to the guest's QEMU",
     "One command of QEMU's human monitor, or, without one, a prompt with history (`help` lists "
     "the "
     "commands). With --qmp the machine's: a command's name, with its arguments as JSON behind it, "
     "or {\"execute\": …}; without one, such lines from standard input, and with them QEMU's "
     "events. With --socket other programs' QMP clients get in, one at a time. What you tell QEMU "
     "behind Lodge's back, Lodge does not know.",
     "lodge monitor web1 'info usb'\nlodge monitor web1 # a prompt\n"
     "lodge monitor web1 --qmp query-status\n"
     "lodge monitor web1 --qmp '{\"execute\": \"query-block\"}'\n"
     "lodge monitor web1 --socket /tmp/web1.qmp # until Ctrl-C",
     lodge_options_monitor, 1, -1, LODGE_WORD_GUEST, FALSE, lodge_cmd_monitor},
    {"snapshot create", SNAPSHOTS, "GUEST [NAME]", "keep what a guest is, to go back to",
     "Its disks, its definition and its UEFI variables; of a guest that runs its memory too, which "
     "is copied while it goes on: it stands still for some ten milliseconds, the longer the more "
     "memory it has touched, and for how long is said. The disks' present files are written no "
     "more; new layers on top of them are. Disks outside of the guest's folder can't be part of "
     "one, unless they are read-only.",
     "lodge snapshot create web1 before-upgrade\n"
     "lodge snapshot create db1 nightly --disks-only # no memory, file systems at rest\n"
     "lodge snapshot create web1 -d 'works'",
     lodge_options_snapshot_create, 1, 2, LODGE_WORD_GUEST, FALSE, lodge_cmd_snapshot_create},
    {"snapshot list", SNAPSHOTS, "GUEST", "show a guest's snapshots as a tree", NULL,
     "lodge snapshot list web1\nlodge snapshot list web1 --json", NULL, 1, 1, LODGE_WORD_GUEST,
     FALSE, lodge_cmd_snapshot_list},
    {"snapshot show", SNAPSHOTS, "GUEST NAME", "show all about a snapshot", NULL,
     "lodge snapshot show web1 before-upgrade", NULL, 2, 2, LODGE_WORD_GUEST, FALSE,
     lodge_cmd_snapshot_show},
    {"snapshot restore", SNAPSHOTS, "GUEST NAME", "make a guest what it was",
     "With its memory, if the snapshot has it: the guest goes on where it was. What the guest is "
     "now "
     "is lost, unless a snapshot keeps it; the snapshot itself stays.",
     "lodge snapshot restore web1 before-upgrade\n"
     "lodge snapshot restore web1 before-upgrade --cold --yes # its disks only",
     lodge_options_snapshot_restore, 2, 2, LODGE_WORD_GUEST, FALSE, lodge_cmd_snapshot_restore},
    {"snapshot delete", SNAPSHOTS, "GUEST NAME…", "forget what a guest was",
     "The guest and its other snapshots stay as they are. Layers that nobody needs any more are "
     "removed or merged, while the guest runs too.",
     "lodge snapshot delete web1 before-upgrade --yes", lodge_options_yes, 2, -1, LODGE_WORD_GUEST,
     FALSE, lodge_cmd_snapshot_delete},
    {"snapshot diff", SNAPSHOTS, "GUEST NAME [NAME]", "show what became different since",
     "Keys of the definition, and how much was written to each disk, as far as its layers can "
     "tell.",
     "lodge snapshot diff web1 before-upgrade\nlodge snapshot diff web1 monday tuesday", NULL, 2, 3,
     LODGE_WORD_GUEST, FALSE, lodge_cmd_snapshot_diff},
    {"rewind", SNAPSHOTS, "GUEST", "make a guest what it was some time ago",
     "As the last scheduled snapshot before that time: `snapshots=every 10m keep 6` in its "
     "definition has its keeper make some while it runs. Says which, and asks. Without --to it "
     "lists them.",
     "lodge rewind web1\nlodge rewind web1 --to 10m\n"
     "lodge rewind web1 --to \"2026-11-21 15:30\" --yes",
     lodge_options_rewind, 1, 1, LODGE_WORD_GUEST, FALSE, lodge_cmd_rewind},
    {"backup", BACKUPS, "GUEST [FOLDER]", "keep what a guest's disks are in a folder elsewhere",
     "The first time all of them, then what changed since, which the disks note by themselves; of "
     "all disks as they are at one moment. A guest that runs goes on: it stands still for some "
     "milliseconds, with its file systems at rest if an agent in it can. What is written is "
     "compressed, read back and noted with checksums; it is qcow2 files that qemu-img reads "
     "without "
     "Lodge. FOLDER must be there; FOLDER/GUEST is made in it. Without it backup.target= of the "
     "guest's "
     "definition says it, as backup.keep= does for --keep.",
     "lodge backup web1 /srv/backups\n"
     "lodge backup web1 /srv/backups --keep \"7d 4w 6m\" # and remove old points\n"
     "lodge backup web1 # by backup.target= and backup.keep=\n"
     "lodge backup --list /srv/backups\n"
     "lodge backup --verify /srv/backups/web1 20261121 # one point, or all without it",
     lodge_options_backup, 1, 2, LODGE_WORD_GUEST, FALSE, lodge_cmd_backup},
    {"backup mount", BACKUPS, "FOLDER/GUEST POINT DIRECTORY",
     "see the disks of a point as files, without restoring",
     "Each disk is a raw file DISK.raw in DIRECTORY, which must be empty; read-only. Where FUSE is "
     "not "
     "to be had they are served by NBD, on a socket in DIRECTORY.",
     "lodge backup mount /srv/backups/web1 20261121-154423 /mnt\n"
     "lodge backup mount /srv/backups/web1 20261121-154423 /mnt --nbd",
     lodge_options_backup_mount, 3, 3, LODGE_WORD_FILE, FALSE, lodge_cmd_backup_mount},
    {"backup unmount", BACKUPS, "DIRECTORY", "take them away again", NULL,
     "lodge backup unmount /mnt", NULL, 1, 1, LODGE_WORD_FILE, FALSE, lodge_cmd_backup_unmount},
    {"restore", BACKUPS, "FOLDER/GUEST", "make a guest of a backup",
     "Of the newest point unless --point says another. All that it stands on is verified first. "
     "The "
     "guest is stopped then, and its disks stand on nothing but themselves. A guest of that name "
     "is "
     "replaced only after asking, and if it is stopped.",
     "lodge restore /srv/backups/web1\n"
     "lodge restore /srv/backups/web1 --point 20261121 --as web1-then # beside the present one",
     lodge_options_restore, 1, 1, LODGE_WORD_FILE, FALSE, lodge_cmd_restore},
    {"disk list", DISKS, "[GUEST]", "show guests' disks", NULL,
     "lodge disk list\nlodge disk list web1 --json", NULL, 0, 1, LODGE_WORD_GUEST, FALSE,
     lodge_cmd_disk_list},
    {"disk tree", DISKS, "[GUEST]", "show which disk files stand on which, and who needs them",
     "Images, guests and snapshots. A file that others stand on can't be deleted: what would "
     "delete it is refused, and says who needs it.",
     "lodge disk tree\nlodge disk tree web1 # only what web1 needs", NULL, 0, 1, LODGE_WORD_GUEST,
     FALSE, lodge_cmd_disk_tree},
    {"disk info", DISKS, "GUEST|GUEST/DISK|FILE", "show all about a disk", NULL,
     "lodge disk info web1/root\nlodge disk info old.vmdk", NULL, 1, 1, LODGE_WORD_GUEST, FALSE,
     lodge_cmd_disk_info},
    {"disk create", DISKS, "GUEST NAME", "give a guest a new, empty disk",
     "Its file goes into the guest's folder. A running guest gets it at once.",
     "lodge disk create web1 data --size 20G\n"
     "lodge disk create db1 log --size 8G --format raw --preallocation full",
     lodge_options_disk_create, 2, 2, LODGE_WORD_GUEST, FALSE, lodge_cmd_disk_create},
    {"disk attach", DISKS, "GUEST FILE", "give a guest a disk that is there already",
     "A file, a block device or LVM volume by its path, or a disk on another machine: "
     "nbd://HOST[:PORT][/EXPORT] or rbd:POOL/IMAGE. It stays where it is, and yours.",
     "lodge disk attach web1 /srv/old.qcow2 --read-only\n"
     "lodge disk attach db1 /dev/vg0/db1 --name data\n"
     "lodge disk attach web1 nbd://10.0.0.5/shared --name shared",
     lodge_options_disk_attach, 2, 2, LODGE_WORD_GUEST, FALSE, lodge_cmd_disk_attach},
    {"disk detach", DISKS, "GUEST DISK", "take a disk away from a guest",
     "A running guest is asked to let go of it; one that doesn't keeps it, and the error says so.",
     "lodge disk detach web1 data\nlodge disk detach web1 data --delete # its file too",
     lodge_options_disk_detach, 2, 2, LODGE_WORD_GUEST, FALSE, lodge_cmd_disk_detach},
    {"disk resize", DISKS, "GUEST DISK SIZE", "make a disk larger",
     "A running guest sees the new size at once. The root file system of a Debian guest that Lodge "
     "built grows with it; others are their guests' affair. Disks never shrink.",
     "lodge disk resize web1 root 40G\nlodge disk resize web1 data +10G", NULL, 3, 3,
     LODGE_WORD_GUEST, FALSE, lodge_cmd_disk_resize},
    {"disk check", DISKS, "GUEST|GUEST/DISK|FILE", "look for damage in a disk", NULL,
     "lodge disk check web1\nlodge disk check old.qcow2", NULL, 1, 1, LODGE_WORD_GUEST, FALSE,
     lodge_cmd_disk_check},
    {"disk convert", DISKS, "FILE NEW-FILE", "copy a disk into another format",
     "Reads and writes qcow2, raw, vmdk, vdi, vhdx and vpc.",
     "lodge disk convert old.vmdk new.qcow2\nlodge disk convert root.qcow2 root.raw --trust",
     lodge_options_disk_convert, 2, 2, LODGE_WORD_FILE, FALSE, lodge_cmd_disk_convert},
    {"cdrom", DISKS, "GUEST insert|eject|list [FILE]", "change the disc in a guest's CD drive",
     "The definition changes too. A guest without a drive gets one: at its next start, or at once "
     "with --bus scsi.",
     "lodge cdrom web1 insert /srv/iso/debian.iso # boot from it: lodge start web1 --boot-once "
     "cdrom\n"
     "lodge cdrom web1 eject",
     lodge_options_cdrom, 1, 3, LODGE_WORD_GUEST, FALSE, lodge_cmd_cdrom},
    {"usb list", DISKS, "", "show this host's USB devices and who has them", NULL,
     "lodge usb list\nlodge usb list --json", NULL, 0, 0, LODGE_WORD_NONE, FALSE,
     lodge_cmd_usb_list},
    {"usb attach", DISKS, "GUEST DEVICE", "give a guest one of this host's USB devices",
     "DEVICE is VENDOR:PRODUCT[:SERIAL], a port like 1-2.3, or BUS.ADDRESS. It is a rule of the "
     "guest's definition: the guest gets the device at its start, and whenever it is plugged in "
     "again.",
     "lodge usb attach web1 0529:0001\nlodge usb attach web1 1-2.3 --name dongle",
     lodge_options_usb_attach, 2, 2, LODGE_WORD_GUEST, FALSE, lodge_cmd_usb_attach},
    {"usb detach", DISKS, "GUEST DEVICE", "take a USB device back", NULL,
     "lodge usb detach web1 dongle", NULL, 2, 2, LODGE_WORD_GUEST, FALSE, lodge_cmd_usb_detach},
    {"usb storage", DISKS, "GUEST FILE", "plug a USB stick made of a file into a guest",
     "For guests that know no other disks. `lodge disk detach` draws it again.",
     "lodge usb storage old drivers.img --read-only", lodge_options_usb_storage, 2, 2,
     LODGE_WORD_GUEST, FALSE, lodge_cmd_usb_storage},
    {"usb plugged", DISKS, "PORT", "tell Lodge that a USB device was plugged in",
     "The udev rule that comes with Lodge does so.", "lodge usb plugged 1-2.3", NULL, 1, 1,
     LODGE_WORD_NONE, FALSE, lodge_cmd_usb_plugged},
    {"pci list", DISKS, "", "show this host's PCI devices and their IOMMU groups",
     "A group can be given to a guest only as a whole.", "lodge pci list", NULL, 0, 0,
     LODGE_WORD_NONE, FALSE, lodge_cmd_pci_list},
    {"pci attach", DISKS, "GUEST ADDRESS", "give a guest one of this host's PCI devices",
     "The host's driver lets go of it, and vfio-pci takes it, as long as the guest runs; QEMU may "
     "lock as much memory as the guest has, as the device writes to it. Devices of one IOMMU group "
     "reach each other's memory, so a group goes to one guest, whole: --group. It is a rule of the "
     "guest's definition, and needs root.",
     "lodge pci attach web1 0000:01:00.0\nlodge pci attach web1 01:00.0 --group --name card",
     lodge_options_pci_attach, 2, 2, LODGE_WORD_GUEST, FALSE, lodge_cmd_pci_attach},
    {"pci detach", DISKS, "GUEST DEVICE", "take a PCI device back",
     "DEVICE is its name or its address. The driver that had it before gets it.",
     "lodge pci detach web1 card", NULL, 2, 2, LODGE_WORD_GUEST, FALSE, lodge_cmd_pci_detach},
    {"image list", IMAGES, "", "show images that are here, and those that can be had", NULL,
     "lodge image list", NULL, 0, 0, LODGE_WORD_NONE, FALSE, lodge_cmd_image_list},
    {"image show", IMAGES, "IMAGE", "show all about an image", NULL, "lodge image show debian-12",
     NULL, 1, 1, LODGE_WORD_IMAGE, FALSE, lodge_cmd_image_show},
    {"image build", IMAGES, "IMAGE|FILE…", "build an image, by packages or by a recipe of yours",
     "IMAGE is a name of the catalogue, built from its distribution's packages. FILE (it has a "
     "slash, or ends in .conf or .recipe) is a recipe: a key file whose [image] says base=, an "
     "image "
     "or a name of the catalogue, and may say name=, packages=, size=, memory=, cpus=, user= and "
     "title=. Sections [file NAME] (from= or text=, to=, mode=, owner=) and [run NAME] (command= "
     "or "
     "script=) are done in their order, in a hidden guest of the base; then what is its own is "
     "removed, as by `image make --seal`. A command that fails is shown with what it said, and "
     "leaves nothing. As root or not: no loop device and no mount is needed.",
     "lodge image build debian-12\n"
     "lodge image build ./web.conf # base=debian-12, packages=nginx, [file site] from=site "
     "to=/srv/site",
     NULL, 1, -1, LODGE_WORD_OS, FALSE, lodge_cmd_image_build},
    {"image pull", IMAGES, "IMAGE…", "fetch a distribution's own cloud image",
     "Its published checksum is verified before the file gets its name.",
     "lodge image pull ubuntu-24.04", NULL, 1, -1, LODGE_WORD_OS, FALSE, lodge_cmd_image_pull},
    {"image import", IMAGES, "NAME FILE", "make an image of a disk file",
     "Takes qcow2, raw, vmdk, vdi, vhdx, vpc and OVA, of that all disks: guests of the image get "
     "one "
     "of each. The file is copied.",
     "lodge image import appliance appliance.ova\nlodge image import mine disk.raw --user admin",
     lodge_options_image_import, 2, 2, LODGE_WORD_FILE, FALSE, lodge_cmd_image_import},
    {"image make", IMAGES, "GUEST NAME", "make an image of a guest, as a template for others",
     "Its first disk is copied; the guest must be stopped, and is not touched. With --seal a "
     "hidden "
     "copy of it boots without anybody seeing it, and all that is its own is removed there: SSH "
     "host "
     "keys, machine-id, random seeds, DHCP leases, logs, shell histories, and Lodge's key. Guests "
     "made of it have their own then.",
     "lodge image make web1 web-template --seal", lodge_options_image_make, 2, 2, LODGE_WORD_GUEST,
     FALSE, lodge_cmd_image_make},
    {"image park", IMAGES, "IMAGE", "keep a booted machine of an image, for guests to begin as",
     "Boots the image once, with its network cable pulled, waits until it answers and is idle, and "
     "keeps it with its memory beside the image. From then on `create` of such a guest takes "
     "moments: it begins as a copy, and gets a name, keys, addresses and randomness of its own. "
     "`create` does this by itself, in the background, for what it made cold. `image show` lists "
     "what is parked. Another QEMU, CPU or image never uses it.",
     "lodge image park debian-12\nlodge image park debian-12 --cpus 4 --memory 4G\n"
     "lodge image park debian-12 --network user # for guests on user-mode networks",
     lodge_options_image_park, 1, 1, LODGE_WORD_OS, FALSE, lodge_cmd_image_park},
    {"image unpark", IMAGES, "IMAGE", "drop an image's parked machines",
     "Guests that began as one stay as they are.", "lodge image unpark debian-12", NULL, 1, 1,
     LODGE_WORD_IMAGE, FALSE, lodge_cmd_image_unpark},
    {"image delete", IMAGES, "IMAGE…", "remove an image that no guest needs", NULL,
     "lodge image delete debian-12", lodge_options_yes, 1, -1, LODGE_WORD_IMAGE, FALSE,
     lodge_cmd_image_delete},
    {"image export", IMAGES, "IMAGE|GUEST FILE", "copy an image or a guest's disk for another host",
     "One file that stands on no other. An OVA describes the machine too: VirtualBox, VMware and "
     "Lodge itself import it. A guest must be stopped, or a snapshot of it named. Space is looked "
     "at before, and FILE appears when it is whole.",
     "lodge image export debian-12 debian.qcow2 --compress\n"
     "lodge image export web1 web1.ova # all its disks\n"
     "lodge image export web1 web1.raw --snapshot monday # while it runs\n"
     "lodge image export ubuntu-24.04 ubuntu.qcow2 --openstack",
     lodge_options_image_export, 2, 2, LODGE_WORD_FILE, FALSE, lodge_cmd_image_export},
    {"image gc", IMAGES, "", "remove what no guest needs any more",
     "Older files of images that were made anew, unfinished downloads, logs of failed builds, and "
     "what killed commands left. Shows it with its size, and asks. What a guest stands on is never "
     "touched.",
     "lodge image gc --dry-run # only show it\nlodge image gc --images # whole images that no "
     "guest "
     "needs, too",
     lodge_options_image_gc, 0, 0, LODGE_WORD_NONE, FALSE, lodge_cmd_image_gc},
    {"network create", NETWORKS, "NAME [KEY=VALUE…]", "define a network",
     "Prefixes that are not given are chosen so that they overlap nothing. It is started when its "
     "first "
     "guest is, or by `lodge network start`. The keys are those of lodge-network.conf(5).",
     "lodge network create lan # NAT, IPv4 and IPv6\nlodge network create six ip=6\n"
     "lodge network create lab mode=isolated --start\n"
     "lodge network create office mode=bridged bridge=br0",
     lodge_options_network_create, 1, -1, LODGE_WORD_NONE, FALSE, lodge_cmd_network_create},
    {"network list", NETWORKS, "", "show all networks", NULL, "lodge network list", NULL, 0, 0,
     LODGE_WORD_NONE, FALSE, lodge_cmd_network_list},
    {"network show", NETWORKS, "NETWORK", "show all about one network", NULL,
     "lodge network show default", NULL, 1, 1, LODGE_WORD_NETWORK, FALSE, lodge_cmd_network_show},
    {"network set", NETWORKS, "NETWORK KEY=VALUE…", "change a network's definition",
     "KEY= alone takes a key back to its default. A running network changes when it is started "
     "anew.",
     "lodge network set lan isolation=yes mtu=1400", NULL, 2, -1, LODGE_WORD_NETWORK, FALSE,
     lodge_cmd_network_set},
    {"network edit", NETWORKS, "NETWORK", "change a network's definition in your editor",
     "What is wrong is refused with line and reason, and may be edited again.",
     "lodge network edit lan", NULL, 1, 1, LODGE_WORD_NETWORK, FALSE, lodge_cmd_network_edit},
    {"network delete", NETWORKS, "NETWORK…", "remove a network that no guest uses", NULL,
     "lodge network delete lan", lodge_options_yes, 1, -1, LODGE_WORD_NETWORK, FALSE,
     lodge_cmd_network_delete},
    {"network start", NETWORKS, "[NETWORK…]", "start networks, or mend them",
     "What is there is kept, what is missing is made: bridge, addresses, rules, dnsmasq.",
     "lodge network start default\nlodge network start --autostart # as at the host's start",
     lodge_options_network_start, 0, -1, LODGE_WORD_NETWORK, FALSE, lodge_cmd_network_start},
    {"network stop", NETWORKS, "NETWORK…", "stop networks, leaving nothing behind", NULL,
     "lodge network stop lan\nlodge network stop lan --force # with guests on it",
     lodge_options_network_stop, 1, -1, LODGE_WORD_NETWORK, FALSE, lodge_cmd_network_stop},
    {"network leases", NETWORKS, "NETWORK", "show who was given which address", NULL,
     "lodge network leases default", NULL, 1, 1, LODGE_WORD_NETWORK, FALSE,
     lodge_cmd_network_leases},
    {"network test", NETWORKS, "NETWORK", "prove that guests of a network reach what they need",
     "Asks for an address, resolves names and looks outside, by IPv4 and IPv6, from a network "
     "namespace of its own that is where a guest would be. It names the first link of the chain "
     "that is broken; exit status 1 then.",
     "lodge network test default\nlodge network test lan --outside 192.0.2.7",
     lodge_options_network_test, 1, 1, LODGE_WORD_NETWORK, FALSE, lodge_cmd_network_test},
    {"network bridge", NETWORKS, "INTERFACE", "make the host's interface a port of a new bridge",
     "Guests on the bridge are on the host's own segment. Addresses, routes, neighbours and MAC "
     "move "
     "to the bridge in one message to the kernel, so that connections live on, also the one you "
     "sit "
     "at. A process of its own undoes everything unless `lodge network confirm` comes in time, "
     "which "
     "also writes it into the files of whatever configures this host: ifupdown, systemd-networkd, "
     "NetworkManager, netplan, netifrc or ifcfg. Their old versions are kept.",
     "lodge network bridge eth0 --dry-run # only say what would be done\n"
     "lodge network bridge eth0\n"
     "lodge network bridge eno1 --name lan0 --confirm-within 120 --yes",
     lodge_options_network_bridge, 1, 1, LODGE_WORD_NONE, FALSE, lodge_cmd_network_bridge},
    {"network unbridge", NETWORKS, "BRIDGE", "give the host's interface back what its bridge has",
     "The way back from `lodge network bridge`, likewise to be confirmed. Guests must have left "
     "the "
     "bridge.",
     "lodge network unbridge br0", lodge_options_network_unbridge, 1, 1, LODGE_WORD_NONE, FALSE,
     lodge_cmd_network_unbridge},
    {"network confirm", NETWORKS, "", "keep the change of the host's network that waits",
     "Without it `network bridge` and `network unbridge` are undone when their time is over.",
     "lodge network confirm\nlodge network confirm --undo # do not wait for the end of its time",
     lodge_options_network_confirm, 0, 0, LODGE_WORD_NONE, FALSE, lodge_cmd_network_confirm},
    {"network forward", NETWORKS, "NETWORK", "show which of the host's ports reach its guests",
     "`lodge forward` adds and removes them.", "lodge network forward default", NULL, 1, 1,
     LODGE_WORD_NETWORK, FALSE, lodge_cmd_network_forward},
    {"forward", NETWORKS, "[GUEST [[ADDRESS:]PORT[:GUEST-PORT][/udp]…]]",
     "let ports of this host reach a guest",
     "Shows them, or adds some, or with --remove takes them away; at once, also while the guest "
     "runs. On a network the port is that of all the host's addresses unless one is given, and "
     "other guests reach it there too; in user mode it is the loopback address's, and if passt "
     "makes "
     "that network, connections through it are cut. A port that a program of the host listens on "
     "is refused.",
     "lodge forward web1 8080:80 8443:443\nlodge forward web1 127.0.0.1:5432:5432\n"
     "lodge forward web1 --remove 8080\nlodge forward # all guests' ports",
     lodge_options_forward, 0, -1, LODGE_WORD_GUEST, FALSE, lodge_cmd_forward},
    {"resolve", NETWORKS, "GUEST", "tell a guest's addresses",
     "Within its network a guest is also found by DNS, as GUEST and GUEST.lodge (or the network's "
     "domain=), and by this host where systemd-resolved runs. Exit status 3: none is known.",
     "lodge resolve web1\nlodge resolve web1 --json", NULL, 1, 1, LODGE_WORD_GUEST, FALSE,
     lodge_cmd_resolve},
    {"events", HOST, "[GUEST]", "show what happened to guests",
     "Starts, stops, crashes and the like, as the keepers saw them. The last one or two MiB are "
     "kept until the host restarts.",
     "lodge events\nlodge events web1 --since 10m\nlodge events --follow --json # an object a line",
     lodge_options_events, 0, 1, LODGE_WORD_GUEST, FALSE, lodge_cmd_events},
    {"check", HOST, "[GUEST…]", "find out what this box can do for guests, and how fast",
     "Runs a guest of a few instructions on /dev/kvm and counts, rather than believing flags. Exit "
     "status 0: guests can run, if need be emulated; 6: they can't. With guests named: are their "
     "disks "
     "and snapshots in order?",
     "lodge check web1 --repair # finish or undo what an interrupted command left\n"
     "lodge check\nlodge check --fix # load what is missing, and make it last\nlodge check --json",
     lodge_options_check, 0, -1, LODGE_WORD_GUEST, FALSE, lodge_cmd_check},
    {"host ksm", HOST, "[on|off|auto|status]", "keep equal pages of guests once, to save memory",
     "`auto` merges while two guests or more run and memory gets scarce; a keeper sees to it. "
     "Pages "
     "that are merged take CPU time to find, and let guests guess what others hold.",
     "lodge host ksm # what it saves\nlodge host ksm auto", NULL, 0, 1, LODGE_WORD_NONE, FALSE,
     lodge_cmd_host_ksm},
    {NULL},
};

const LodgeCommandRow *
lodge_commands(void)
{
    return rows;
}

const LodgeCommandRow *
lodge_find_command(const char *first, const char *second, int *out_words)
{
    const LodgeCommandRow *found = NULL;
    g_autofree char *pair = second != NULL ? g_strdup_printf("%s %s", first, second) : NULL;
    for (const LodgeCommandRow *row = rows; row->name != NULL; row++) {
        if (g_strcmp0(pair, row->name) == 0) {
            *out_words = 2;
            return row;
        }
        if (g_str_equal(first, row->name)) {
            *out_words = 1;
            found = row;
        }
    }
    return found;
}
