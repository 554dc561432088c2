#!/bin/sh
# Builds the plugin: build.sh OUT.wasm
set -eu
[ $# = 1 ] || { echo "usage: $0 OUT.wasm" >&2; exit 2; }
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
. "$here/../common.sh"
python=$(python_environment python "$here/requirements.txt")

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Python leaves compiled files beside what it reads.
cp "$here/scorer.py" "$work/"
"$python/bin/componentize-py" --wit-path "$wit" --world scheduler-extension-plugin \
    componentize --python-path "$work" scorer --output "$work/plugin.wasm" > "$work/output" 2>&1 || {
    cat "$work/output" >&2
    exit 1
}
mv "$work/plugin.wasm" "$1"
