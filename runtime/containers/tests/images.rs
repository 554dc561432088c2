//! Importing images: what is accepted, and how what is not is refused.

mod common;

use std::path::PathBuf;

use common::image::{self, busybox_layer, docker_archive, gzip, oci_layout, tar};
use common::store::{DIR, FILE, Store, chain, layer, open, root};
use pintle_containers::{ContentStore, ImportLimits, StoreError, resolve_user};
use tar::EntryType;

#[test]
fn docker_archives_and_oci_layouts_give_the_same_image() {
    if !root() {
        return;
    }
    let layers = [busybox_layer(), layer(&[(FILE, "etc/motd", "", b"hi")])];
    let docker = docker_archive("app:v1", &layers);
    let files = oci_layout("app:v2", &layers);
    let named: Vec<(&str, &[u8])> = files.iter().map(|(n, b)| (n.as_str(), b.as_slice())).collect();
    let oci = tar(&named);
    let it = open();
    let unpacked = tempfile::tempdir().unwrap();
    for (name, bytes) in &files {
        let path = unpacked.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    it.store.import_reader(&docker[..], None).unwrap();
    it.store.import_reader(&gzip(&oci)[..], None).unwrap();
    it.store.import(unpacked.path(), Some("app:v3")).unwrap();
    it.store.import_reader(&zstd::encode_all(&docker[..], 1).unwrap()[..], Some("app:v4")).unwrap();
    let names: Vec<_> = it.store.list().unwrap().into_iter().map(|record| record.name).collect();
    assert_eq!(names, ["app:v1", "app:v2", "app:v3", "app:v4"]);
    let images: Vec<_> =
        names.iter().map(|name| it.store.resolve(name).unwrap().unwrap()).collect();
    for image in &images {
        assert_eq!(image.config, images[0].config);
        assert_eq!(image.id, images[0].id);
        assert_eq!(image.layers[1].chain_id, images[0].layers[1].chain_id);
    }
    let config = &images[0].config;
    assert_eq!(config.cmd, ["sh"]);
    assert_eq!((config.user.as_str(), config.signal()), ("web", 3));
    assert_eq!(config.env[1], ("FROM_IMAGE".into(), "yes".into()));
    assert_eq!(images[0].name, "app:v1");
    let by_id = it.store.resolve(&images[0].id).unwrap().unwrap();
    assert_eq!(by_id.id, images[0].id);
    assert!(it.store.resolve("other").unwrap().is_none());
    // Two names of one image: the second keeps its content.
    for name in &names[..3] {
        assert!(it.store.remove(name).unwrap());
    }
    assert!(!it.store.remove("app:v1").unwrap());
    assert!(it.store.resolve("app:v4").unwrap().is_some());
    it.store.remove("app:v4").unwrap();
    assert_eq!(it.content(), Vec::<PathBuf>::new());
}

#[test]
fn damaged_archives_are_refused_whole() {
    if !root() {
        return;
    }
    let it = open();
    let archive = docker_archive("x:1", &[busybox_layer()]);
    it.refuses(&archive[..archive.len() / 2], "truncated");
    it.refuses(&archive[..700], "truncated");
    let packed = gzip(&archive);
    it.refuses(&packed[..packed.len() / 2], "truncated");
    it.refuses(b"", "not an image");
    it.refuses(&tar(&[("readme", b"x")]), "not an image");
    it.refuses(&tar(&[("manifest.json", b"{")]), "manifest.json is malformed");
    let manifest = br#"[{"Config":"c","RepoTags":["x"],"Layers":["l"]}]"#;
    it.refuses(&tar(&[("manifest.json", manifest)]), "c is missing");
    // The config promises another layer than there is.
    let config = image::config(&[image::sha256(b"other")]).to_string();
    let files: [(&str, &[u8]); 3] = [
        ("manifest.json", manifest),
        ("c", config.as_bytes()),
        ("l", &layer(&[(FILE, "f", "", b"")])),
    ];
    it.refuses(&tar(&files), "damaged or was changed");
}

#[test]
fn a_blob_whose_content_was_changed_is_refused() {
    if !root() {
        return;
    }
    let it = open();
    let mut files = oci_layout("x:1", &[layer(&[(FILE, "f", "", b"")])]);
    let (_, config) = files.iter_mut().find(|(name, _)| name.starts_with("blobs/")).unwrap();
    config.push(b' ');
    let named: Vec<(&str, &[u8])> = files.iter().map(|(n, b)| (n.as_str(), b.as_slice())).collect();
    it.refuses(&tar(&named), "damaged or was changed");
}

#[test]
fn limits_hold() {
    if !root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let limits = ImportLimits {
        blob_bytes: 2 << 20,
        layer_bytes: 50_000,
        layer_entries: 5,
        layers: 2,
        ..ImportLimits::default()
    };
    let store = ContentStore::open_with(dir.path(), limits).unwrap();
    let it = Store { dir, store };
    it.refuses(
        &docker_archive("x:1", &[layer(&[(FILE, "f", "", &vec![0; 3 << 20])])]),
        "more than the limit",
    );
    it.refuses(
        &docker_archive("x:1", &[layer(&[(FILE, "f", "", &vec![0; 60_000])])]),
        "more than 50000 bytes",
    );
    let names: Vec<String> = (0..6).map(|n| n.to_string()).collect();
    let entries: Vec<(EntryType, &str, &str, &[u8])> =
        names.iter().map(|name| (FILE, name.as_str(), "", &b""[..])).collect();
    it.refuses(&docker_archive("x:1", &[layer(&entries)]), "more than 5 entries");
}

#[test]
fn names_are_needed_once_and_for_one_image() {
    if !root() {
        return;
    }
    let it = open();
    let files = oci_layout("x:1", &[layer(&[(FILE, "f", "", b"")])]);
    let nameless: Vec<(&str, Vec<u8>)> = files
        .iter()
        .map(|(name, bytes)| {
            let text = String::from_utf8_lossy(bytes).replace("ref.name", "other");
            (name.as_str(), if name == "index.json" { text.into_bytes() } else { bytes.clone() })
        })
        .collect();
    let named: Vec<(&str, &[u8])> = nameless.iter().map(|(n, b)| (*n, b.as_slice())).collect();
    let archive = tar(&named);
    assert!(matches!(it.store.import_reader(&archive[..], None), Err(StoreError::NoName)));
    for bad in ["", "two words", "-x", "a\u{1b}[2J"] {
        let error = it.store.import_reader(&archive[..], Some(bad)).unwrap_err();
        assert!(matches!(error, StoreError::BadName(_)), "{error}");
    }
    let records = it.store.import_reader(&archive[..], Some("given:1")).unwrap();
    assert_eq!(records[0].name, "given:1");
}

#[test]
fn what_is_no_tar_is_called_so() {
    let it = open();
    for noise in [&b"not a tar"[..], &[0xa7; 512], &[0xa7; 4000]] {
        let error = it.store.import_reader(noise, None).unwrap_err();
        assert!(matches!(error, StoreError::NotAnArchive), "{error}");
    }
    let error = it.store.import_reader(&[0; 1024][..], None).unwrap_err();
    assert!(matches!(error, StoreError::NotAnImage), "{error}");
}

#[test]
fn what_an_interrupted_import_left_is_removed_at_open() {
    if !root() {
        return;
    }
    let it = open();
    let left = it.dir.path().join("staging/1-2-3");
    std::fs::create_dir(&left).unwrap();
    std::fs::write(left.join("x"), "half").unwrap();
    // One that is still at work in another process keeps its own.
    let busy = it.dir.path().join("staging/4-5-6");
    std::fs::create_dir(&busy).unwrap();
    let lock = std::fs::File::open(&busy).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    ContentStore::open(it.dir.path()).unwrap();
    assert!(!left.exists() && busy.exists());
}

#[test]
fn several_imports_at_once() {
    if !root() {
        return;
    }
    let it = open();
    let archive = docker_archive("base:1", &[busybox_layer()]);
    std::thread::scope(|scope| {
        for n in 0..4 {
            let (archive, path) = (&archive, it.dir.path());
            scope.spawn(move || {
                let store = ContentStore::open(path).unwrap();
                store.import_reader(&archive[..], Some(&format!("i:{n}"))).unwrap();
            });
        }
    });
    assert_eq!(it.store.list().unwrap().len(), 4);
    let image = it.store.resolve("i:3").unwrap().unwrap();
    let rootfs = it.store.snapshots().prepare(&image, "k").unwrap();
    let user = resolve_user(&rootfs, &image.config.user).unwrap();
    it.store.snapshots().remove("k").unwrap();
    assert_eq!(user.uid, 33);
}

#[test]
fn of_several_platforms_the_machine_s_own_is_taken() {
    if !root() {
        return;
    }
    let check = |own: &str, expect: &str| {
        let it = open();
        let mut files = oci_layout("x:1", &[layer(&[(FILE, "f", "", b"")])]);
        let (_, index) = files.pop().unwrap();
        let mut index: serde_json::Value = serde_json::from_slice(&index).unwrap();
        let mut manifest = index["manifests"][0].take();
        manifest["platform"] = serde_json::json!({ "os": "linux", "architecture": own });
        let mut foreign = manifest.clone();
        foreign["digest"] = image::sha256(b"not here").into();
        foreign["platform"]["architecture"] = "z80".into();
        let inner =
            serde_json::json!({ "schemaVersion": 2, "manifests": [foreign, manifest] }).to_string();
        let digest = image::sha256(inner.as_bytes());
        let outer = serde_json::json!({ "schemaVersion": 2, "manifests": [
            { "digest": digest, "size": inner.len(), "mediaType": "application/vnd.oci.image.index.v1+json" }
        ] });
        files.push((format!("blobs/{}", digest.replace(':', "/")), inner.into_bytes()));
        files.push(("index.json".into(), outer.to_string().into_bytes()));
        let named: Vec<(&str, &[u8])> =
            files.iter().map(|(n, b)| (n.as_str(), b.as_slice())).collect();
        match it.store.import_reader(&tar(&named)[..], Some("x:1")) {
            Ok(_) => assert_eq!(expect, ""),
            Err(error) => assert!(!expect.is_empty() && chain(&error).contains(expect), "{error}"),
        }
    };
    let own = image::config(&[])["architecture"].as_str().unwrap().to_owned();
    check(&own, "");
    check("mips", "no manifest for linux/");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 64, ..Default::default() })]

    /// Whatever is done to an archive, it is imported whole or leaves nothing.
    #[test]
    fn damaged_anywhere(
        flips in proptest::collection::vec((proptest::prelude::any::<proptest::sample::Index>(), 0u8..8), 0..4),
        cut in proptest::option::of(proptest::prelude::any::<proptest::sample::Index>()),
    ) {
        if !rustix::process::geteuid().is_root() {
            return Ok(());
        }
        let it = open();
        let small = layer(&[(DIR, "d/", "", b""), (FILE, "d/f", "", b"text"), (EntryType::Symlink, "l", "d", b"")]);
        let mut archive = docker_archive("x:1", &[small]);
        for (index, bit) in flips {
            let at = index.index(archive.len());
            archive[at] ^= 1 << bit;
        }
        if let Some(index) = cut {
            archive.truncate(index.index(archive.len()));
        }
        if it.store.import_reader(&archive[..], None).is_err() {
            proptest::prop_assert_eq!(it.content(), Vec::<PathBuf>::new());
            proptest::prop_assert!(it.store.list().unwrap().is_empty());
        }
    }
}
