#!/bin/sh
# Makes a small image (docker archive) out of the host's static busybox.
#   image.sh FILE.tar [NAME:TAG]
set -eu
out=${1:?usage: image.sh FILE.tar [NAME:TAG]}
name=${2:-pintle.dev/demo/web:1}
busybox=$(command -v busybox) || {
    echo "image.sh: busybox is missing; install it (apt-get install busybox-static)" >&2
    exit 1
}
# The image holds nothing but this file, so it must need no libraries.
if ldd "$busybox" > /dev/null 2>&1; then
    echo "image.sh: $busybox needs shared libraries; install a static one (apt-get install busybox-static)" >&2
    exit 1
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

root=$work/root
mkdir -p "$root/bin" "$root/etc" "$root/tmp" "$root/root"
cp "$busybox" "$root/bin/busybox"
for applet in $("$root/bin/busybox" --list); do
    [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
done
chmod 1777 "$root/tmp"
echo 'root:x:0:0:root:/root:/bin/sh' > "$root/etc/passwd"
echo 'root:x:0:' > "$root/etc/group"

mkdir "$work/image"
# Fixed times and owners: the same busybox gives the same digest.
tar -C "$root" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner \
    -cf "$work/image/layer.tar" .
diff_id=$(sha256sum "$work/image/layer.tar" | cut -d' ' -f1)
printf '{"architecture":"%s","os":"linux","config":{"Env":["PATH=/bin"],"Cmd":["/bin/sh"],"WorkingDir":"/"},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
    "$(uname -m | sed 's/x86_64/amd64/;s/aarch64/arm64/')" "$diff_id" > "$work/image/config.json"
printf '[{"Config":"config.json","RepoTags":["%s"],"Layers":["layer.tar"]}]' "$name" \
    > "$work/image/manifest.json"
tar -C "$work/image" -cf "$out" config.json layer.tar manifest.json
