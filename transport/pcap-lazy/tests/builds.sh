#!/usr/bin/env bash
# The tests of tests/runtime.rs on programs that are built as `cargo test` builds none.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."

check() {
    local name=$1 target
    shift
    target=$PWD/target/pcap-lazy/$name
    echo "--- $name" >&2
    cargo build --quiet --package ferrocal-pcap-lazy --example probe --profile release --target-dir "$target" "$@"
    FERROCAL_PCAP_PROBE=$target/release/examples/probe \
        cargo test --quiet --package ferrocal-pcap-lazy --test runtime
}

check abort --config 'profile.release.panic="abort"'
check lto-abort --config 'profile.release.lto="fat"' --config 'profile.release.panic="abort"'
