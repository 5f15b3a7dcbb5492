#!/usr/bin/env bash
# The system below the runner: its user, what starts at boot and what does not, network without waiting, kernel
# settings.
#
#   SSH        on | off: off masks the daemon
#   SSM        on | off: off starts its agent only on machines that Muster has not launched, such as Image Builder's
#   PROXY      http://HOST:PORT or empty, for packages; jobs may install some too
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

one_of SSH "${SSH:=off}" on off
one_of SSM "${SSM:=off}" on off
system="$(system)"
readonly system

make_user() { # NAME
    if ! grep -q "^$1:" "$root/etc/passwd"; then
        # No password, no group but its own: a job that is root is root by a decision of the admin's (Docker).
        useradd ${root:+--prefix "$root"} --create-home --home-dir "/home/$1" --shell /bin/bash --user-group "$1"
    fi
    install -d -m 0755 "$root/etc/muster"
}

authorities() { # of the admin's, packed with the scripts
    local folder=/usr/local/share/ca-certificates update=update-ca-certificates certificate
    if [[ "$system" == amazon ]]; then folder=/etc/pki/ca-trust/source/anchors update=update-ca-trust; fi
    for certificate in "$here"/ca/*.crt; do
        [[ -e "$certificate" ]] || return 0
        install -D -m 0644 "$certificate" "$root$folder/muster-$(basename "$certificate")"
    done
    if [[ -z "$root" ]]; then "$update"; fi
}

packages_through_a_proxy() {
    [[ -n "${PROXY:-}" ]] || return 0
    case "$system" in
        ubuntu) printf 'Acquire::http::Proxy "%s";\nAcquire::https::Proxy "%s";\n' "$PROXY" "$PROXY" |
            write /etc/apt/apt.conf.d/90muster-proxy ;;
        amazon) grep -q "^proxy=" "$root/etc/dnf/dnf.conf" || printf 'proxy=%s\n' "$PROXY" >>"$root/etc/dnf/dnf.conf" ;;
    esac
}

network() {
    # Amazon Linux brings its own, which waits for nothing either.
    [[ "$system" == ubuntu ]] || return 0
    put muster.network /etc/systemd/network/50-muster.network
    units enable systemd-networkd.service systemd-resolved.service
    units mask systemd-networkd-wait-online.service
}

cloud_init() {
    put cloud-init.cfg /etc/cloud/cloud.cfg.d/99-muster.cfg
    if [[ "$SSH" == on ]]; then
        put cloud-init-ssh.cfg /etc/cloud/cloud.cfg.d/99-muster-ssh.cfg
    else
        rm -f "$root/etc/cloud/cloud.cfg.d/99-muster-ssh.cfg"
    fi
}

ways_in() {
    if [[ "$SSH" == off ]]; then
        units mask ssh.service ssh.socket sshd.service sshd.socket ec2-instance-connect.service
    fi
    # The console stays for reading: kernel, systemd and the agent's last words. Nobody logs in there.
    units mask serial-getty@ttyS0.service getty@tty1.service
    put user-data /usr/local/lib/muster/user-data 0755
    local unit
    for unit in amazon-ssm-agent snap.amazon-ssm-agent.amazon-ssm-agent; do
        if [[ "$SSM" == off ]]; then
            put ssm.conf "/etc/systemd/system/$unit.service.d/muster.conf"
        else
            rm -f "$root/etc/systemd/system/$unit.service.d/muster.conf"
        fi
    done
}

# A machine lives for one job: what it has is what the image has. What is new comes with the next image.
no_upkeep() {
    units mask \
        apt-daily.timer apt-daily.service apt-daily-upgrade.timer apt-daily-upgrade.service \
        unattended-upgrades.service apt-news.service esm-cache.service ubuntu-advantage.service ua-timer.timer \
        update-notifier-download.timer update-notifier-motd.timer motd-news.timer man-db.timer fwupd-refresh.timer \
        dpkg-db-backup.timer e2scrub_all.timer fstrim.timer logrotate.timer apport.service apport-autoreport.path \
        dnf-makecache.timer update-motd.timer update-motd.service sysstat-collect.timer systemd-tmpfiles-clean.timer
    if [[ -z "$root" ]] && command -v snap >/dev/null; then snap refresh --hold; fi
}

say "base of $system on $(arch)"
make_user runner
authorities
packages_through_a_proxy
network
cloud_init
ways_in
no_upkeep
put sysctl.conf /etc/sysctl.d/90-muster.conf
put journald.conf /etc/systemd/journald.conf.d/90-muster.conf
put coredump.conf /etc/systemd/coredump.conf.d/90-muster.conf
case "$system" in
    ubuntu) packages nftables curl ca-certificates iproute2 python3 ;;
    amazon) packages nftables ca-certificates iproute python3 tar gzip shadow-utils ;;
esac
