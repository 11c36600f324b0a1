/* What is a machine's own and may not be in a template of it. For any Linux: what is not there is
 * skipped. Private to this layer. */
#pragma once

static const char seal_script[] =
    /* Who it is. tiny's host key is in a partition of its own. */
    "rm -f /etc/ssh/ssh_host_*key* /etc/dropbear/*_host_key*\n"
    "place=$(grep -ls '^PARTNAME=host-key$' /sys/class/block/*/uevent)\n"
    "if [ -n \"$place\" ]; then\n"
    "    place=${place%/uevent}\n"
    "    dd if=/dev/zero of=\"/dev/${place##*/}\" bs=4096 count=1 conv=fsync 2>/dev/null\n"
    "fi\n"
    "[ ! -e /etc/machine-id ] || : >/etc/machine-id\n"
    "rm -f /var/lib/dbus/machine-id\n"
    "rm -f /etc/udev/rules.d/70-persistent-net.rules\n"
    /* Debian's iSCSI makes a name at its start where the file asks for one, others where it is not.
     */
    "iscsi=/etc/iscsi/initiatorname.iscsi\n"
    "if [ -x /usr/lib/open-iscsi/startup-checks.sh ]; then echo GenerateName=yes >$iscsi; "
    "else rm -f $iscsi; fi\n"
    "rm -f /etc/nvme/hostnqn /etc/nvme/hostid\n"
    /* cloud-init wrote it for this machine's MAC, and writes it again for the next one's, unless it
     * was told to leave the network alone. */
    "if [ -x /usr/bin/cloud-init ] && [ ! -e /etc/cloud/cloud-init.disabled ] &&\n"
    "    ! grep -qs 'config: *[\"]*disabled' /etc/cloud/cloud.cfg /etc/cloud/cloud.cfg.d/*; then\n"
    "    rm -f /etc/netplan/50-cloud-init.yaml /etc/network/interfaces.d/50-cloud-init "
    "/etc/NetworkManager/system-connections/cloud-init-*\n"
    "fi\n"
    /* What it must not have in common with another: those who would write it again at the end of
     * this very boot end now. */
    "systemctl stop systemd-random-seed 2>/dev/null\n"
    "for name in seedrng urandom; do\n"
    "    [ ! -e /etc/init.d/$name ] || \"/etc/init.d/$name\" stop 2>/dev/null\n"
    "done\n"
    "rm -f /var/lib/systemd/random-seed /var/lib/systemd/credential.secret\n"
    "rm -f /var/lib/urandom/random-seed /var/lib/misc/random-seed /var/lib/random-seed\n"
    "rm -rf /var/lib/seedrng\n"
    /* Where it was. */
    "rm -rf /var/lib/dhcp/* /var/lib/dhclient/* /var/lib/dhcpcd/* /run/systemd/netif/leases/*\n"
    "rm -f /var/lib/NetworkManager/*.lease /var/lib/NetworkManager/secret_key\n"
    /* Who gets in: Lodge's own key, and what a seed was applied. */
    "rm -rf /etc/ssh/authorized_keys.d/* /var/lib/lodge /var/lib/cloud\n"
    "for home in /root /home/*; do\n"
    "    keys=$home/.ssh/authorized_keys\n"
    "    [ ! -f \"$keys\" ] || sed -i '/ lodge@\\| lodge$/d' \"$keys\"\n"
    "    rm -f \"$home\"/.*_history \"$home\"/.viminfo \"$home\"/.lesshst \"$home\"/.wget-hsts\n"
    "    rm -f \"$home\"/.ssh/known_hosts* \"$home\"/.sudo_as_admin_successful\n"
    "done\n"
    /* What it did. The journal's program would write of its own end, in a folder named after this
     * machine; from here on it writes to memory. */
    "journalctl --relinquish-var 2>/dev/null\n"
    "rm -rf /var/log/journal/* /tmp/.[!.]* /tmp/* /var/tmp/*\n"
    "find /var/log -type f \\( -name '*.gz' -o -name '*.[0-9]' -o -name '*.old' \\) "
    "-exec rm -f {} + 2>/dev/null\n"
    "find /var/log -type f -exec sh -c 'for f; do : >\"$f\"; done' sh {} + 2>/dev/null\n"
    "rm -f /var/mail/* /var/spool/mail/* /var/lib/systemd/timers/* /var/lib/systemd/coredump/*\n"
    "rm -rf /var/crash/*\n"
    "if command -v apt-get >/dev/null; then apt-get clean; fi\n"
    "sync\n"
    "if command -v fstrim >/dev/null; then\n"
    "    fstrim -a 2>/dev/null || grep '^/dev/[sv]d' /proc/mounts | while read -r _ place _; do\n"
    "        fstrim \"$place\" 2>/dev/null\n"
    "    done\n"
    "fi\n"
    "exit 0\n";
