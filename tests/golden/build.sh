#!/bin/sh
# Builds the golden guests of the contract's present version into a folder of
# that name. Done once per version, when it is released; what is committed then
# never changes again.
set -eu
version=0.1.0
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$here/../..
mkdir -p "$here/$version"
builder=$root/target/debug/pintle-plugin-build
(cd "$root" && cargo build --quiet -p pintle-plugin-build)
cd "$here/src"
for role in controller scheduler admission cni scheduler-extension authorizer; do
    "$builder" "golden-$role" "$here/$version/$role.wasm"
done
"$root/sdk/examples/c/build.sh" "$here/$version/scheduler-extension-c.wasm"
rm -rf "$here/src/target"
ls -l "$here/$version"
