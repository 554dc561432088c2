//! The watch bus: every current object in memory, indexed, and every recent event, kept
//! once for however many watchers there are.
//!
//! Read [`Bus`] first, then [`Watcher`]. The bus follows a [`pintle_storage::Store`]: the
//! store's committer calls it after a batch has reached the disk and before the writers
//! are answered, so whoever has written finds the write here.
//!
//! What it does not know: HTTP, selectors' syntax, who may see what. It hands out
//! [`Object`]s (the stored JSON bytes plus the metadata worth looking at without parsing
//! them) and [`Event`]s; [`Event::for_selector`] applies a predicate with Kubernetes'
//! semantics of objects that start or stop matching.
//!
//! Reading the past: [`Bus::at`] answers as of a revision although newer events exist, by
//! undoing them; the rings hold each event with the state before it.
//!
//! How an event travels: it is appended to the ring of its resource, which is bounded in
//! bytes and age, and its position is noted with those topics that are being watched. A
//! watcher is a cursor into the ring. Publishing therefore costs nothing per watcher that
//! is not concerned, and one wake-up per batch for each that is. A watcher the ring has
//! overtaken gets [`Gone`]; the publisher never waits.

mod bus;
mod event;
mod label;
mod load;
mod object;
mod parse;
mod pinned;
mod query;
mod ring;
mod shelf;
mod topic;
mod watcher;

pub use bus::{Bus, Listing, Options};
pub use event::{Event, EventKind};
pub use label::{Label, Labels};
pub use load::LoadError;
pub use object::{Meta, Object, Owner};
pub use pinned::{Changes, Pinned, RevisionGone};
pub use pintle_storage::Revision;
pub use query::Query;
pub use topic::Topic;
pub use watcher::{From, Gone, Watcher};
