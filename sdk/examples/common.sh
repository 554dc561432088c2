# Sourced by the build scripts: where tools are kept, and how one is fetched.
# Everything comes from a package registry and lies below one folder, which may
# be deleted at any time.

examples=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
wit=$examples/../../wit
cache=${PINTLE_EXAMPLES_CACHE:-$examples/../../target/examples}
mkdir -p "$cache"
cache=$(CDPATH='' cd -- "$cache" && pwd)

WASM_TOOLS_VERSION=1.263.0

# Ends with 3 if it is a tool that is missing, which a test may skip.
die() {
    echo "$*" >&2
    exit 3
}

need() { # PROGRAM HINT
    command -v "$1" > /dev/null 2>&1 || die "missing: $1; $2"
}

# Two builds at once must not fetch the same tool into the same folder.
once() { # NAME COMMAND...
    name=$1
    shift
    (
        if command -v flock > /dev/null 2>&1; then flock 9; fi
        "$@"
    ) 9> "$cache/$name.lock"
}

# Prints the path of wasm-tools: the one on PATH, or one of our own.
wasm_tools() {
    if command -v wasm-tools > /dev/null 2>&1; then
        command -v wasm-tools
        return
    fi
    tool=$cache/wasm-tools-$WASM_TOOLS_VERSION/bin/wasm-tools
    once wasm-tools install_wasm_tools >&2 || die "cannot install wasm-tools $WASM_TOOLS_VERSION with cargo"
    echo "$tool"
}

install_wasm_tools() {
    [ -x "$tool" ] && return
    need cargo "install Rust from https://rustup.rs"
    # Not optimized, which halves the time; it runs for less than a second.
    # Outer cargos pass on settings that are not meant for this build.
    env -u CARGO_ENCODED_RUSTFLAGS -u RUSTFLAGS -u CARGO_TARGET_DIR -u CARGO_BUILD_TARGET \
        cargo install --debug --quiet --locked --root "$cache/wasm-tools-$WASM_TOOLS_VERSION" \
        --no-default-features --features component "wasm-tools@$WASM_TOOLS_VERSION"
}

# Prints the path of a Python environment that has the given requirements.
python_environment() { # NAME REQUIREMENTS-FILE
    once "$1" install_python "$cache/$1" "$2" >&2 || die "cannot install the packages of $2 with pip"
    echo "$cache/$1"
}

install_python() { # FOLDER REQUIREMENTS-FILE
    [ -f "$1/requirements.txt" ] && cmp -s "$2" "$1/requirements.txt" && return
    need python3 "install Python 3.10 or newer"
    rm -rf "$1"
    python3 -m venv "$1" || die "missing: Python's venv module; on Debian: apt-get install python3-venv"
    "$1/bin/pip" install --quiet --disable-pip-version-check -r "$2" || return 1
    cp "$2" "$1/requirements.txt"
}
