#!/bin/sh
# Installs what is missing on Debian and Ubuntu; elsewhere says what to install.
set -eu
missing=""
need() { # PROGRAM PACKAGE
    PATH=$PATH:/usr/sbin:/sbin command -v "$1" > /dev/null 2>&1 || missing="$missing $2"
}
need runc runc
need nft nftables
need ip iproute2
need nsenter util-linux
need busybox busybox-static
need cc gcc
if [ -n "$missing" ]; then
    if command -v apt-get > /dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
        echo "installing:$missing"
        # shellcheck disable=SC2086
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $missing; } > /dev/null || {
            echo "apt-get could not install:$missing" >&2
            exit 1
        }
    else
        echo "please install:$missing (as root with apt-get, or with your system's packages)" >&2
        exit 1
    fi
fi
# For the tests alone, which say so when they do without it.
if ! command -v docker-registry > /dev/null 2>&1 && command -v apt-get > /dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
    # Tests start their own; the package's service is not wanted.
    { DEBIAN_FRONTEND=noninteractive apt-get install -y -qq docker-registry > /dev/null 2>&1 &&
        { systemctl disable --now docker-registry > /dev/null 2>&1 || true; }; } ||
        echo "docker-registry cannot be installed: tests with a registry will be skipped" >&2
fi
command -v cargo > /dev/null 2>&1 || {
    echo "Rust is missing: install it from https://rustup.rs, then try again" >&2
    exit 1
}

# The plugins' target: rustup's, or else what Debian packages of it. The build
# finds out by itself which one is there.
target=wasm32-unknown-unknown
has_target() { ls "$(rustc --print target-libdir --target $target)"/libcore-*.rlib > /dev/null 2>&1; }
if ! has_target && ! { rustup target add $target > /dev/null 2>&1 && has_target; }; then
    if command -v apt-get > /dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
        echo "rustup cannot add $target: installing Debian's rustc-web cargo-web rust-web-src lld-22"
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
            rustc-web cargo-web rust-web-src lld-22; } > /dev/null || {
            echo "neither rustup nor apt-get can provide $target" >&2
            exit 1
        }
    else
        echo "please run: rustup target add $target" >&2
        exit 1
    fi
fi
