#!/bin/sh
# Proves that firmware-protocol needs neither std nor an allocator.
#
# `cargo check` alone does not notice a dependency that pulls in std, because the ordinary toolchain has it. Here the
# compiler is given a system root with libcore and nothing else, so that such a dependency fails by name. No further
# target has to be installed.
set -eu
cd "$(dirname "$0")/.."

target_dir=${CARGO_TARGET_DIR:-target}/no-std
host=$(rustc -vV | sed -n 's/^host: //p')
from=$(rustc --print sysroot)/lib/rustlib/$host/lib
root=$PWD/target/no-std/sysroot
to=$root/lib/rustlib/$host/lib

rm -rf "$root"
mkdir -p "$to"
for name in core compiler_builtins rustc_std_workspace_core; do
    for file in "$from"/lib$name-*.rlib "$from"/lib$name-*.rmeta; do
        if [ -e "$file" ]; then ln -s "$file" "$to/"; fi
    done
done

extern_crate() {
    printf '#![no_std]\nextern crate %s;\n' "$1" |
        rustc --sysroot "$root" --edition 2024 --crate-type lib --emit metadata -o "$root/planted.rmeta" - 2>/dev/null
}
if ! extern_crate core; then
    echo "no-std-check: the bare system root does not even offer core; does $from hold libcore?" >&2
    exit 1
fi
# A proof that cannot fail proves nothing: with this system root std and alloc have to be missing.
for gone in std alloc; do
    if extern_crate "$gone"; then
        echo "no-std-check: the bare system root still offers $gone, so this check shows nothing" >&2
        exit 1
    fi
done

# With --target, RUSTFLAGS reach the crate and its dependencies but not the macros that run while compiling.
RUSTFLAGS="--sysroot $root" CARGO_TARGET_DIR=$target_dir \
    cargo check --quiet --locked --package firmware-protocol --target "$host"
echo "no-std-check: firmware-protocol compiles with libcore alone"
