#!/usr/bin/env bash
# Every job of the continuous integration, a function each: ./ci.sh [JOB [NUMBER]...]; without a job, all of them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

ECAL_VERSION=6.1.1
# Beside it, for the tests of what differs.
OLD_ECAL_VERSION=6.0.1
# What reads recordings in the tests.
MCAP_PACKAGES=(mcap==1.6.0 mcap-protobuf-support==0.6.0 lz4==4.4.5 zstandard==0.25.0)
# What the tests ask for: a burst of 5 MB, with the kernel's overhead of each datagram.
SOCKET_BUFFER=16777216
DENY_VERSION=0.20.2
# The database of known vulnerabilities that cargo-deny takes.
ADVISORIES=https://github.com/RustSec/advisory-db
# What eCAL for Windows was built with.
MSVC_RUNTIME_VERSION=14.51.36231
# What makes pictures of terminals.
RICH_VERSION=15.0.0
WINDOWS_TARGET=x86_64-pc-windows-gnu
JOBS=(fmt structure generated clippy features doc package wasm targets msrv test fuzz snippet screens windows)
# Run only when named.
EXTRA_JOBS=(generate pictures deny miri loom sanitizers bench floods attacks load soak kills)

# Where everything has to run, a test that cannot run is a failure.
if [[ ${CI:-} == true ]]; then
    export FERROCAL_REQUIRE_ALL=1
fi

fmt() {
    component rustfmt
    cargo fmt --all -- --check
    cargo fmt --manifest-path bench/Cargo.toml -- --check
    cargo fmt --manifest-path fuzz/Cargo.toml -- --check
    cargo fmt --manifest-path proto/generate/Cargo.toml -- --check
}

# Imports inside a crate point one way; ci/structure.py says which.
structure() {
    prepare_python3
    python3 ci/structure.py
}

# Generates the protobuf code of proto/ anew.
generate() {
    generate_to proto/src/pb.rs
}

# The protobuf code that is checked in is that of proto/schema.
generated() {
    local fresh
    fresh=$(mktemp -d)
    # shellcheck disable=SC2064
    trap "rm -rf '$fresh'" EXIT
    generate_to "$fresh/pb.rs"
    if ! diff -u proto/src/pb.rs "$fresh/pb.rs"; then
        echo "proto/src/pb.rs differs from proto/schema; please run: ./ci.sh generate" >&2
        return 1
    fi
}

clippy() {
    component clippy
    cargo clippy --workspace --all-targets -- --deny warnings
    cargo clippy --manifest-path bench/Cargo.toml --all-targets --target-dir "${CARGO_TARGET_DIR:-target}" -- --deny warnings
}

# The crates that have features, with none of them, each alone and all.
features() {
    local package target feature option
    prepare_python3
    component clippy
    while read -r package target feature; do
        cargo clippy --package "$package" "$target" --no-default-features --features "$feature" -- --deny warnings
    done < <(of_published features)
    # A program differs by its dependencies alone.
    while read -r package target; do
        for option in --no-default-features --all-features; do
            cargo clippy --package "$package" "$target" "$option" -- --deny warnings
            cargo test --package "$package" "$target" "$option" --no-run
            isolated cargo test --package "$package" "$target" "$option" --offline
        done
    done < <(of_published features | grep -e ' --lib ' | cut -d' ' -f1,2 | sort -u)
    echo "crates in the bare ferrocal: $(cargo tree --package ferrocal --edges normal --no-default-features \
        --prefix none --no-dedupe | sort -u | wc -l)"
}

doc() {
    RUSTDOCFLAGS="--deny warnings" cargo doc --workspace --no-deps --document-private-items
}

# What is published compiles from its package alone, and has a README and the licence inside.
package() {
    local names name file files folder target options=()
    prepare_python3
    target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
    names=$(of_published name)
    for name in $names; do
        options+=(--package "$name")
        files=$(cargo package --package "$name" --list --allow-dirty)
        for file in README.md LICENSE; do
            if ! grep -qx "$file" <<<"$files"; then
                echo "the package $name has no $file" >&2
                return 1
            fi
        done
    done
    folder=$(mktemp -d)
    # shellcheck disable=SC2064
    trap "rm -rf '$folder'" EXIT
    cargo package "${options[@]}" --allow-dirty --no-verify --target-dir "$folder"
    # To build them, as `cargo publish` does, takes much longer than to check them with what is checked already.
    cd "$folder/package"
    cp "$OLDPWD/Cargo.lock" .
    {
        echo '[workspace]'
        echo 'resolver = "3"'
        echo 'members = ["*-[0-9]*"]'
        echo '[patch.crates-io]'
        for name in $names; do
            file=$(echo "$name"-[0-9]*.crate)
            # The times in a package are always the same, by which what was checked before would do.
            tar --extract --touch --file "$file"
            rm "$file"
            echo "$name.path = \"${file%.crate}\""
        done
        # Otherwise, nothing that was checked would do.
        sed -n '/^\[profile\.dev/,/^$/p' "$OLDPWD/Cargo.toml"
    } >Cargo.toml
    cargo check --workspace --target-dir "$target"
}

