#!/usr/bin/env bash
# Floods a running `kmi serve` with slow heads and slow bodies (slowhttptest, in Debian), and looks
# whether others are served meanwhile and whether the slow ones are closed.
#
#     tests/slow_clients.sh KMI        # half a minute
set -euo pipefail
kmi=$(realpath "$1")
place=$(mktemp -d /tmp/kmi-slow.XXXXXX)
proxy=
trap '[[ -z $proxy ]] || { kill "$proxy" && wait "$proxy" || true; }; rm -rf "$place"' EXIT

umask 077
mkdir -p "$place/_auths"
echo 'sk-slow-clients-0001' >"$place/_auths/one.key"
# Nothing listens there: kmi answers 502 itself.
cat >"$place/kmi.config.toml" <<END
[proxy]
listen = "127.0.0.1:0"
head_timeout = "3s"
idle_timeout = "3s"
stall_timeout = "3s"
[upstream.kimi]
base_url = "http://127.0.0.1:9/v1"
END
mkfifo "$place/line"
"$kmi" --home "$place" serve >"$place/line" 2>"$place/said" &
proxy=$!
read -r line <"$place/line"
base=${line#kmi serves at }
token=$(<"$place/state/token")
api=${base%/v1}/t/$token/v1

# Arguments: what it is called, the target, and slowhttptest's own.
attack() {
    local name=$1 url=$2
    shift 2
    local said
    said=$(slowhttptest "$@" -c 400 -r 200 -l 12 -i 6 -p 3 -u "$url" 2>&1 | sed 's/\x1b\[[0-9;]*m//g')
    local closed
    closed=$(sed -n 's/^ *closed: *\([0-9]*\).*/\1/p' <<<"$said" | tail -1)
    local unavailable
    unavailable=$(grep -c 'service available: *NO' <<<"$said" || true)
    printf '%s: %s of 400 closed, unavailable in %s reports\n' "$name" "${closed:-0}" "$unavailable"
    if ((${closed:-0} < 100 || unavailable > 0)); then
        printf '%s\n' "$said" | tail -30
        return 1
    fi
}

attack 'slow heads' "${base%/v1}/healthz" -H
attack 'slow bodies' "$api/chat/completions" -B -t POST -s 4096
