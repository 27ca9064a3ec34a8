#!/bin/sh
# Names each missing tool with the command that installs it: check-tools.sh cargo node npm …
set -eu

packager() {
    for known in apt-get dnf pacman apk brew; do
        if command -v "$known" >/dev/null 2>&1; then
            echo "$known"
            return
        fi
    done
}

install_command() {
    case "$(packager):$1" in
        *:cargo) echo "install Rust as https://rustup.rs says (Debian 13 and newer: apt-get install -y rustup && rustup default stable)" ;;
        *:cargo-fuzz) echo "cargo install --locked cargo-fuzz" ;;
        *:cargo-deny) echo "cargo install --locked cargo-deny" ;;
        apt-get:cc | apt-get:c++) echo "apt-get install -y build-essential" ;;
        apt-get:node | apt-get:npm) echo "apt-get install -y nodejs npm" ;;
        apt-get:*) echo "apt-get install -y $1" ;;
        dnf:cc | dnf:c++) echo "dnf install -y gcc" ;;
        dnf:perl) echo "dnf install -y perl-core" ;;
        dnf:node | dnf:npm) echo "dnf install -y nodejs npm" ;;
        dnf:*) echo "dnf install -y $1" ;;
        pacman:cc | pacman:c++ | pacman:make) echo "pacman -S base-devel" ;;
        pacman:node | pacman:npm) echo "pacman -S nodejs npm" ;;
        pacman:*) echo "pacman -S $1" ;;
        apk:cc | apk:c++) echo "apk add build-base linux-headers" ;;
        apk:node | apk:npm) echo "apk add nodejs npm" ;;
        apk:*) echo "apk add $1" ;;
        brew:cc | brew:c++ | brew:make) echo "xcode-select --install" ;;
        brew:node | brew:npm) echo "brew install node" ;;
        brew:*) echo "brew install $1" ;;
        *) echo "install $1 with your system's package manager" ;;
    esac
}

missing=0
for tool in "$@"; do
    if ! command -v "$tool" >/dev/null 2>&1; then
        echo "missing: $tool. Install it: $(install_command "$tool")" >&2
        missing=1
        continue
    fi
    case $tool in
        node)
            # The page's build tools ask for it; Debian 12 has 18.
            have=$(node --version | sed 's/^v//')
            major=${have%%.*}
            minor=${have#*.}
            minor=${minor%%.*}
            if [ "$major" -lt 20 ] || { [ "$major" -eq 20 ] && [ "$minor" -lt 19 ]; }; then
                echo "too old: node is $have, 20.19 or newer is needed. Install it: https://nodejs.org/en/download" >&2
                missing=1
            fi
            ;;
        cargo)
            # With rustup, rust-toolchain.toml brings the right one; without, the system's has to be new enough.
            have=$(cargo --version 2>/dev/null | sed 's/^cargo \([0-9.]*\).*/\1/')
            major=${have%%.*}
            minor=${have#*.}
            minor=${minor%%.*}
            if [ -z "$have" ]; then
                echo "cargo does not run. Try: rustup toolchain install" >&2
                missing=1
            elif [ "$major" -eq 1 ] && [ "$minor" -lt 95 ]; then
                echo "too old: cargo is $have, 1.95 or newer is needed. Update it: rustup update stable" >&2
                missing=1
            fi
            ;;
    esac
done
exit $missing