# Licences, sources and, where their database can be had, known vulnerabilities of all that is built; deny.toml says what is
# allowed.
deny() {
    if ! cargo deny --version >/dev/null 2>&1; then
        announce "installing cargo-deny $DENY_VERSION"
        cargo install --quiet --locked --version "$DENY_VERSION" cargo-deny
    fi
    local checks=(bans licenses sources)
    if timeout 30 git ls-remote --exit-code "$ADVISORIES" HEAD >/dev/null 2>&1; then
        checks+=(advisories)
    else
        announce "$ADVISORIES cannot be reached: known vulnerabilities are not checked"
    fi
    cargo deny --all-features check "${checks[@]}"
}

# The tests of the protocol, and those of pcap-lazy and of transport that need no system calls, under miri. It finds undefined
# behaviour, also in what they depend on.
miri() {
    if ! cargo +nightly miri --version >/dev/null 2>&1; then
        announce "installing the nightly toolchain with miri"
        rustup toolchain install nightly --profile minimal --component miri,rust-src
    fi
    # The tests of properties write down what failed.
    export MIRIFLAGS=-Zmiri-disable-isolation
    cargo +nightly miri test --package ferrocal-proto
    cargo +nightly miri test --package ferrocal-pcap-lazy --lib -- min_to_copy
    cargo +nightly miri test --package ferrocal-transport --no-default-features --lib -- slots seam memory sync
}

# What threads wait with, in all interleavings.
loom() {
    local folder=${CARGO_TARGET_DIR:-target}/loom
    RUSTFLAGS="${RUSTFLAGS:-} --cfg interleavings" cargo test --target-dir "$folder" --package ferrocal-transport \
        --package ferrocal --no-default-features --lib interleavings
}

# The tests of what has unsafe code or threads, under the address sanitizer and then the thread sanitizer. Theirs are
# nightly compilers and a standard library that is built anew.
sanitizers() {
    local kind host
    if ! cargo +nightly --version >/dev/null 2>&1 || ! rustup +nightly component list --installed | grep -q rust-src; then
        announce "installing the nightly toolchain with the standard library's source"
        rustup toolchain install nightly --profile minimal --component rust-src
    fi
    host=$(rustc +nightly -vV | sed -n 's/^host: //p')
    # A forked child leaves what belongs to threads that it does not have.
    export ASAN_OPTIONS=detect_leaks=0
    for kind in address thread; do
        RUSTFLAGS="${RUSTFLAGS:-} -Zsanitizer=$kind" CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/$kind-sanitizer \
            sanitized "$host" --package ferrocal-pcap-lazy --package ferrocal-transport --package ferrocal
    done
}

# The protocol does no IO: this target has neither sockets nor files nor a clock.
wasm() {
    rust_target wasm32v1-none
    cargo check --package ferrocal-proto --target wasm32v1-none
}

# What no job runs on must compile all the same. Tests and benchmarks stay out: some need a C compiler for the target. 64-bit
# ARM is in the job `msrv`.
targets() {
    local target folder program others=()
    component clippy
    for target in x86_64-pc-windows-msvc aarch64-apple-darwin; do
        rust_target "$target"
        others+=(--target "$target")
    done
    cargo clippy --workspace --lib --bins --examples "${others[@]}" -- --deny warnings
    cargo clippy --package ferrocal --lib --no-default-features "${others[@]}" -- --deny warnings
    # The command and the examples link without a C library of their own, and run.
    rust_target x86_64-unknown-linux-musl
    cargo build --workspace --lib --bins --examples --target x86_64-unknown-linux-musl
    prepare_ip
    program=$(realpath "${CARGO_TARGET_DIR:-target}")/x86_64-unknown-linux-musl/debug
    folder=$(mktemp -d)
    # shellcheck disable=SC2064
    trap "rm -rf '$folder'" EXIT
    alone "$folder" "$program/ferrocal" --version
    # shellcheck disable=SC2016
    alone "$folder" sh -c '"$1/sub" hello --count 3 & "$1/pub" hello --count 3 --wait-for-subscriber 60 && wait $!' \
        sh "$program/examples"
}

