#!/usr/bin/env bash
# Whether this machine is what the image should be. Before the snapshot, and again on a machine that was booted from it.
#
#   AT         build | boot
#   SSH        as for base.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

one_of AT "${AT:=build}" build boot
wrong=0

must() { # WHAT COMMAND...
    if "${@:2}" >/dev/null 2>&1; then
        say "well: $1"
    else
        say "WRONG: $1"
        wrong=$((wrong + 1))
    fi
}
never() { ! "$@"; }
is() { [[ "$("${@:2}")" == "$1" ]]; }
enabled() { is enabled systemctl is-enabled "$1"; }
masked() { is masked systemctl is-enabled "$1"; }
said() { # PATTERN FILE
    grep -Eq "$1" "$2"
}
no_ssh() {
    local unit
    for unit in ssh.service ssh.socket sshd.service; do
        [[ "$(systemctl is-enabled "$unit" 2>/dev/null)" =~ ^(masked|not-found|)$ ]] || return 1
    done
}
as_written() { # every line of our sysctl file that this kernel knows is in force
    local name value
    while IFS=' =' read -r name value; do
        # Kernels differ in what they have.
        [[ -z "$name" || "$name" == \#* || ! -e "/proc/sys/${name//.//}" ]] || is "$value" sysctl -n "$name" || return 1
    done <"$here/files/sysctl.conf"
}

must "there is a user runner" id runner
must "it has no password" is L sh -c "passwd --status runner | cut -d' ' -f2 | cut -c1"
must "it may not become root by sudo" never sudo -n -l -U runner -- /bin/true
must "the runner is there, for it to run" runuser -u runner -- test -x /opt/actions-runner/bin/Runner.Listener
must "the runner's version is known" said '"version": "2\.[0-9]+\.[0-9]+"' /etc/muster/runner.json
must "the runner starts, and says that version" sh -c \
    "grep -q \"\\\"\$(runuser -u runner -- /opt/actions-runner/bin/Runner.Listener --version)\\\"\" /etc/muster/runner.json"
must "the agent starts at boot" enabled muster-agent.service
must "its unit is sound" systemd-analyze verify --recursive-errors=no /etc/systemd/system/muster-agent.service
must "the kernel has nftables" nft list ruleset
must "the kernel talks to the serial console" said 'console=ttyS0' /proc/cmdline
must "nothing upgrades while jobs run" masked systemd-tmpfiles-clean.timer
[[ "${SSH:-off}" == on ]] || must "no ssh daemon starts" no_ssh
must "only root reads the agent's settings" is "600 root" stat -c "%a %U" /etc/muster/agent.toml
# User, runner, cgroup2, nft, metadata service: it says itself what is there.
if muster-agent check; then say "well: the agent finds what it needs"; else wrong=$((wrong + 1)); fi
if [[ "$AT" == boot ]]; then
    must "kernel settings are in force" as_written
    must "no ssh daemon listens" sh -c "[ '${SSH:-off}' = on ] || ! ss -ltnH 'sport = :22' | grep -q ."
    must "the agent has let this machine be" never systemctl is-active muster-agent.service
    # For people: what failed may have nothing to do with us.
    say "units that failed at boot: $(systemctl --failed --plain --no-legend | cut -d' ' -f1 | xargs)"
fi

((wrong == 0)) || die "$wrong of these are wrong" "see above"
