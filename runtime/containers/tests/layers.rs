//! Unpacking layers: what reaches the root file system, and what would leave it.

mod common;

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use common::image::{docker_archive, put};
use common::store::{DIR, FILE, layer, open, root};
use tar::EntryType;

#[test]
fn whiteouts_owners_and_modes_reach_the_root_file_system() {
    if !root() {
        return;
    }
    let below = layer(&[
        (DIR, "a/", "", b""),
        (FILE, "a/gone", "", b"1"),
        (FILE, "a/kept", "", b"2"),
        (DIR, "b/", "", b""),
        (FILE, "b/hidden", "", b"3"),
        (DIR, "c/", "", b""),
        (FILE, "c/old", "", b"4"),
        (EntryType::Symlink, "run", "/var/run", b""),
    ]);
    let mut above = tar::Builder::new(Vec::new());
    put(&mut above, FILE, "a/.wh.gone", "", 0o644, b"");
    put(&mut above, DIR, "b/", "", 0o755, b"");
    put(&mut above, FILE, "b/.wh..wh..opq", "", 0o644, b"");
    put(&mut above, FILE, "b/new", "", 0o4755, b"5");
    put(&mut above, EntryType::Link, "b/same", "b/new", 0o4755, b"");
    put(&mut above, FILE, ".wh.c", "", 0o644, b"");
    put(&mut above, DIR, "c/", "", 0o700, b"");
    put(&mut above, EntryType::Char, "null", "", 0o666, b"");
    put(&mut above, EntryType::Fifo, "fifo", "", 0o600, b"");
    let it = open();
    let archive = docker_archive("x:1", &[below, above.into_inner().unwrap()]);
    it.store.import_reader(&archive[..], None).unwrap();
    let image = it.store.resolve("x:1").unwrap().unwrap();
    let snapshots = it.store.snapshots();
    let rootfs = snapshots.prepare(&image, "k1").unwrap();
    assert_eq!(snapshots.prepare(&image, "k1").unwrap(), rootfs);
    let names = |dir: &str| {
        let mut names: Vec<_> = std::fs::read_dir(rootfs.join(dir))
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names("."), ["a", "b", "c", "fifo", "run"]);
    assert_eq!(names("a"), ["kept"]);
    assert_eq!(names("b"), ["new", "same"]);
    assert_eq!(names("c"), Vec::<String>::new());
    let meta = std::fs::metadata(rootfs.join("b/same")).unwrap();
    assert_eq!((meta.permissions().mode() & 0o7777, meta.nlink()), (0o4755, 2));
    assert!(std::fs::metadata(rootfs.join("fifo")).unwrap().file_type().is_fifo());
    assert_eq!(std::fs::metadata(&rootfs).unwrap().permissions().mode() & 0o777, 0o755);

    // Written above, never into the image; kept while in use; gone with the key.
    std::fs::write(rootfs.join("a/mine"), "x").unwrap();
    let other = snapshots.prepare(&image, "k2").unwrap();
    assert!(!other.join("a/mine").exists());
    it.store.remove("x:1").unwrap();
    assert!(rootfs.join("b/new").exists());
    assert_eq!(snapshots.list().unwrap(), ["k1", "k2"]);
    snapshots.remove("k1").unwrap();
    snapshots.remove("k2").unwrap();
    snapshots.remove("k2").unwrap();
    assert!(!rootfs.exists());
    assert!(snapshots.prepare(&image, "../k").is_err());
}

#[test]
fn more_layers_than_fit_into_mount_options() {
    if !root() {
        return;
    }
    let names: Vec<String> = (0..60).map(|n| format!("f{n}")).collect();
    let layers: Vec<_> =
        names.iter().map(|name| layer(&[(FILE, name.as_str(), "", b"x")])).collect();
    let it = open();
    it.store.import_reader(&docker_archive("many:1", &layers)[..], None).unwrap();
    let image = it.store.resolve("many:1").unwrap().unwrap();
    let rootfs = it.store.snapshots().prepare(&image, "many").unwrap();
    let count = std::fs::read_dir(&rootfs).unwrap().count();
    it.store.snapshots().remove("many").unwrap();
    assert_eq!(count, 60);
}

#[test]
fn entries_that_would_leave_are_refused() {
    if !root() {
        return;
    }
    let it = open();
    let bad_layer = |entries: &[(EntryType, &str, &str, &[u8])], expect: &str| {
        it.refuses(&docker_archive("x:1", &[layer(entries)]), expect);
    };
    bad_layer(&[(FILE, "../evil", "", b"x")], "leaves the layer");
    bad_layer(&[(FILE, "a/../../evil", "", b"x")], "leaves the layer");
    bad_layer(
        &[(EntryType::Symlink, "l", "/tmp/no-such-place", b""), (FILE, "l/evil", "", b"x")],
        "symbolic link that leaves",
    );
    bad_layer(
        &[(EntryType::Symlink, "l", "../../../../tmp/none", b""), (FILE, "l/evil", "", b"x")],
        "symbolic link that leaves",
    );
    bad_layer(&[(EntryType::Link, "h", "/etc/shadow", b"")], "hard link");
    bad_layer(&[(EntryType::Link, "h", "../../etc/shadow", b"")], "hard link");
    bad_layer(&[(EntryType::Link, "h", "h", b"")], "hard link to itself");
    bad_layer(&[(FILE, ".wh.f", "", b""), (EntryType::Link, "h", "f", b"")], "not a file");
    bad_layer(&[(FILE, ".wh...", "", b"")], "hides nothing");
    bad_layer(&[(FILE, "f", "", b""), (FILE, "f/g", "", b"")], "not a directory");
    it.refuses(&layer(&[(FILE, "../manifest.json", "", b"[]")]), "leaves the archive");
    it.refuses(
        &layer(&[(EntryType::Symlink, "manifest.json", "/etc/passwd", b"")]),
        "links outside the archive",
    );
    it.refuses(&layer(&[(EntryType::Fifo, "manifest.json", "", b"")]), "only files");
}

#[test]
fn links_that_mean_a_place_inside_stay_inside() {
    if !root() {
        return;
    }
    let marker = format!("pintle-{}", std::process::id());
    let file = format!("out/{marker}");
    let it = open();
    let inside = layer(&[
        (DIR, "tmp/", "", b""),
        (EntryType::Symlink, "out", "/tmp", b""),
        (FILE, &file, "", b"x"),
    ]);
    it.store.import_reader(&docker_archive("x:1", &[inside])[..], None).unwrap();
    assert!(!Path::new("/tmp").join(&marker).exists());
    let image = it.store.resolve("x:1").unwrap().unwrap();
    let rootfs = it.store.snapshots().prepare(&image, "k").unwrap();
    let there = rootfs.join("tmp").join(&marker).exists();
    it.store.snapshots().remove("k").unwrap();
    assert!(there);
}
