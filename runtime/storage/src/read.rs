//! Reads: the index says where a version lies, the engine has its bytes.

use std::{
    ops::ControlFlow,
    sync::{Arc, atomic::Ordering},
    thread,
};

use bytes::{Bytes, BytesMut};

use crate::{
    engine::Engine,
    envelope::{self, LogEntry, Put},
    error::StorageError,
    index::{Found, Version},
    keys::{self, Position},
    mvcc::Shared,
    types::{Page, ReadError, Record, Revision, StoreEvent},
};

impl<E> Shared<E> {
    /// The revision to read at, if it can be read.
    fn readable(&self, at: Option<Revision>) -> Result<Revision, ReadError> {
        let current = self.revision.load(Ordering::Acquire);
        let Some(requested) = at else {
            return Ok(current);
        };
        let oldest = self.compacted.load(Ordering::Acquire);
        if requested > current {
            Err(ReadError::Future { requested, current })
        } else if requested < oldest {
            Err(ReadError::Compacted { requested, oldest })
        } else {
            Ok(requested)
        }
    }
}

impl<E: Engine> Shared<E> {
    pub(crate) fn get(
        &self,
        key: &[u8],
        at: Option<Revision>,
    ) -> Result<Option<Record>, ReadError> {
        let mut missing = None;
        loop {
            let (found, files) = {
                let index = self.index.read();
                let revision = self.readable(at)?;
                (index.version_at(key, revision), self.files())
            };
            let Some(found) = found else {
                return Ok(None);
            };
            if let Some(record) = record(&files.engine, Bytes::copy_from_slice(key), found)? {
                return Ok(Some(record));
            }
            compacted_meanwhile(found.version, &mut missing)?;
        }
    }

    pub(crate) fn range(
        &self,
        start: &[u8],
        end: &[u8],
        at: Option<Revision>,
        limit: usize,
    ) -> Result<Page, ReadError> {
        let mut missing = None;
        'again: loop {
            let (revision, (found, more), files) = {
                let index = self.index.read();
                let revision = self.readable(at)?;
                (revision, index.range(start, end, revision, limit), self.files())
            };
            let mut records = Vec::with_capacity(found.len());
            for (version, record) in records_of(&files.engine, found)? {
                match record {
                    Some(record) => records.push(record),
                    None => {
                        compacted_meanwhile(version, &mut missing)?;
                        continue 'again;
                    }
                }
            }
            return Ok(Page { records, more, revision });
        }
    }

    pub(crate) fn events(
        &self,
        prefix: &[u8],
        after: Revision,
        max: usize,
    ) -> Result<Vec<StoreEvent>, ReadError> {
        let current = self.revision.load(Ordering::Acquire);
        self.readable(Some(after.min(current)))?;
        if after >= current {
            return Ok(Vec::new());
        }
        let mut found: Vec<(Bytes, Position, Option<Put>)> = Vec::new();
        let mut damage = None;
        let files = self.files();
        files
            .engine
            .scan(&keys::log_after(after), &keys::log_after(current), &mut |key, value| {
                let Some(at) = keys::parse_log(key) else {
                    return ControlFlow::Continue(());
                };
                if found.len() >= max
                    && found.last().is_none_or(|(_, last, _)| last.revision != at.revision)
                {
                    return ControlFlow::Break(());
                }
                match envelope::decode(value) {
                    Ok(entry) if entry.key.starts_with(prefix) => {
                        found.push((Bytes::copy_from_slice(entry.key), at, entry.put));
                        ControlFlow::Continue(())
                    }
                    Ok(_) => ControlFlow::Continue(()),
                    Err(error) => {
                        damage = Some(StorageError::entry(at.revision, error));
                        ControlFlow::Break(())
                    }
                }
            })
            .map_err(storage)?;
        if let Some(damage) = damage {
            return Err(storage(damage));
        }
        let mut events = Vec::with_capacity(found.len());
        for (key, at, put) in found {
            let record = match put {
                None => None,
                Some(put) => match value(&files.engine, at, put.length)? {
                    Some(value) => Some(written(key.clone(), value, at, put)),
                    None => {
                        self.readable(Some(after))?;
                        return Err(lost(at));
                    }
                },
            };
            events.push(StoreEvent { key, revision: at.revision, record });
        }
        // A compaction that overtook the scan has left gaps in it.
        self.readable(Some(after))?;
        Ok(events)
    }
}