# The oldest Rust that Cargo.toml promises, which has no processor to itself: on another than the jobs run on.
msrv() {
    local version target=aarch64-unknown-linux-gnu
    version=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
    if ! rustup "+$version" target list --installed 2>/dev/null | grep -qx "$target"; then
        announce "installing the toolchain $version for $target"
        rustup toolchain install "$version" --profile minimal --target "$target"
    fi
    cargo "+$version" check --workspace --lib --bins --examples --target "$target"
    cargo "+$version" check --package ferrocal --lib --no-default-features --target "$target"
}

test() {
    prepare_python
    prepare_ip
    prepare_memory_groups
    prepare_libpcap
    prepare_tmux
    prepare_firewall
    prepare_buffers
    local messages
    messages=$(cargo test --workspace --release --no-run --message-format=json-render-diagnostics)
    python3 ci/tests.py "${ISOLATED[@]}" <<<"$messages"
    # Some examples of the documentation open sockets, too. In there, registries are out of reach.
    isolated cargo test --workspace --release --offline --doc
}

# Noise at full speed for longer than in CI; FERROCAL_FLOOD_SECONDS says how long on each backend.
floods() {
    prepare_ip
    prepare_libpcap
    prepare_buffers
    FERROCAL_FLOOD_SECONDS=${FERROCAL_FLOOD_SECONDS:-30} \
        cargo test --package ferrocal-integration-tests --release --test floods -- noise --nocapture
}

# A few datagrams each, and what they do to ours and to the real eCAL.
attacks() {
    prepare_python
    prepare_ip
    prepare_libpcap
    prepare_buffers
    cargo test --package ferrocal-integration-tests --release --test attacks -- --nocapture
}

# The targets of fuzz/: how many inputs each gets in CI, the longest input, and the folders with seeds, in fuzz/.
FUZZ_TARGETS=(
    "header 500000 2048 ../proto/tests/data"
    "reassemble 15000 8192 seeds/reassemble"
    "sample 200000 8192 ../proto/tests/data"
    "registration 200000 4096 ../proto/tests/data"
    "log 200000 2048 ../proto/tests/data"
    "frame 10000 8192 seeds/frame"
    "savefile 100000 8192 seeds/savefile ../integration-tests/captures"
    "dynamic 50000 8192 seeds/dynamic"
    "config 5000 8192 seeds/config ../pubsub/src/config/file"
    "recording 5000 16384 seeds/recording ../cli/tests/data"
    "filter 5000 1024 seeds/filter"
    "node 200 1024 seeds/node"
    "service 100000 8192 seeds/service"
    "tcp 100000 8192 seeds/tcp"
    "memory_file 200000 8192 seeds/memory_file"
)

# Every fuzz target, from its seeds and with the same random numbers each time, as many at a time as there are processors.
# With an argument, for so many seconds in all, going on from what the last such run found.
fuzz() {
    local seconds=${1:-} line target runs max_len seeds at_once pid pids=() status=0
    at_once=$(nproc)
    prepare_cxx
    component clippy
    cd fuzz
    cargo clippy --release -- --deny warnings
    cargo build --release
    for line in "${FUZZ_TARGETS[@]}"; do
        read -r target runs max_len seeds <<<"$line"
        while (($(jobs -rp | wc -l) >= at_once)); do
            wait -n || true # its result is asked for below
        done
        if [[ -n $seconds ]]; then
            mkdir -p "corpus/$target"
            # shellcheck disable=SC2086
            fuzz_target "$target" "-max_total_time=$((seconds * at_once / ${#FUZZ_TARGETS[@]} + 1))" \
                "-max_len=$max_len" "corpus/$target" $seeds &
        else
            # shellcheck disable=SC2086
            seeds=$(find $seeds -type f | sort | paste -sd,)
            fuzz_target "$target" "-runs=$runs" -seed=1 "-max_len=$max_len" "-seed_inputs=$seeds" &
        fi
        pids+=($!)
    done
    for pid in "${pids[@]}"; do
        wait "$pid" || status=1
    done
    return $status
}

