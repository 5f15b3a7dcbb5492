# Sourced by the commands that need the deployed stack's surroundings: release binaries and a python with the emulators.
#
#   MUSTER_BENCH_BINARIES   a folder with muster, muster-door, muster-scaler, muster-registrar, github-fake: nothing is built
#   MUSTER_BENCH_PYTHON     a python with tests/emulation/requirements.txt and ministack; default: that of `.ci/run emulators`
#
# shellcheck shell=bash
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
cd "$here/../.."
me="$(basename "$0")"

# The newest environment that `.ci/run emulators` has made.
emulators_python() {
    local cache="${MUSTER_CI_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/muster/ci-tools}" found
    found="$(find "$cache" -maxdepth 1 -name 'emulators-*' 2>/dev/null | sort | tail -1)"
    if [[ -z "$found" || ! -x "$found/bin/ministack" ]]; then
        echo "$me: there are no emulators: run \`bash .ci/run emulators\` once, or set MUSTER_BENCH_PYTHON" >&2
        exit 2
    fi
    echo "$found/bin/python3"
}

MUSTER_BENCH_PYTHON="${MUSTER_BENCH_PYTHON:-$(emulators_python)}"
scratch="$(mktemp -d "${TMPDIR:-/tmp}/muster-$me.XXXXXX")"
trap 'rm -rf "$scratch"' EXIT
# The same packages and features as `.ci/run`, so that the SDK is built once.
with_aws=(-p muster -p muster-aws -p muster-tests --features "muster/aws,muster-tests/github")
# A command that does not time anything says `profile=debug` before.
profile="${profile:-release}"
if [[ -z "${MUSTER_BENCH_BINARIES:-}" ]]; then
    as_profile=()
    if [[ "$profile" == release ]]; then as_profile=(--release); fi
    cargo build --quiet "${as_profile[@]}" --locked "${with_aws[@]}" --bins
    MUSTER_BENCH_BINARIES="$scratch/binaries"
    mkdir "$MUSTER_BENCH_BINARIES"
    for name in muster muster-door muster-scaler muster-registrar github-fake; do
        strip -s -o "$MUSTER_BENCH_BINARIES/$name" "${CARGO_TARGET_DIR:-target}/$profile/$name"
    done
fi
export MUSTER_TEST_BINARIES="$MUSTER_BENCH_BINARIES" MUSTER_BENCH_SCRATCH="$scratch" PYTHONDONTWRITEBYTECODE=1

# Runs a program of tests/bench with that python, for so many seconds at most.
measure() { # SECONDS PROGRAM [ARGUMENT]...
    local seconds="$1"
    shift
    PYTHONPATH="$here:$here/../stack" timeout --kill-after 20 "$seconds" "$MUSTER_BENCH_PYTHON" "$here/$1" "${@:2}"
}
