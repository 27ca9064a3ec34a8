#!/bin/sh
# Trains a dictionary for packed runs with generated samples: scripts/train-dictionary.sh NUMBER
# A dictionary that is in use never changes: give a new one the next number (sync/engine/src/dictionary/README.md).
# Needs the zstd program.
set -eu
cd "$(dirname "$0")/.."
number=${1:?which number shall the dictionary have?}
target=sync/engine/src/dictionary/$number.zdict
if [ -s "$target" ]; then
    echo "dictionary $number exists already: take the next number" >&2
    exit 1
fi
samples=$(mktemp -d)
trap 'rm -r "$samples"' EXIT
cargo run --release -p node --example packing -- samples "$samples"
zstd --train -r "$samples" --maxdict=8192 --dictID="$number" -19 -o "$target"
