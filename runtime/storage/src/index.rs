//! The in-memory index: which versions each key has and which keys expire when.
//!
//! It holds what the disk holds, never more: the committer installs a batch after the
//! engine has it. Values stay in the engine; a key costs about 150 bytes here and each
//! further version 16.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use bytes::Bytes;
use smallvec::SmallVec;

use crate::{
    envelope::LogEntry,
    keys::{self, Position},
    types::Revision,
};

/// One version of a key. A length of `u32::MAX` marks a delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    revision: Revision,
    sub: u32,
    length: u32,
}

const DELETED: u32 = u32::MAX;

impl Version {
    pub(crate) fn put(at: Position, length: u32) -> Self {
        Self { revision: at.revision, sub: at.sub, length }
    }

    pub(crate) fn delete(at: Position) -> Self {
        Self { revision: at.revision, sub: at.sub, length: DELETED }
    }

    pub(crate) fn at(self) -> Position {
        Position { revision: self.revision, sub: self.sub }
    }

    pub(crate) fn is_delete(self) -> bool {
        self.length == DELETED
    }

    pub(crate) fn length(self) -> u32 {
        if self.is_delete() { 0 } else { self.length }
    }
}

/// What a write needs to know about the key's present version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) create_revision: Revision,
    pub(crate) mod_revision: Revision,
    pub(crate) version: u64,
    pub(crate) expires_at: Option<u64>,
    pub(crate) revision_span: Option<(u32, u8)>,
}

/// A version that a read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) version: Version,
    /// For the key's present version: what else is known of it without its log entry.
    pub(crate) head: Option<Head>,
}

/// A change of one key, ready to become visible.
pub(crate) struct Change {
    pub(crate) key: Bytes,
    pub(crate) version: Version,
    /// `None` for a delete.
    pub(crate) head: Option<Head>,
}

#[derive(Debug)]
struct Entry {
    /// Ascending by revision; never empty.
    versions: SmallVec<[Version; 1]>,
    /// Of the last version; zeros after a delete.
    create_revision: Revision,
    version: u64,
    /// 0: never.
    expires_at: u64,
    /// Of the last version; a length of 0 stands for none.
    revision_span: (u32, u8),
}

impl Entry {
    /// The newest version at or below `revision`.
    fn at(&self, revision: Revision) -> Option<Found> {
        let newer = self.versions.partition_point(|version| version.revision <= revision);
        let version = *self.versions.get(newer.checked_sub(1)?)?;
        let head = if newer == self.versions.len() { self.head() } else { None };
        (!version.is_delete()).then_some(Found { version, head })
    }

    fn head(&self) -> Option<Head> {
        let last = self.versions.last().filter(|version| !version.is_delete())?;
        Some(Head {
            create_revision: self.create_revision,
            mod_revision: last.revision,
            version: self.version,
            expires_at: (self.expires_at != 0).then_some(self.expires_at),
            revision_span: (self.revision_span.1 != 0).then_some(self.revision_span),
        })
    }
}

#[derive(Debug, Default)]
pub(crate) struct Index {
    keys: BTreeMap<Box<[u8]>, Entry>,
    /// By time, then by revision, so that keys due together go in the order they came.
    expiry: BTreeSet<(u64, Revision, Box<[u8]>)>,
    /// Bytes of all versions together: what a freshly written engine would hold.
    bytes: u64,
}

/// What an entry costs in the engine beside its value: keys, envelope, page share.
const ENTRY_OVERHEAD_BYTES: u64 = 160;

impl Index {
    pub(crate) fn head(&self, key: &[u8]) -> Option<Head> {
        self.keys.get(key)?.head()
    }

    pub(crate) fn version_at(&self, key: &[u8], revision: Revision) -> Option<Found> {
        self.keys.get(key)?.at(revision)
    }

    /// Live keys of a range at a revision, at most `limit`; and whether there are more.
    pub(crate) fn range(
        &self,
        start: &[u8],
        end: &[u8],
        revision: Revision,
        limit: usize,
    ) -> (Vec<(Bytes, Found)>, bool) {
        let mut found = Vec::new();
        for (key, entry) in self.keys.range::<[u8], _>(bounds(start, end)) {
            let Some(version) = entry.at(revision) else {
                continue;
            };
            if limit != 0 && found.len() == limit {
                return (found, true);
            }
            found.push((Bytes::copy_from_slice(key), version));
        }
        (found, false)
    }

