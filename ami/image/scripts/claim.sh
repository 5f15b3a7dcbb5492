#!/usr/bin/env bash
# The agent of this image, on a machine that was booted from it, claims at a stand-in for metadata service and door.
#
# What that shows: the program starts on this system, reads metadata, signs a proof, and says it as docs/protocol.md
# wants it. What it does not: anything about STS, the real door, GitHub, or the runner.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

work="$(mktemp -d)"
readonly work
agent=""
trap '[[ -z "$agent" ]] || kill "$agent" 2>/dev/null || true; rm -rf "$work"' EXIT

# The stand-in tells where it listens, and ends by itself with its verdict.
mkfifo "$work/told"
python3 "$here/scripts/stand_in.py" >"$work/told" &
readonly stand_in=$!
exec 3<"$work/told"
read -r -t 20 address <&3 || die "the stand-in does not start" "see above"

printf '%s\n' "metadata = \"$address\"" "state_dir = \"$work/state\"" "console = \"/dev/null\"" \
    'firewall = false' 'power_off = ["true"]' >"$work/agent.toml"
MUSTER_AGENT_SETTINGS="$work/agent.toml" "${MUSTER_AGENT:-$root/usr/local/bin/muster-agent}" run &
agent=$!

if ! wait "$stand_in"; then
    cat <&3
    die "the agent does not claim as it should" "see above"
fi
cat <&3
say "the agent claims"
