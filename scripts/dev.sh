#!/bin/bash
# A node and the page, both rebuilt whenever a source changes. Ctrl-C ends both.
#
# The page comes from Vite at http://localhost:5173, which passes the API through to the node at 127.0.0.1:8080. The
# node is built again when a Rust or SQL source changed, and started again when that succeeded: a source that does not
# compile leaves the running node alone. Its data stays in target/dev-data.
set -uo pipefail
cd "$(dirname "$0")/.."

data=target/dev-data
bin=target/debug/muster
node_pid=
export MUSTER_HTTP=${MUSTER_HTTP:-http://127.0.0.1:8080}

stop_node() {
    if [ -n "$node_pid" ]; then
        kill "$node_pid" 2>/dev/null && wait "$node_pid" 2>/dev/null
        node_pid=
    fi
}

finish() {
    trap - EXIT INT TERM
    stop_node
    [ -n "${page_pid:-}" ] && kill "$page_pid" 2>/dev/null
    exit 0
}
trap finish EXIT INT TERM

build_and_start() {
    # As `make` builds it, so that nothing is built twice.
    if cargo build --workspace --bin muster; then
        stop_node
        mkdir -p "$data"
        "$bin" run --data-dir "$data" "$@" &
        node_pid=$!
    else
        echo "dev: does not compile; the node that runs is the last one that did" >&2
    fi
}

# Newest change of any source, in seconds; two dozen milliseconds for the whole tree.
newest_source() {
    find . \( -name target -o -name node_modules -o -name .git -o -path ./web-ui -o -path ./tests \) -prune -o \
        \( -name '*.rs' -o -name '*.sql' -o -name '*.toml' -o -name Cargo.lock \) -type f -printf '%T@\n' 2>/dev/null |
        sort -n | tail -1
}

# Not through npm: that would leave Vite behind when it is ended.
(cd web-ui && exec ./node_modules/.bin/vite) &
page_pid=$!

last=
while true; do
    now=$(newest_source)
    if [ "$now" != "$last" ]; then
        last=$now
        build_and_start "$@"
    elif [ -n "$node_pid" ] && ! kill -0 "$node_pid" 2>/dev/null; then
        wait "$node_pid"
        echo "dev: the node ended with $?; it starts again at the next change" >&2
        node_pid=
    fi
    sleep 1
done
