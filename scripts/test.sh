#!/bin/bash
# Every check and every test, one after the other, with a plain summary at the end.
#
# A failing step does not stop the ones after it: whoever repairs wants to see all of it. The exit code is 0 only when
# nothing failed. A test that needs an optional tool (Chromium, Mosquitto, rights of root) and does not find it writes
# `SKIPPED-TOOL <tool> <test>` to the file named by MUSTER_SKIP_LOG and passes; those are counted and named below, and
# with CI=true each one is a failure.
set -uo pipefail
cd "$(dirname "$0")/.."

./scripts/check-tools.sh cargo cc perl make node npm || exit 1

logs=target/test-logs
rm -rf "$logs"
mkdir -p "$logs"
export MUSTER_SKIP_LOG=$PWD/$logs/skipped
: >"$MUSTER_SKIP_LOG"
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-auto}
# The browser tests and the tests of whole processes run this very program, which the step "build" makes.
target=${CARGO_TARGET_DIR:-target}
case $target in /*) ;; *) target=$PWD/$target ;; esac
export MUSTER_BIN=$target/debug/muster

passed=0
failed=0
failed_steps=()
# One line for each step: how long it took.
times=

skips() {
    grep -c '^SKIPPED-TOOL ' "$MUSTER_SKIP_LOG"
}

# Adds up what a step's own log says; a step that counts nothing (a linter) is one check.
count() {
    local log=$1 status=$2 ok bad counting
    # Escape sequences would hide the numbers.
    read -r ok bad counting < <(sed 's/\x1b\[[0-9;]*m//g' "$log" | awk '
        /Summary \[|^test result:|^ *Tests +[0-9]|^(#|ℹ) pass / { counting = 1 }
        # nextest: "Summary [ 3.2s] 40 tests run: 38 passed (1 slow), 2 failed, 1 skipped"
        /Summary \[.*tests? run:/ {
            for (i = 1; i < NF; i++) {
                if ($(i + 1) ~ /^passed/) ok += $i
                if ($(i + 1) ~ /^(failed|timed|exec)/) bad += $i
            }
        }
        # cargo test: "test result: ok. 3 passed; 0 failed; …"
        /^test result:/ { for (i = 1; i < NF; i++) { if ($(i + 1) ~ /^passed/) ok += $i; if ($(i + 1) ~ /^failed/) bad += $i } }
        # vitest: "      Tests  1 failed | 11 passed (12)"
        /^ *Tests +[0-9]/ { for (i = 1; i < NF; i++) { if ($(i + 1) == "passed") ok += $i; if ($(i + 1) == "failed") bad += $i } }
        # node --test: "# pass 3" or "ℹ pass 3"
        /^(#|ℹ) pass [0-9]+$/ { ok += $3 }
        /^(#|ℹ) fail [0-9]+$/ { bad += $3 }
        END { print ok + 0, bad + 0, counting + 0 }')
    if [ "$status" -eq 0 ] && [ "$counting" -eq 0 ]; then ok=1; fi
    if [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then bad=1; fi
    passed=$((passed + ok))
    failed=$((failed + bad))
}

# step NAME COMMAND…
step() {
    local name=$1 status began=$SECONDS skips_before
    shift
    skips_before=$(skips)
    printf '\n== %s\n' "$name"
    "$@" 2>&1 | tee "$logs/$name.log"
    status=${PIPESTATUS[0]}
    times+=$(printf '%5d s  %s' $((SECONDS - began)) "$name")$'\n'
    count "$logs/$name.log" "$status"
    # For cargo a test that skips itself has passed; here it has not.
    if [ "$name" = rust-tests ]; then passed=$((passed - ($(skips) - skips_before))); fi
    if [ "$status" -ne 0 ]; then
        failed_steps+=("$name")
        echo "== $name FAILED (exit $status)"
    fi
    return "$status"
}

rust_tests() {
    if cargo nextest --version >/dev/null 2>&1; then
        cargo nextest run --workspace --no-fail-fast
    else
        cargo test --workspace --all-targets --no-fail-fast
    fi
}

started=$SECONDS

step npm-packages make --no-print-directory --keep-going npm-packages
step rustfmt cargo fmt --all -- --check
step clippy cargo clippy --workspace --all-targets -- -D warnings
step web-lint npm --prefix web-ui run --silent lint
step web-types npm --prefix web-ui run --silent check
step web-tests npm --prefix web-ui run --silent test
step web-build make --no-print-directory web
# All targets at once: the program that the tests start is built with the same features as the tests themselves, and
# what would be compiled twice otherwise is compiled once.
if step build cargo build --workspace --all-targets; then
    step rust-tests rust_tests
    step doc-tests cargo test --workspace --doc
    step browser-tests npm --prefix tests/browser run --silent test
fi
step no-std-check ./scripts/no-std-check.sh

printf '\n== summary, after %d min %d s\n' $(((SECONDS - started) / 60)) $(((SECONDS - started) % 60))
printf '%s' "$times"
skipped=$(skips)
if [ "$skipped" -gt 0 ]; then
    echo "$skipped skipped for want of an optional tool:"
    sort -u "$MUSTER_SKIP_LOG" | sed -n 's/^SKIPPED-TOOL \([^ ]*\) \(.*\)$/  \2 (needs \1)/p'
    if [ "${CI:-}" = true ]; then
        echo "a skip is a failure here, because CI=true"
        failed=$((failed + skipped))
    fi
else
    echo "nothing was skipped"
fi
if [ ${#failed_steps[@]} -gt 0 ]; then
    echo "failed steps: ${failed_steps[*]} (their output: $logs/)"
fi
# Kept as well, so that .ci/run can end with it after make has had its last word.
echo "$passed passed, $failed failed" | tee "$logs/summary"
[ "$failed" -eq 0 ] && [ ${#failed_steps[@]} -eq 0 ]
