#!/usr/bin/env bash
# Muster's agent, its settings and its unit.
#
#   HOOKS         on | off: job-started.sh and job-completed.sh, packed with the scripts, run around each job. A pool may
#                 name these or others that are packed whether they are on or off
#   PROXY         http://HOST:PORT or empty, for agent and jobs
#   NO_PROXY_FOR  names that are reached without it, with commas, besides loopback and the metadata service
#   WARM_IMAGES   container images that a machine pulls on its way into a standby stock, with commas
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

one_of HOOKS "${HOOKS:=off}" on off
export HOOKS

binary="$here/agent/muster-agent-$(arch)"
[[ -f "$binary" ]] || die "the archive has no agent for $(arch)" "build it, and pack again with ami/image/build"
install -D -m 0755 "$binary" "$root/usr/local/bin/muster-agent"

if [[ "$HOOKS" == on ]]; then
    for hook in job-started job-completed; do
        [[ -f "$here/hooks/$hook.sh" ]] || die "the archive has no hooks/$hook.sh" "pack again with MUSTER_IMAGE_HOOKS"
    done
fi
if compgen -G "$here/hooks/*.sh" >/dev/null; then
    for hook in "$here"/hooks/*.sh; do
        install -D -m 0755 "$hook" "$root/usr/local/lib/muster/hooks/${hook##*/}"
    done
fi
AUTHORITIES=""
if compgen -G "$here/ca/*.crt" >/dev/null; then
    cat "$here"/ca/*.crt | write /etc/muster/ca.pem
    AUTHORITIES=/etc/muster/ca.pem
fi
export AUTHORITIES

# What differs from the defaults of ami/agent/agent.example.toml. For root alone: a proxy's address may have a password.
python3 - <<'PYTHON' | write /etc/muster/agent.toml 0600
import json, os

proxy, authorities = os.environ.get("PROXY"), os.environ.get("AUTHORITIES")
settings, environment = {}, {}
if proxy:
    except_for = ["localhost", "127.0.0.1", "169.254.169.254", "fd00:ec2::254"]
    except_for += [name for name in os.environ.get("NO_PROXY_FOR", "").split(",") if name]
    settings |= {"proxy": proxy, "no_proxy": except_for}
    # Tools differ in which of these they look at.
    environment |= dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), proxy)
    environment |= dict.fromkeys(("no_proxy", "NO_PROXY"), ",".join(except_for))
if images := [image for image in os.environ.get("WARM_IMAGES", "").split(",") if image]:
    settings["warm_images"] = images
if authorities:
    settings["extra_ca"] = authorities
    # The system's tools know them by the system; Node has authorities of its own and adds these.
    environment["NODE_EXTRA_CA_CERTS"] = authorities
if os.environ["HOOKS"] == "on":
    settings["hook_job_started"] = "/usr/local/lib/muster/hooks/job-started.sh"
    settings["hook_job_completed"] = "/usr/local/lib/muster/hooks/job-completed.sh"
# Strings and lists of strings are the same in JSON and TOML.
for name, value in settings.items():
    print(f"{name} = {json.dumps(value)}")
if environment:
    print("\n[environment]")
    for name, value in environment.items():
        print(f"{name} = {json.dumps(value)}")
PYTHON

put muster-agent.service /etc/systemd/system/muster-agent.service
put muster-agent-failed.service /etc/systemd/system/muster-agent-failed.service
put agent-failed /usr/local/lib/muster/agent-failed 0755
units enable muster-agent.service
say "agent is in /usr/local/bin"
