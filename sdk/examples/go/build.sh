#!/bin/sh
# Builds the plugin: build.sh OUT.wasm
set -eu
[ $# = 1 ] || { echo "usage: $0 OUT.wasm" >&2; exit 2; }
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
. "$here/../common.sh"
need go "install Go 1.25 or newer from https://go.dev/dl"
tools=$(wasm_tools)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$here"
# The bindings' runtime allocates before Go's is up, through runtime.sbrk; the
# linker must let it.
GOOS=wasip1 GOARCH=wasm go build -trimpath -buildvcs=false -buildmode=c-shared \
    -ldflags='-s -w -checklinkname=0' -o "$work/core.wasm" .
"$tools" component embed "$wit" --world scheduler-extension-plugin "$work/core.wasm" -o "$work/embedded.wasm"
"$tools" component new --adapt wasi_snapshot_preview1="$here/wasi-empty.wat" "$work/embedded.wasm" -o "$work/plugin.wasm"
cd - > /dev/null
mv "$work/plugin.wasm" "$1"
