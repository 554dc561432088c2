#!/bin/sh
# Builds the plugin: build.sh OUT.wasm
set -eu
[ $# = 1 ] || { echo "usage: $0 OUT.wasm" >&2; exit 2; }
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
. "$here/../common.sh"

# clang with lld, or else zig's, which comes as one package for Python.
if [ -n "${CC:-}" ]; then
    :
elif command -v clang > /dev/null 2>&1 && command -v wasm-ld > /dev/null 2>&1; then
    CC="clang --target=wasm32"
else
    CC="$(python_environment zig "$here/requirements.txt")/bin/python -m ziglang cc -target wasm32-freestanding"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck disable=SC2086 # CC is a command with arguments
$CC -std=c11 -Oz -flto -nostdlib -ffreestanding -Wall -Wextra -Wno-unused-parameter \
    -isystem "$here/include" -I "$here" -Wl,--no-entry -Wl,--gc-sections -Wl,--strip-all \
    -o "$work/core.wasm" "$here/scorer.c" "$here/libc.c" "$here/bindings/scheduler_extension_plugin.c"
tools=$(wasm_tools)
"$tools" component embed "$wit" --world scheduler-extension-plugin "$work/core.wasm" -o "$work/embedded.wasm"
"$tools" component new "$work/embedded.wasm" -o "$work/plugin.wasm"
mv "$work/plugin.wasm" "$1"
