#!/bin/sh
# Licences, sources and bans always; known vulnerabilities where their database can be reached.
set -eu
cd "$(dirname "$0")/.."

./scripts/check-tools.sh cargo cargo-deny
cargo deny --all-features check bans licenses sources

if cargo deny fetch db 2>/dev/null; then
    cargo deny --all-features check advisories
else
    echo "audit: advisories NOT checked, their database cannot be reached from here" >&2
fi