    pub(crate) fn install(&mut self, change: Change) {
        let Change { key, version, head } = change;
        self.bytes += u64::from(version.length()) + ENTRY_OVERHEAD_BYTES + key.len() as u64;
        let entry = match self.keys.get_mut(key.as_ref()) {
            Some(entry) => entry,
            None => self.keys.entry(Box::from(key.as_ref())).or_insert(Entry {
                versions: SmallVec::new(),
                create_revision: 0,
                version: 0,
                expires_at: 0,
                revision_span: (0, 0),
            }),
        };
        if entry.expires_at != 0 {
            let written = entry.versions.last().map_or(0, |last| last.revision);
            self.expiry.remove(&(entry.expires_at, written, Box::from(key.as_ref())));
        }
        entry.versions.push(version);
        entry.create_revision = head.map_or(0, |head| head.create_revision);
        entry.version = head.map_or(0, |head| head.version);
        entry.expires_at = head.and_then(|head| head.expires_at).unwrap_or(0);
        entry.revision_span = head.and_then(|head| head.revision_span).unwrap_or((0, 0));
        if entry.expires_at != 0 {
            self.expiry.insert((entry.expires_at, version.revision, Box::from(key.as_ref())));
        }
    }

    /// Installs what a log entry says; for rebuilding.
    pub(crate) fn replay(&mut self, at: Position, entry: &LogEntry<'_>) {
        let (version, head) = match entry.put {
            None => (Version::delete(at), None),
            Some(put) => (
                Version::put(at, put.length),
                Some(Head {
                    create_revision: put.create_revision,
                    mod_revision: at.revision,
                    version: put.version,
                    expires_at: put.expires_at_unix_seconds,
                    revision_span: put.revision_span,
                }),
            ),
        };
        self.install(Change { key: Bytes::copy_from_slice(entry.key), version, head });
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Keys due at `now`, by revision, at most `limit`.
    pub(crate) fn due(&self, now: u64, limit: usize) -> Vec<Bytes> {
        let mut due: Vec<_> = self
            .expiry
            .iter()
            .take_while(|(at, ..)| *at <= now)
            .take(limit)
            .map(|(_, revision, key)| (*revision, key))
            .collect();
        due.sort();
        due.into_iter().map(|(_, key)| Bytes::copy_from_slice(key)).collect()
    }

    pub(crate) fn next_expiry(&self) -> Option<u64> {
        self.expiry.first().map(|(at, ..)| *at)
    }

    /// Versions no read at or after `upto` can see. Looks at keys from `cursor` on (`None`:
    /// from the start) until it has seen `max_keys` or found enough to make `max_entries`
    /// engine entries; leaves the cursor where to go on, `None` at the end.
    pub(crate) fn superseded(
        &self,
        upto: Revision,
        cursor: &mut Option<Box<[u8]>>,
        max_keys: usize,
        max_entries: usize,
    ) -> Vec<Obsolete> {
        let start = cursor.take().unwrap_or_default();
        let (mut found, mut entries) = (Vec::new(), 0);
        for (seen, (key, entry)) in self.keys.range::<[u8], _>(bounds(&start, b"")).enumerate() {
            if seen == max_keys || entries >= max_entries {
                *cursor = Some(key.clone());
                break;
            }
            let below = entry.versions.partition_point(|version| version.revision <= upto);
            let Some(newest) = below.checked_sub(1) else {
                continue;
            };
            let keep_newest = !entry.versions[newest].is_delete();
            let gone = if keep_newest { newest } else { below };
            if gone == 0 {
                continue;
            }
            let gone = &entry.versions[..gone];
            entries +=
                gone.iter().map(|v| 1 + usize::from(keys::chunks(v.length()))).sum::<usize>();
            found.push(Obsolete {
                key: Bytes::copy_from_slice(key),
                versions: gone.iter().copied().collect(),
            });
        }
        found
    }

    /// Forgets versions found by [`Index::superseded`].
    pub(crate) fn forget(&mut self, obsolete: &Obsolete) {
        let Some(entry) = self.keys.get_mut(obsolete.key.as_ref()) else {
            return;
        };
        let before = entry.versions.len();
        entry.versions.retain(|version| !obsolete.versions.contains(version));
        entry.versions.shrink_to_fit();
        let removed = (before - entry.versions.len()) as u64;
        let freed: u64 = obsolete.versions.iter().map(|v| u64::from(v.length())).sum();
        self.bytes = self
            .bytes
            .saturating_sub(freed + removed * (ENTRY_OVERHEAD_BYTES + obsolete.key.len() as u64));
        if entry.versions.is_empty() {
            self.keys.remove(obsolete.key.as_ref());
        }
    }
}

/// Versions of one key that can go.
#[derive(Debug)]
pub(crate) struct Obsolete {
    pub(crate) key: Bytes,
    pub(crate) versions: SmallVec<[Version; 4]>,
}

fn bounds<'a>(start: &'a [u8], end: &'a [u8]) -> (Bound<&'a [u8]>, Bound<&'a [u8]>) {
    if end.is_empty() {
        (Bound::Included(start), Bound::Unbounded)
    } else if end <= start {
        // BTreeMap panics on an inverted range; this one is empty.
        (Bound::Included(start), Bound::Excluded(start))
    } else {
        (Bound::Included(start), Bound::Excluded(end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Key, revision, and what happened: a put that expires at that time (0: never), or a
    /// delete.
    fn index(changes: &[(&'static str, Revision, Option<u64>)]) -> Index {
        let mut index = Index::default();
        for (key, revision, put) in changes {
            let at = Position { revision: *revision, sub: 0 };
            let head = put.map(|expires_at| Head {
                create_revision: 1,
                mod_revision: *revision,
                version: 1,
                expires_at: (expires_at != 0).then_some(expires_at),
                revision_span: None,
            });
            let version = if put.is_some() { Version::put(at, 10) } else { Version::delete(at) };
            index.install(Change { key: Bytes::from_static(key.as_bytes()), version, head });
        }
        index
    }

    #[test]
    fn superseded_versions_are_found_in_steps_of_any_size() {
        let changes = [
            ("a", 1, Some(0)),
            ("b", 2, Some(0)),
            ("a", 3, Some(0)),
            ("gone", 4, Some(0)),
            ("gone", 5, None),
            ("a", 6, Some(0)),
            ("b", 7, None),
        ];
        let check = |upto, expect: &[Revision]| {
            for max_keys in 1..4 {
                for max_entries in 1..8 {
                    let mut index = index(&changes);
                    let before: Vec<_> =
                        ["a", "b", "gone"].map(|key| index.version_at(key.as_bytes(), upto)).into();
                    let (mut cursor, mut found) = (None, Vec::new());
                    loop {
                        let step = index.superseded(upto, &mut cursor, max_keys, max_entries);
                        for obsolete in &step {
                            found.extend(obsolete.versions.iter().map(|version| version.revision));
                            index.forget(obsolete);
                        }
                        if cursor.is_none() {
                            break;
                        }
                    }
                    found.sort_unstable();
                    assert_eq!(
                        found, expect,
                        "up to {upto}, {max_keys} keys, {max_entries} entries"
                    );
                    let after: Vec<_> =
                        ["a", "b", "gone"].map(|key| index.version_at(key.as_bytes(), upto)).into();
                    assert_eq!(before, after);
                }
            }
        };
        check(0, &[]);
        check(2, &[]);
        check(3, &[1]);
        check(4, &[1]);
        check(5, &[1, 4, 5]);
        check(7, &[1, 2, 3, 4, 5, 7]);
    }

    #[test]
    fn the_size_is_that_of_what_is_left() {
        let mut all =
            index(&[("a", 1, Some(0)), ("a", 2, Some(0)), ("b", 3, Some(0)), ("b", 4, None)]);
        for obsolete in all.superseded(4, &mut None, 10, 100) {
            all.forget(&obsolete);
        }
        assert_eq!(all.bytes(), index(&[("a", 2, Some(0))]).bytes());
        assert_eq!(all.keys.len(), 1);
    }

    #[test]
    fn only_the_present_version_expires() {
        let index = index(&[
            ("renewed", 1, Some(5)),
            ("kept", 2, Some(5)),
            ("second", 3, Some(4)),
            ("deleted", 4, Some(5)),
            ("first", 2, Some(5)),
            ("renewed", 5, Some(9)),
            ("kept", 6, Some(0)),
            ("deleted", 7, None),
        ]);
        assert_eq!(index.next_expiry(), Some(4));
        let due = |now| index.due(now, 10).iter().map(|key| key.to_vec()).collect::<Vec<_>>();
        assert_eq!(due(3), Vec::<Vec<u8>>::new());
        assert_eq!(due(5), [b"first".to_vec(), b"second".to_vec()]);
        assert_eq!(due(9).len(), 3);
        assert_eq!(index.due(9, 1).len(), 1);
    }
}
