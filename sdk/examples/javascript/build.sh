#!/bin/sh
# Builds the plugin: build.sh OUT.wasm
set -eu
[ $# = 1 ] || { echo "usage: $0 OUT.wasm" >&2; exit 2; }
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
. "$here/../common.sh"
need node "install Node.js 18 or newer"
need npm "install Node.js 18 or newer"

install_packages() {
    cmp -s "$here/package-lock.json" "$packages/installed" && return
    mkdir -p "$packages"
    cp "$here/package.json" "$here/package-lock.json" "$packages/"
    npm ci --prefix "$packages" --silent --no-audit --no-fund --no-update-notifier || return 1
    cp "$here/package-lock.json" "$packages/installed"
}
packages=$cache/javascript
once javascript install_packages || die "cannot install the packages of package-lock.json with npm"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$packages/node_modules/.bin/componentize-qjs" --sync --opt-size --wit "$wit" --world scheduler-extension-plugin \
    --js "$here/scorer.js" --output "$work/plugin.wasm" > "$work/output" || { cat "$work/output" >&2; exit 1; }
mv "$work/plugin.wasm" "$1"
