# shellcheck shell=bash
# What the scripts of the image share: how they speak and fail, which system this is, where files go.
#
# MUSTER_ROOT puts files, users and units below another folder than /, for tests; packages are then not touched.
# Every script may run again: a step of Image Builder that is repeated must come to the same.
set -euo pipefail
umask 022

here="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
root="${MUSTER_ROOT:-}"
readonly here root

say() { printf 'image: %s\n' "$*"; }

die() { # WHAT REMEDY
    printf 'image: FAILED: %s\n' "$1" >&2
    printf 'image:         %s\n' "${@:2}" >&2
    exit 1
}

# ubuntu or amazon; the two differ in packages, in where authorities go, and in names of units.
system() {
    local id
    id="$(sed -n 's/^ID=//p' "$root/etc/os-release" | tr -d '"')"
    case "$id" in
        ubuntu) echo ubuntu ;;
        amzn) echo amazon ;;
        *) die "this is $id, for which there is no recipe" "use Ubuntu 24.04 or Amazon Linux 2023 as parent image" ;;
    esac
}

# As GitHub names it in its releases.
arch() {
    case "${MUSTER_MACHINE:-$(uname -m)}" in
        x86_64) echo x64 ;;
        aarch64) echo arm64 ;;
        *) die "there is no runner for $(uname -m)" "build on x86_64 or arm64" ;;
    esac
}

put() { # FILE DESTINATION [MODE]
    install -D -m "${3:-0644}" "$here/files/$1" "$root$2"
}

write() { # DESTINATION [MODE], content on standard input
    install -D -m "${2:-0644}" /dev/stdin "$root$1"
}

# Units are enabled, disabled and masked on disk; nothing is started or stopped here. Masking takes units that are not
# there, and names that are another unit's second one.
units() { # enable|disable|mask UNIT...
    systemctl --root="${root:-/}" --quiet --force "$@" 2>&1 | sed 's/^/image: /' ||
        die "this failed: systemctl $*" "see above"
}

packages() { # NAME...
    [[ -z "$root" ]] || return 0
    case "$(system)" in
        ubuntu) DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" ;;
        amazon) dnf install -y -q --setopt=install_weak_deps=False "$@" ;;
    esac
}

one_of() { # NAME VALUE ALLOWED...
    local allowed
    for allowed in "${@:3}"; do [[ "$2" != "$allowed" ]] || return 0; done
    die "$1 is \"$2\"" "it must be one of: ${*:3}"
}
