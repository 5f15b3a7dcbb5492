#!/usr/bin/env bash
# The last thing before the snapshot: nothing of the machine that built it, and nothing of the building.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

if [[ -z "$root" ]]; then
    case "$(system)" in
        ubuntu) apt-get clean && rm -rf /var/lib/apt/lists ;;
        amazon) dnf clean all ;;
    esac
    cloud-init clean --logs --seed
fi
# Its address is in there, and cloud-init writes no more of these.
rm -f "$root"/etc/netplan/50-cloud-init.yaml
rm -f "$root"/etc/ssh/ssh_host_* "$root"/root/.ssh/authorized_keys "$root"/home/*/.ssh/authorized_keys
rm -f "$root"/root/.bash_history "$root"/home/*/.bash_history
# Empty, not gone: systemd makes a new one at each boot that finds none.
: >"$root/etc/machine-id"
rm -rf "$root"/var/log/journal "$root"/home/*/.cache
say "sealed"
# This folder too: a test of the image fetches the archive again.
rm -rf "$here"
