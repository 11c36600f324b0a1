# Shared by the recipes; sourced.
# shellcheck shell=sh
#
# A recipe runs each long command through `run`, in a session of its own, so that a signal to the
# recipe ends the command and all its children at once, and the scratch folder goes with them.

set -eu
umask 022
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"

recipe=${0##*/}
out=
scratch=
child=

# stage NAME: one line on stdout, for whoever shows progress.
stage() {
    printf 'stage %s\n' "$1"
}

# fail WHAT MEND: what is wrong, then how to mend it, as the last line of stderr.
fail() {
    printf '%s: %s: %s\n' "$recipe" "$1" "$2" >&2
    exit 1
}

# need COMMAND PACKAGE...: in pairs; names every missing package at once.
need() {
    missing=
    while [ $# -gt 0 ]; do
        command -v "$1" >/dev/null 2>&1 || [ -e "$1" ] || missing="$missing $2"
        shift 2
    done
    [ -z "$missing" ] ||
        fail "missing programs" "apt-get install --no-install-recommends$missing"
}

run() {
    setsid "$@" <&3 &
    child=$!
    status=0
    wait "$child" || status=$?
    child=
    return "$status"
}

# remove_tree DIR: also what belongs to the user's subordinate ids.
remove_tree() {
    rm -rf --one-file-system "$1" 2>/dev/null && return
    # they may pass through the folder itself, but not list it
    mmdebstrap --unshare-helper rm -rf --one-file-system "$1"/* 2>/dev/null || true
    rm -rf --one-file-system "$1"
}

cleanup() {
    status=$?
    trap '' INT TERM HUP
    if [ -n "$child" ]; then
        # mmdebstrap finishes its work before it heeds a TERM; its mounts are its own and go with it
        kill -s TERM -- "-$child" 2>/dev/null || true
        sleep 0.3
        kill -s KILL -- "-$child" 2>/dev/null || true
        wait "$child" 2>/dev/null || true
    fi
    [ -z "$scratch" ] || remove_tree "$scratch"
    exit "$status"
}

# check_agent: what $LODGE_AGENT names must be a program; no name means no agent in the guest.
check_agent() {
    agent=${LODGE_AGENT:-}
    [ -z "$agent" ] || [ -x "$agent" ] ||
        fail "no lodge-agent at $agent" "build it (make), or unset LODGE_AGENT for an image without"
}

# begin OUT_DIR: checks it, makes $scratch, arms the clean-up.
begin() {
    out=${1:-}
    [ -d "$out" ] ||
        fail "no such folder: '$out'" "usage: $recipe OUT_DIR, an existing folder"
    out=$(cd "$out" && pwd)
    exec 3</dev/null
    trap cleanup EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    scratch=$(mktemp -d "${TMPDIR:-/var/tmp}/lodge-image.XXXXXX") ||
        fail "cannot write to ${TMPDIR:-/var/tmp}" "set TMPDIR to a folder with 2 GB free"
    # apt's own user works in there
    chmod 711 "$scratch"
}

# sizes are GiB, MiB, KiB or bytes: 10G, 512M
to_bytes() {
    number=${1%[GMKgmk]}
    case $number in
        '' | *[!0-9]*) fail "not a size: '$1'" "write it as 10G or 512M" ;;
    esac
    case $1 in
        *[Gg]) echo $((number * 1024 * 1024 * 1024)) ;;
        *[Mm]) echo $((number * 1024 * 1024)) ;;
        *[Kk]) echo $((number * 1024)) ;;
        *) echo "$number" ;;
    esac
}

# host_sources SUITE: the host's own sources of that Debian release, in the one-line format;
# nothing if the host has none (another release, another distribution).
host_sources() {
    # shellcheck disable=SC2016
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)' \
        'Created-By: Packages' 2>/dev/null | sort -u |
        while read -r uri release component origin; do
            case $origin:$release in
                "Debian:$1" | "Debian:$1-updates" | "Debian:$1-security")
                    printf 'deb %s%s %s %s\n' "$signed" "$uri" "$release" "$component"
                    ;;
            esac
        done
}

# write_sources SUITE: $LODGE_MIRROR, or the host's own sources of that suite, or Debian's.
write_sources() {
    signed=/usr/share/keyrings/debian-archive-keyring.gpg
    if [ -e "$signed" ]; then signed="[signed-by=$signed] "; else signed=; fi
    if [ -n "${LODGE_MIRROR:-}" ]; then
        printf 'deb %s%s %s main\n' "$signed" "$LODGE_MIRROR" "$1"
    else
        host_sources "$1"
    fi >"$scratch/sources"
    [ -s "$scratch/sources" ] || cat >"$scratch/sources" <<EOF
deb ${signed}http://deb.debian.org/debian $1 main
deb ${signed}http://deb.debian.org/debian $1-updates main
deb ${signed}http://deb.debian.org/debian-security $1-security main
EOF
}

# What of the host's apt settings the download needs.
apt_options() {
    for name in Acquire::http::Proxy Acquire::https::Proxy Acquire::Check-Valid-Until \
        Acquire::Check-Date; do
        value=$(apt-config dump --format '%v' "$name" 2>/dev/null) || continue
        [ -z "$value" ] || printf '%s "%s";\n' "$name" "$value"
    done
}

# esp_image FILE MEGABYTES DIR: a FAT file system with DIR's content, started by syslinux.
esp_image() {
    truncate -s "${2}M" "$1"
    mkfs.vfat -F 32 -n ESP "$1" >&2
    (cd "$3" && mcopy -s -i "$1" ./* ::) >&2
    syslinux --install "$1" >&2
}

# boot_disk RAW ESP: writes the partition table of ESP and what follows it, the BIOS boot code and
# the ESP itself. Further arguments go to sgdisk.
boot_disk() {
    raw=$1 esp=$2
    shift 2
    esp_mb=$(($(stat -c %s "$esp") / 1048576))
    sgdisk --clear --set-alignment=2048 --new="1:2048:+${esp_mb}M" --typecode=1:ef00 \
        --change-name=1:esp --attributes=1:set:2 "$@" "$raw" >&2
    dd if=/usr/lib/syslinux/mbr/gptmbr.bin of="$raw" bs=440 count=1 conv=notrunc status=none
    dd if="$esp" of="$raw" bs=1M seek=1 conv=notrunc,sparse status=none
}
