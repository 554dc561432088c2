//! An image for tests, made of the machine's own busybox.

use serde_json::json;
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

const APPLETS: [&str; 14] = [
    "sh", "cat", "echo", "sleep", "id", "hostname", "ls", "mount", "touch", "true", "false", "ip",
    "stty", "wc",
];

fn add(builder: &mut Builder<Vec<u8>>, kind: EntryType, name: &str, link: &str, bytes: &[u8]) {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(bytes.len() as u64);
    header.set_path(name).unwrap();
    if !link.is_empty() {
        header.set_link_name(link).unwrap();
    }
    header.set_cksum();
    builder.append(&header, bytes).unwrap();
}

pub fn busybox_archive() -> Vec<u8> {
    let busybox = std::fs::read("/bin/busybox").unwrap();
    let mut layer = Builder::new(Vec::new());
    for dir in ["bin/", "etc/", "tmp/", "dev/"] {
        add(&mut layer, EntryType::Directory, dir, "", b"");
    }
    add(&mut layer, EntryType::Regular, "bin/busybox", "", &busybox);
    for applet in APPLETS {
        add(&mut layer, EntryType::Symlink, &format!("bin/{applet}"), "busybox", b"");
    }
    add(&mut layer, EntryType::Regular, "etc/passwd", "", b"root:x:0:0:root:/:/bin/sh\n");
    let layer = layer.into_inner().unwrap();
    let config = json!({
        "architecture": match std::env::consts::ARCH { "x86_64" => "amd64", "aarch64" => "arm64", other => other },
        "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", hex::encode(Sha256::digest(&layer)))]},
    });
    let manifest =
        json!([{"Config": "config.json", "RepoTags": ["busybox:test"], "Layers": ["layer.tar"]}]);
    let mut archive = Builder::new(Vec::new());
    add(&mut archive, EntryType::Regular, "config.json", "", config.to_string().as_bytes());
    add(&mut archive, EntryType::Regular, "layer.tar", "", &layer);
    add(&mut archive, EntryType::Regular, "manifest.json", "", manifest.to_string().as_bytes());
    archive.into_inner().unwrap()
}
