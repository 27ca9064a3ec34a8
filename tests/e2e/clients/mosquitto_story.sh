#!/bin/bash
# The same story with every client: see tests/e2e/src/third_party.rs. Here Mosquitto's own.
set -euo pipefail
host=$1 port=$2 device=$4
case $3 in 5) version=mqttv5 ;; *) version=mqttv311 ;; esac
prefix=muster/v1/$device
common=(-h "$host" -p "$port" -V "$version")
if [ $# -gt 4 ]; then common+=(--cafile "$5"); fi
lasting=(-c)
if [ "$version" = mqttv5 ]; then lasting+=(-x 600); fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

expect() {
    if [ "$2" != "$3" ]; then
        printf '%s: expected %q, got %q\n' "$1" "$2" "$3" >&2
        exit 1
    fi
}

# A session that is there before anything is published; -E ends after SUBACK.
listen=("${common[@]}" -i "mosquitto-$3-$device-listener" "${lasting[@]}" -q 2)
mosquitto_sub "${listen[@]}" -t "$prefix/#" -E
# QoS 0 is for those who are there, so the session gets the rest.
for qos in 0 1 2; do
    mosquitto_pub "${common[@]}" -t "$prefix/level" -m "$qos" -q "$qos"
done
mosquitto_pub "${common[@]}" -t "$prefix/level" -m 3 -q 1
mosquitto_pub "${common[@]}" -t "$prefix/level" -m 4 -q 2
# It shows a message of QoS 2 at its PUBREL, so later ones of QoS 1 may stand before it (§4.6 orders each by itself).
got=$(mosquitto_sub "${listen[@]}" -t "$prefix/#" -C 4 -W 20 -F '%p %q %r' | sort)
expect "what waited" $'1 1 0\n2 2 0\n3 1 0\n4 2 0' "$got"

mosquitto_pub "${common[@]}" -t "$prefix/kept" -m 5 -q 1 -r
got=$(mosquitto_sub "${common[@]}" -t "$prefix/kept" -q 1 -C 1 -W 20 -F '%r %p')
expect "retained" '1 5' "$got"

# A subscriber with a will, killed as when the power fails.
stdbuf -oL mosquitto_sub "${common[@]}" -t "$prefix/nothing" --will-topic "$prefix/running" --will-payload 0 --will-qos 1 \
    -i "mosquitto-$3-$device-sensor" -d >"$work/sensor" 2>&1 &
sensor=$!
for _ in $(seq 200); do grep -q SUBACK "$work/sensor" && break; sleep 0.1; done
kill -9 "$sensor"
got=$(mosquitto_sub "${listen[@]}" -t "$prefix/#" -C 2 -W 20 -F '%t %p')
expect "will" "$prefix/kept 5"$'\n'"$prefix/running 0" "$got"
