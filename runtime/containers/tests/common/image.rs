//! Image archives for tests.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// A tar with plain files.
pub fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        put(&mut builder, tar::EntryType::Regular, name, "", 0o644, bytes);
    }
    builder.into_inner().unwrap()
}

/// Adds an entry; the name may be one that a well-behaved archiver would refuse to write.
pub fn put(
    builder: &mut tar::Builder<Vec<u8>>,
    kind: tar::EntryType,
    name: &str,
    link: &str,
    mode: u32,
    bytes: &[u8],
) {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(bytes.len() as u64);
    let raw = header.as_mut_bytes();
    raw[..name.len()].copy_from_slice(name.as_bytes());
    raw[157..157 + link.len()].copy_from_slice(link.as_bytes());
    header.set_cksum();
    builder.append(&header, bytes).unwrap();
}

/// The layer of a small system: busybox and the names that tests use.
pub fn busybox_layer() -> Vec<u8> {
    let busybox = std::fs::read("/bin/busybox").unwrap();
    let mut builder = tar::Builder::new(Vec::new());
    for dir in ["bin/", "etc/", "tmp/"] {
        put(&mut builder, tar::EntryType::Directory, dir, "", 0o755, b"");
    }
    put(&mut builder, tar::EntryType::Regular, "bin/busybox", "", 0o755, &busybox);
    for applet in [
        "sh", "cat", "echo", "sleep", "id", "hostname", "head", "tail", "stty", "dd", "ls", "kill",
        "yes", "mount", "wc", "seq", "true", "false", "touch", "tr", "grep", "ps",
    ] {
        let name = format!("bin/{applet}");
        put(&mut builder, tar::EntryType::Symlink, &name, "busybox", 0o777, b"");
    }
    let passwd = b"root:x:0:0:root:/:/bin/sh\nweb:x:33:33:web:/:/bin/sh\n";
    put(&mut builder, tar::EntryType::Regular, "etc/passwd", "", 0o644, passwd);
    builder.into_inner().unwrap()
}

pub fn config(diff_ids: &[String]) -> Value {
    json!({
        "created": "2026-01-02T03:04:05Z",
        "architecture": match std::env::consts::ARCH { "x86_64" => "amd64", "aarch64" => "arm64", other => other },
        "os": "linux",
        "config": {
            "Env": ["PATH=/bin", "FROM_IMAGE=yes"],
            "Cmd": ["sh"],
            "User": "web",
            "StopSignal": "SIGQUIT",
        },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    })
}

/// What `docker save` writes, of these uncompressed layers.
pub fn docker_archive(name: &str, layers: &[Vec<u8>]) -> Vec<u8> {
    let diff_ids: Vec<_> = layers.iter().map(|layer| sha256(layer)).collect();
    let config = config(&diff_ids).to_string();
    let names: Vec<_> = (0..layers.len()).map(|n| format!("{n}/layer.tar")).collect();
    let manifest =
        json!([{ "Config": "config.json", "RepoTags": [name], "Layers": names }]).to_string();
    let mut files: Vec<(&str, &[u8])> = vec![("config.json", config.as_bytes())];
    files.extend(names.iter().map(String::as_str).zip(layers.iter().map(Vec::as_slice)));
    files.push(("manifest.json", manifest.as_bytes()));
    tar(&files)
}

pub fn busybox_archive() -> Vec<u8> {
    docker_archive("busybox:test", &[busybox_layer()])
}

/// The files of an OCI layout with gzip layers.
pub fn oci_layout(name: &str, layers: &[Vec<u8>]) -> Vec<(String, Vec<u8>)> {
    let diff_ids: Vec<_> = layers.iter().map(|layer| sha256(layer)).collect();
    let mut files = vec![("oci-layout".to_owned(), b"{\"imageLayoutVersion\":\"1.0.0\"}".to_vec())];
    let mut blob = |bytes: Vec<u8>, kind: &str| {
        let descriptor =
            json!({ "mediaType": kind, "digest": sha256(&bytes), "size": bytes.len() });
        files.push((format!("blobs/{}", sha256(&bytes).replace(':', "/")), bytes));
        descriptor
    };
    let config = blob(
        config(&diff_ids).to_string().into_bytes(),
        "application/vnd.oci.image.config.v1+json",
    );
    let layers: Vec<_> = layers
        .iter()
        .map(|layer| blob(gzip(layer), "application/vnd.oci.image.layer.v1.tar+gzip"))
        .collect();
    let manifest = json!({ "schemaVersion": 2, "config": config, "layers": layers });
    let mut entry =
        blob(manifest.to_string().into_bytes(), "application/vnd.oci.image.manifest.v1+json");
    entry["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
    let index = json!({ "schemaVersion": 2, "manifests": [entry] });
    files.push(("index.json".to_owned(), index.to_string().into_bytes()));
    files
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
