#!/usr/bin/env bash
# What jobs usually ask for, from the distribution's own signed repositories and nowhere else.
#
#   TOOLS             on | off: off leaves git alone
#   DOCKER            on | off: on lets jobs become root on their machine: the daemon does what they ask
#   DOCKER_DATA_ROOT  a folder for images and containers; empty: Docker's own
#   DOCKER_MIRROR     https://HOST of a mirror of images; empty: none
#   PROXY, NO_PROXY_FOR  as for agent.sh, for pulling images
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

one_of TOOLS "${TOOLS:=on}" on off
one_of DOCKER "${DOCKER:=off}" on off
system="$(system)"
readonly system

tools() {
    case "$system" in
        ubuntu)
            packages git git-lfs openssh-client wget jq rsync file zip unzip xz-utils zstd bzip2 gnupg patch \
                build-essential pkg-config cmake python3-venv python3-pip libssl-dev
            ;;
        amazon)
            packages git openssh-clients wget jq rsync file zip unzip xz zstd bzip2 patch findutils diffutils which \
                procps-ng gcc gcc-c++ make cmake pkgconf-pkg-config python3-pip openssl-devel
            # Not in every release of the distribution.
            packages git-lfs || say "there is no git-lfs here"
            ;;
    esac
}

docker() {
    case "$system" in
        ubuntu) packages docker.io docker-buildx docker-compose-v2 ;;
        amazon) packages docker ;;
    esac
    python3 - <<'PYTHON' | write /etc/docker/daemon.json
import json, os

settings = {"log-driver": "local", "live-restore": False}
if os.environ.get("DOCKER_DATA_ROOT"):
    settings["data-root"] = os.environ["DOCKER_DATA_ROOT"]
if os.environ.get("DOCKER_MIRROR"):
    settings["registry-mirrors"] = [os.environ["DOCKER_MIRROR"]]
if os.environ.get("PROXY"):
    no_proxy = ",".join(filter(None, ["localhost,127.0.0.1,169.254.169.254", os.environ.get("NO_PROXY_FOR")]))
    settings["proxies"] = {"http-proxy": os.environ["PROXY"], "https-proxy": os.environ["PROXY"], "no-proxy": no_proxy}
print(json.dumps(settings, indent=2))
PYTHON
    # By its socket: started by the first job that asks, not at boot.
    units disable docker.service
    units enable docker.socket
    # The runner's jobs have its own group and no other: the socket is that group's.
    put docker.conf /etc/systemd/system/docker.socket.d/muster.conf
}

if [[ "$TOOLS" == on ]]; then tools; else packages git; fi
if [[ "$DOCKER" == on ]]; then docker; fi
say "tools $TOOLS, docker $DOCKER"
