#!/usr/bin/env bash
# Puts GitHub's runner into /opt/actions-runner, if it is the one that was meant.
#
#   RUNNER_VERSION    2.N.N, or empty: the newest release
#   RUNNER_SHA256     of the archive for this architecture; needed with RUNNER_VERSION, else GitHub's own word is taken
#   RUNNER_MIRROR     where archives are instead of at GitHub, as MIRROR/vVERSION/FILE; which release is the newest is
#                     asked at GitHub all the same
#   MUSTER_PROXY      proxy for all of this
#   GITHUB_API        for tests
#
# The 30-day rule: GitHub sends no jobs to a runner that misses a release for 30 days. A version that is given and
# already breaks it makes no image.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

version="${RUNNER_VERSION:-}"
sha256="${RUNNER_SHA256:-}"
readonly api="${GITHUB_API:-https://api.github.com}"
readonly folder="$root/opt/actions-runner"
work="$(mktemp -d)"
readonly work
trap 'rm -rf "$work"' EXIT

fetch() { # ADDRESS FILE
    local options=(--fail --silent --show-error --location --retry 4 --retry-all-errors)
    options+=(--connect-timeout 10 --max-time 600)
    # Redirections stay within HTTPS, except where a test has begun without.
    [[ "$1" != https://* ]] || options+=(--proto '=https' --proto-redir '=https')
    [[ -z "${MUSTER_PROXY:-}" ]] || options+=(--proxy "$MUSTER_PROXY")
    curl "${options[@]}" --output "$2" "$1"
}

# What GitHub says of a release, as VERSION SHA256 PUBLISHED ADDRESS. Both places where it names the digest must say the
# same.
release() { # PATH
    fetch "$api/repos/actions/runner/releases/$1" "$work/release.json" ||
        die "GitHub cannot be asked for the runner's release" "give RUNNER_VERSION and RUNNER_SHA256, or try again"
    python3 - "$work/release.json" "linux-$(arch)" <<'PYTHON'
import json, re, sys

release = json.load(open(sys.argv[1]))
system = sys.argv[2]
version = release["tag_name"].removeprefix("v")
name = f"actions-runner-{system}-{version}.tar.gz"
asset = next((asset for asset in release["assets"] if asset["name"] == name), None)
if not re.fullmatch(r"2\.\d+\.\d+", version) or asset is None:
    sys.exit(f"image: FAILED: release {version!r} has no {name}")
said = {(asset.get("digest") or "").removeprefix("sha256:")}
said |= set(re.findall(rf"BEGIN SHA {system} -->([0-9a-f]+)<!--", release.get("body") or ""))
said.discard("")
if len(said) != 1 or not re.fullmatch(r"[0-9a-f]{64}", *said):
    sys.exit(f"image: FAILED: GitHub names {len(said)} digests for {name}, not one: {sorted(said)}")
print(version, *said, release["published_at"], asset["browser_download_url"])
PYTHON
}

days_since() { echo $((($(date +%s) - $(date -d "$1" +%s)) / 86400)); }

if [[ -z "$version" ]]; then
    said="$(release latest)" || exit 1
    read -r version sha256 published address <<<"$said"
    say "the newest runner is $version, of $published"
else
    [[ "$version" =~ ^2\.[0-9]+\.[0-9]+$ ]] || die "RUNNER_VERSION is \"$version\"" "it must be like 2.336.0"
    [[ "$sha256" =~ ^[0-9a-f]{64}$ ]] || die "RUNNER_SHA256 is not 64 hex digits" "it is in the notes of the release"
    address="https://github.com/actions/runner/releases/download/v$version/actions-runner-linux-$(arch)-$version.tar.gz"
    published=""
    if said="$(release latest)"; then
        read -r newest _ newest_published _ <<<"$said"
        if [[ "$newest" != "$version" ]] && (($(days_since "$newest_published") >= 30)); then
            die "$newest was released 30 days ago or earlier, and GitHub sends no jobs to $version any more" \
                "set RunnerVersion to $newest, or leave it empty to follow the releases"
        fi
        [[ "$newest" != "$version" ]] || published="$newest_published"
    else
        say "WARNING: whether $version is recent enough for GitHub is not known"
    fi
fi
if [[ -n "${RUNNER_MIRROR:-}" ]]; then
    address="$RUNNER_MIRROR/v$version/actions-runner-linux-$(arch)-$version.tar.gz"
fi

fetch "$address" "$work/runner.tar.gz" || die "$address cannot be fetched" "see above"
is="$(sha256sum "$work/runner.tar.gz" | cut -d' ' -f1)"
[[ "$is" == "$sha256" ]] || die "$address has the SHA-256 $is, not $sha256" "do not use it: find out why it differs"

# A folder of its own first: what is half unpacked is never taken for a runner.
mkdir "$work/runner"
tar -xzf "$work/runner.tar.gz" -C "$work/runner" --no-same-owner
[[ -x "$work/runner/bin/Runner.Listener" && -x "$work/runner/bin/Runner.Worker" ]] ||
    die "the archive has no Runner.Listener or no Runner.Worker" "its form has changed: this script must be told"

if [[ -z "$root" ]]; then
    # .NET's needs. The runner's own installdependencies.sh does not know Amazon Linux 2023.
    case "$(system)" in
        ubuntu) packages libicu74 libssl3t64 libkrb5-3 zlib1g liblttng-ust1t64 ;;
        amazon) packages libicu openssl-libs krb5-libs zlib ;;
    esac
    id runner >/dev/null || die "there is no user runner" "the component base makes it and comes first"
fi
rm -rf "$folder"
install -d -m 0755 "$(dirname "$folder")"
mv "$work/runner" "$folder"
if [[ -z "$root" ]]; then chown -R runner:runner "$folder"; fi

python3 - "$version" "$sha256" "$published" <<'PYTHON' | write /etc/muster/runner.json
import json, sys

version, sha256, published = sys.argv[1:]
print(json.dumps({"version": version, "sha256": sha256, "published_at": published or None}))
PYTHON
say "runner $version is in $folder"