/// Reads below this many are not worth a thread.
const READS_PER_THREAD: usize = 1024;

type Read = (Version, Option<Record>);

/// The records of versions, in the order of these. The engine is read in the order in which
/// it was written, in which neighbours lie together, and by all cores: the first thing a
/// server does is to read everything.
fn records_of<E: Engine>(engine: &E, found: Vec<(Bytes, Found)>) -> Result<Vec<Read>, ReadError> {
    let mut order: Vec<usize> = (0..found.len()).collect();
    order.sort_unstable_by_key(|n| found[*n].1.version.at());
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = (found.len() / READS_PER_THREAD).clamp(1, cores);
    let read = |part: &[usize]| -> Result<Vec<(usize, Read)>, ReadError> {
        let records = part.iter().map(|n| {
            let (key, found) = &found[*n];
            Ok((*n, (found.version, record(engine, key.clone(), *found)?)))
        });
        records.collect()
    };
    let parts = order.chunks(found.len().div_ceil(threads).max(1));
    let read: Vec<_> = thread::scope(|scope| {
        let mut parts = parts.into_iter();
        let own = parts.next();
        let others: Vec<_> = parts.map(|part| scope.spawn(move || read(part))).collect();
        let own = own.map(&read);
        let others = others.into_iter().map(|thread| thread.join());
        // A thread that panicked has said so; nothing is known of what it was to read.
        let others = others.map(|joined| joined.unwrap_or(Err(ReadError::Closed)));
        own.into_iter().chain(others).collect()
    });
    let mut records: Vec<Option<Read>> = found.iter().map(|_| None).collect();
    for part in read {
        for (n, record) in part? {
            records[n] = Some(record);
        }
    }
    Ok(records.into_iter().flatten().collect())
}

/// A version's record; `None` when it is not in the engine (any more).
fn record<E: Engine>(engine: &E, key: Bytes, found: Found) -> Result<Option<Record>, ReadError> {
    let at = found.version.at();
    if let Some(head) = found.head {
        let value = value(engine, at, found.version.length())?;
        return Ok(value.map(|value| Record {
            key,
            value,
            revision_span: head.revision_span,
            create_revision: head.create_revision,
            mod_revision: at.revision,
            version: head.version,
        }));
    }
    let Some(bytes) = engine.get(&keys::log(at)).map_err(storage)? else {
        return Ok(None);
    };
    let entry = envelope::decode(&bytes)
        .map_err(|error| storage(StorageError::entry(at.revision, error)))?;
    let LogEntry { put: Some(put), .. } = entry else {
        return Err(lost(at));
    };
    let value = value(engine, at, put.length)?;
    Ok(value.map(|value| written(key, value, at, put)))
}

/// A value from its chunks; `None` when one is not there (any more).
fn value<E: Engine>(engine: &E, at: Position, length: u32) -> Result<Option<Bytes>, ReadError> {
    let chunks = keys::chunks(length);
    if chunks == 1 {
        return engine.get(&keys::chunk(at, 0)).map_err(storage);
    }
    let mut value = BytesMut::with_capacity(length as usize);
    for n in 0..chunks {
        match engine.get(&keys::chunk(at, n)).map_err(storage)? {
            Some(chunk) => value.extend_from_slice(&chunk),
            None => return Ok(None),
        }
    }
    Ok(Some(value.freeze()))
}

/// A version the index named was not in the engine. Once: a compaction overtook the
/// read, which has to look again. The same version twice: it is lost.
fn compacted_meanwhile(version: Version, missing: &mut Option<Version>) -> Result<(), ReadError> {
    if missing.replace(version) == Some(version) {
        return Err(lost(version.at()));
    }
    Ok(())
}

fn written(key: Bytes, value: Bytes, at: Position, put: Put) -> Record {
    Record {
        key,
        value,
        revision_span: put.revision_span,
        create_revision: put.create_revision,
        mod_revision: at.revision,
        version: put.version,
    }
}

fn lost(at: Position) -> ReadError {
    storage(StorageError::Missing { revision: at.revision })
}

fn storage(error: StorageError) -> ReadError {
    ReadError::Storage(Arc::new(error))
}