# The blocks of README.md and the guide: their programs, in crates that know nothing of this workspace, their settings, and
# their commands for eCAL's Python.
snippet() {
    local crates program place settings output script target
    target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
    prepare_python3
    prepare_python
    prepare_ip
    crates=$(mktemp -d)
    # shellcheck disable=SC2064
    trap "rm -rf '$crates'" EXIT
    python3 ci/snippets.py "$crates"
    cp Cargo.lock "$crates"
    CARGO_TARGET_DIR=$target cargo build --manifest-path "$crates/Cargo.toml" --workspace
    mkdir "$crates/empty"
    while read -r program place; do
        if ! output=$(alone "$crates/empty" "$target/debug/$program") || [[ -z $output ]]; then
            echo "$place: this program failed, or printed nothing" >&2
            return 1
        fi
        echo "$output"
    done <"$crates/programs"
    for settings in "$crates"/settings/*; do
        if ! output=$(alone "$crates/empty" env RUST_LOG=warn "ECAL_DATA=$settings" "$target/debug/settings" \
            2>&1 >/dev/null) || [[ -n $output ]]; then
            echo "$settings: $output" >&2
            return 1
        fi
    done
    cargo build --workspace --release --bins --examples
    program=$target/release/examples
    mkdir -p "$crates/empty/.venv/bin"
    printf '#!/bin/sh\nexec "%s" "$@"\n' \
        "$(realpath -s "$(command -v "${FERROCAL_ECAL_PYTHON:-.venv/bin/python}")")" >"$crates/empty/.venv/bin/python"
    chmod +x "$crates/empty/.venv/bin/python"
    for script in "$crates"/scripts/*.sh; do
        # shellcheck disable=SC2016
        if grep -q Subscriber "$script"; then
            alone "$crates/empty" sh -c '"$1" & sh "$2"; result=$?; kill $! && exit $result' sh "$program/pub" "$script"
        else
            alone "$crates/empty" sh -c '"$1" --count 3 & sh "$2" && wait $!' sh "$program/sub" "$script"
        fi
    done
}

# The commands on the guide's pages of tools are run, and the pictures of their screens can be taken. They hold rates and times,
# so that they are not compared with those that are checked in.
screens() {
    local folder
    folder=$(mktemp -d)
    # shellcheck disable=SC2064
    trap "rm -rf '$folder'" EXIT
    take_screens "$folder"
}

# Takes the pictures of the guide's pages of tools anew.
pictures() {
    # Few at a time: what they show is not of a busy computer then.
    take_screens docs/src/pictures 2
}

# The examples as Windows programs, run by Wine: with each other, with those of Linux and with the real eCAL, that of
# Windows, too. What shared memory is made of is tested there on its own.
windows() {
    local folder messages
    folder=$(realpath -m "${CARGO_TARGET_DIR:-target}")
    prepare_python
    prepare_ip
    prepare_buffers
    prepare_mingw
    prepare_libpcap # Wine's wpcap.dll wraps it
    prepare_wine "$folder/wine"
    rust_target "$WINDOWS_TARGET"
    (
        # How fast they are is not tested.
        export CARGO_PROFILE_RELEASE_OPT_LEVEL=1
        cargo build --package ferrocal-cli --package ferrocal-examples --bins --examples --release \
            --target "$WINDOWS_TARGET"
        cargo test --package ferrocal-shm --lib --release --target "$WINDOWS_TARGET" --no-run
        CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER="setarch --addr-no-randomize wine" WINEPREFIX=$folder/wine/prefix \
            WINEDEBUG=-all isolated \
            cargo test --package ferrocal-shm --lib --release --target "$WINDOWS_TARGET" --offline
    )
    cargo build --workspace --release --bins --examples
    prepare_windows_ecal "$folder/wine/ecal"
    messages=$(cargo test --workspace --release --test windows --no-run --message-format=json-render-diagnostics)
    FERROCAL_WINDOWS_EXAMPLES=$folder/$WINDOWS_TARGET/release/examples FERROCAL_WINE_PREFIX=$folder/wine/prefix \
        FERROCAL_WINDOWS_ECAL=$folder/wine/ecal \
        python3 ci/tests.py "${ISOLATED[@]}" <<<"$messages"
}

# Either side of an exchange by shared memory, and by TCP, killed 200 times, at any moment of it.
kills() {
    prepare_python
    prepare_ip
    cargo build --release --package ferrocal-examples --examples
    FERROCAL_KILLS=${FERROCAL_KILLS:-100} cargo test --release --package ferrocal-integration-tests \
        --test shared_memory --test tcp killed
}

# FERROCAL_BENCH holds options, as "--quick --runs 1"; bench/README.md tells them.
bench() {
    prepare_python
    prepare_ip
    prepare_buffers
    if ! ldconfig -p | grep -q 'liblcm\.so '; then
        packages liblcm-dev
    fi
    if ! command -v c++ >/dev/null; then
        packages g++
    fi
    local options results=${CARGO_TARGET_DIR:-bench/target}/results
    read -ra options <<<"${FERROCAL_BENCH:-}"
    cargo run --manifest-path bench/Cargo.toml --release --features peers -- run \
        --json "$results.json" --svg "$results.svg" "${options[@]}"
}

# The highest rates for $1 minutes, with subscribers that are slow, fast and crash: 1, 10 and 100 processes of each.
load() {
    prepare_ip
    prepare_buffers
    cargo bench --package ferrocal-integration-tests --bench load -- "${1:-10}"
}

# Use for $1 minutes, with losses and with programs that come and go; memory, descriptors and the account of each topic.
soak() {
    prepare_ip
    prepare_firewall
    prepare_buffers
    cargo bench --package ferrocal-integration-tests --bench soak -- "${1:-60}"
}

# --- what the jobs need -----------------------------------------------------------------------------------------------

# Generates the protobuf code of proto/ to the file $1.
generate_to() {
    component rustfmt
    cargo run --quiet --manifest-path proto/generate/Cargo.toml --target-dir "${CARGO_TARGET_DIR:-target}" -- \
        proto/schema "$1"
    rustfmt --edition 2024 --config-path rustfmt.toml "$1"
}

# Reads from the manifests of what is published: `name`, a line for each crate, or `features`, a line for each with the
# crate, the option for its library or program, and the feature.
of_published() {
    cargo metadata --no-deps --format-version 1 | python3 -c '
import json, sys
for package in json.load(sys.stdin)["packages"]:
    if package["publish"] is None:
        if sys.argv[1] == "name":
            print(package["name"])
        for feature in sorted(package["features"].keys() - {"default"} if sys.argv[1] == "features" else []):
            has_library = any("lib" in target["kind"] for target in package["targets"])
            print(package["name"], "--lib" if has_library else "--bins", feature)' "$1"
}

# Runs ci/screens.py with these arguments.
take_screens() {
    prepare_python3
    prepare_ecal .venv-screens "rich==$RICH_VERSION"
    prepare_ip
    prepare_libpcap
    prepare_tmux
    # As the job `test` builds it, so that nothing is built twice.
    cargo test --workspace --release --no-run
    .venv-screens/bin/python ci/screens.py "${CARGO_TARGET_DIR:-target}/release/ferrocal" "$@"
}

# Says what is about to change outside of this folder.
announce() {
    echo "ci.sh: $*" >&2
}

component() {
    if ! cargo "${1/rustfmt/fmt}" --version >/dev/null 2>&1; then
        announce "adding the component $1 to the toolchain"
        rustup component add "$1"
    fi
}

rust_target() {
    if ! rustup target list --installed | grep -qx "$1"; then
        announce "adding the target $1 to the toolchain"
        rustup target add "$1"
    fi
}

if ((EUID == 0)); then
    NAMESPACE=(--net --uts)
else
    NAMESPACE=(--user --map-root-user --net --uts)
fi

# What runs a command where nothing it sends can leave: in a network of its own that has a loopback interface alone.
# shellcheck disable=SC2016
ISOLATED=(unshare "${NAMESPACE[@]}" sh -c 'ip link set lo up && ip link set lo multicast on && exec "$@"' sh)

isolated() {
    "${ISOLATED[@]}" "$@"
}

# Runs a command isolated, in the empty folder $1 and with nothing but HOME and PATH, so without configuration. The time only
# bounds a hang.
alone() {
    local folder=$1
    shift
    (cd "$folder" && isolated env -i "HOME=$folder" "PATH=$PATH" timeout 120 "$@" </dev/null)
}

# Tests packages of the host $1 with a standard library built for RUSTFLAGS. Allocations are counted by tests of their own,
# and a sanitizer's would be among them.
sanitized() {
    local host=$1 options
    shift
    options=(-Zbuild-std --target "$host" "$@" --lib --test nodes --test fork)
    cargo +nightly test "${options[@]}" --no-run
    isolated cargo +nightly test "${options[@]}" --offline
}

# Installs Debian packages where that is possible; elsewhere the tests say what is missing.
packages() {
    if ((EUID == 0)) && command -v apt-get >/dev/null; then
        announce "installing the Debian packages $*, which stay installed"
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends "$@"
    else
        announce "please install $*"
    fi
}

prepare_ip() {
    if ! command -v ip >/dev/null; then
        packages iproute2
    fi
}

# libFuzzer is C++.
prepare_cxx() {
    if ! command -v c++ >/dev/null; then
        packages g++
    fi
}

# Runs the fuzz target $1 with the options of libFuzzer behind.
fuzz_target() {
    local target=$1 output
    shift
    if ! output=$(cargo run --release --quiet --bin "$target" -- "$@" 2>&1); then
        echo "$output" >&2
        return 1
    fi
    echo "$target: $(grep --text -e DONE -e '^Done' <<<"$output" | paste -sd' ')"
}

# The library that the raw frames of the tests go through; building needs none.
prepare_libpcap() {
    if ! ldconfig -p | grep -q 'libpcap\.so'; then
        packages libpcap0.8
    fi
}

# What the tests break networks with, so that doctor finds it.
prepare_firewall() {
    if ! command -v nft >/dev/null || ! command -v sysctl >/dev/null; then
        packages nftables procps
    fi
}

# The terminal in which the tests of `ferrocal monitor` press keys.
prepare_tmux() {
    if ! command -v tmux >/dev/null; then
        packages tmux
    fi
}

# The linker for Windows programs.
prepare_mingw() {
    if ! command -v x86_64-w64-mingw32-gcc >/dev/null; then
        packages gcc-mingw-w64-x86-64-win32
    fi
}

# Wine, and in the folder $1 a prefix of it for the tests to copy.
prepare_wine() {
    local folder=$1 fresh system32 version
    if ! command -v wine >/dev/null || ! command -v wineserver >/dev/null; then
        packages wine wine64
    fi
    version=$(WINEDEBUG=-all wine --version)
    if [[ $(cat "$folder/version" 2>/dev/null) == "$version" ]]; then
        return
    fi
    rm -rf "$folder"
    mkdir -p "$folder"
    fresh=$folder/fresh
    # Without Mono, Gecko and entries in the desktop's menu, and where nothing can reach the network.
    WINEPREFIX=$fresh WINEDEBUG=-all WINEDLLOVERRIDES="mscoree,mshtml,winemenubuilder.exe=" \
        setarch --addr-no-randomize unshare "${NAMESPACE[@]}" sh -c 'wineboot --init && wineserver --wait' >&2
    system32=$fresh/drive_c/windows/system32
    if ! [[ -e $system32/bcryptprimitives.dll ]]; then
        x86_64-w64-mingw32-gcc -shared -O2 -s -Wall -Wextra -Werror -o "$system32/bcryptprimitives.dll" \
            integration-tests/windows/bcryptprimitives.c
    fi
    mv "$fresh" "$folder/prefix"
    echo "$version" >"$folder/version"
}

# In the folder $1 eCAL's library for Windows, from its package for Python, with the C++ library that it was built with, as
# Wine's own is older. And what drives it.
prepare_windows_ecal() {
    local folder=$1 python=${FERROCAL_ECAL_PYTHON:-.venv/bin/python} package
    local packages=("eclipse-ecal==$ECAL_VERSION" "msvc-runtime==$MSVC_RUNTIME_VERSION")
    if [[ $(cat "$folder/version" 2>/dev/null) != "${packages[*]}" ]]; then
        announce "fetching ${packages[*]} for Windows from PyPI"
        rm -rf "$folder"
        mkdir -p "$folder/packages"
        "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
            --platform win_amd64 --python-version 312 --dest "$folder/packages" "${packages[@]}"
        for package in "$folder"/packages/*.whl; do
            "$python" -m zipfile --extract "$package" "$folder/packages"
        done
        mv "$folder"/packages/ecal/ecal_core.dll \
            "$folder"/packages/*.data/data/Scripts/{msvcp140,vcruntime140,vcruntime140_1}.dll "$folder"
        rm -r "$folder/packages"
        echo "${packages[*]}" >"$folder/version"
    fi
    x86_64-w64-mingw32-gcc -O2 -s -Wall -Wextra -Werror -o "$folder/ecal_peer.exe" \
        integration-tests/windows/ecal_peer.c
}

prepare_python3() {
    if ! command -v python3 >/dev/null; then
        packages python3
    fi
}

# Virtual environments with the real eCAL, of both versions, and with what reads recordings.
prepare_python() {
    if [[ -z ${FERROCAL_ECAL_PYTHON:-} ]]; then
        prepare_ecal .venv "eclipse-ecal==$ECAL_VERSION" "${MCAP_PACKAGES[@]}"
    fi
    if [[ -z ${FERROCAL_OLD_ECAL_PYTHON:-} ]]; then
        prepare_ecal .venv-6.0 "eclipse-ecal==$OLD_ECAL_VERSION"
    fi
}

# A virtual environment in the folder $1 with the packages behind, unless it is there.
prepare_ecal() {
    local folder=$1
    shift
    if "$folder/bin/python" -c "
import importlib.metadata, sys
for package in sys.argv[1:]:
    name, version = package.split('==')
    assert importlib.metadata.version(name) == version" "$@" 2>/dev/null; then
        return
    fi
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        packages python3 python3-venv
    fi
    announce "making $folder with $* from PyPI"
    python3 -m venv --clear "$folder"
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
}

# The control groups with little memory that tests make. A container's processes may be in the root of all groups that it
# sees; these have limits only while the root has no processes itself.
prepare_memory_groups() {
    local root=/sys/fs/cgroup id
    if ! grep -qsw memory "$root/cgroup.controllers" || grep -qsw memory "$root/cgroup.subtree_control" \
        || ! grep -qx '0::/' /proc/self/cgroup || ! [[ -w $root/cgroup.procs ]]; then
        return
    fi
    announce "moving the processes of this container to the control group $root/processes"
    mkdir -p "$root/processes"
    # Some may have ended by then.
    while read -r id; do
        { echo "$id" >"$root/processes/cgroup.procs"; } 2>/dev/null || true
    done < <(cat "$root/cgroup.procs")
    echo +memory >"$root/cgroup.subtree_control" || announce "control groups cannot limit memory here"
}

# Namespaces share these limits, but cannot set them. Long messages need room in the receive buffer.
prepare_buffers() {
    local name file old
    trap restore_buffers EXIT
    for name in rmem_max wmem_max; do
        file=/proc/sys/net/core/$name
        if ! [[ -r $file ]] || (($(<"$file") >= SOCKET_BUFFER)); then
            continue
        fi
        old=$(<"$file")
        if ((EUID == 0)); then
            announce "raising net.core.$name from $old to $SOCKET_BUFFER until this job ends"
        fi
        if { echo "$SOCKET_BUFFER" >"$file"; } 2>/dev/null; then
            RAISED[$file]=$old
        else
            announce "net.core.$name is $old; please run: sysctl -w net.core.$name=$SOCKET_BUFFER"
        fi
    done
}

# The limits that were raised, by file, with the values they had.
declare -A RAISED

restore_buffers() {
    local file
    for file in "${!RAISED[@]}"; do
        announce "putting $file back to ${RAISED[$file]}"
        echo "${RAISED[$file]}" >"$file"
    done
}

run() {
    local job
    for job in "$@"; do
        echo "=== $job" >&2
        SECONDS=0
        # In a shell of its own, so that what one job sets does not reach the next.
        # shellcheck disable=SC2086
        ("$job" ${ARGUMENTS[$job]:-})
        echo "=== $job: ok, $SECONDS s" >&2
    done
}

# A number is an argument for the job before it.
declare -A ARGUMENTS
jobs=()
for word in "${@:-all}"; do
    if ((${#jobs[@]})) && [[ $word =~ ^[0-9]+$ ]]; then
        ARGUMENTS[${jobs[-1]}]=$word
    elif [[ " ${JOBS[*]} ${EXTRA_JOBS[*]} all " == *" $word "* ]]; then
        jobs+=("$word")
    else
        echo "unknown job $word; there are: ${JOBS[*]} all ${EXTRA_JOBS[*]}" >&2
        exit 2
    fi
done
for job in "${jobs[@]}"; do
    if [[ $job == all ]]; then
        # Nothing is built twice.
        export CARGO_INCREMENTAL=0
        run "${JOBS[@]}"
    else
        run "$job"
    fi
done
