//! Whose a data directory is, and what may lie in it.

use pintle_storage::{EngineKind, OpenError, Options, open};

use crate::support::{Site, on_every_engine};
use crate::{put, read, write};

#[test]
fn a_directory_belongs_to_one_process_and_one_engine() {
    on_every_engine(async |site| {
        let store = site.open();
        let id = store.cluster_id().to_owned();
        write(&*store, put("/a", "1")).await;
        let error = open(site.kind, site.path(), Options::default()).err().unwrap();
        assert!(matches!(&error, OpenError::InUse { pid, .. } if *pid == Some(std::process::id())));
        assert!(error.to_string().contains("stop it or use another --data-dir"), "{error}");
        drop(store);
        let other = match site.kind {
            EngineKind::Sled => EngineKind::Redb,
            EngineKind::Redb => EngineKind::Sled,
        };
        let error = open(other, site.path(), Options::default()).err().unwrap();
        assert!(matches!(error, OpenError::OtherEngine { .. }), "{error}");
        assert_eq!(pintle_storage::engine_in(site.path()), Some(site.kind));
        assert_eq!(pintle_storage::engine_in(&site.path().join("new")), None);
        let store = site.open();
        assert_eq!(store.cluster_id(), id);
        assert_eq!(read(&*store, "/a", None).await.as_deref(), Some("1"));
        assert_ne!(Site::new(site.kind).open().cluster_id(), id);
    });
}

#[test]
fn what_an_interrupted_rewrite_or_creation_left_is_removed() {
    on_every_engine(async |site| {
        // A creation that did not get further than its announcement.
        let first = site.path().join(format!("{}-1", site.kind));
        std::fs::create_dir(&first).unwrap();
        std::fs::write(first.join("db"), "half").unwrap();
        std::fs::write(site.path().join("CURRENT"), format!("{}-1 new\n", site.kind)).unwrap();
        write(&*site.open(), put("/a", "1")).await;
        // A rewrite that was not finished.
        let next = site.path().join(format!("{}-2", site.kind));
        std::fs::create_dir(&next).unwrap();
        std::fs::write(next.join("db"), "half").unwrap();
        assert_eq!(read(&*site.open(), "/a", None).await.as_deref(), Some("1"));
        assert!(!next.exists());
        // Without CURRENT nobody can know; nothing is removed then.
        std::fs::remove_file(site.path().join("CURRENT")).unwrap();
        let error = open(site.kind, site.path(), Options::default()).err().unwrap();
        assert!(error.to_string().contains("CURRENT is missing"), "{error}");
        assert!(first.exists());
    });
}
