//! How the flows tell what they are doing, without knowing who listens.
//!
//! `create`, `load` and the others take a `&dyn Progress`. The command line draws bars or writes
//! lines from it; a program that uses the library may pass [`Silent`] or something of its own.

/// Names an item between [`Progress::item`] and [`Progress::finish_item`]. What it holds is the
/// listener's own business.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemId(pub u64);

/// A listener. Every method does nothing unless it is implemented, none may block for long, and
/// all may be called from several threads at once.
///
/// Text may hold foreign strings (image names, messages of servers): the listener makes them safe
/// for where it shows them.
pub trait Progress: Send + Sync {
    /// One finished step: a word that names it (`resolved`, `signed`, `wrote`) and what came of it
    /// (`41 of 41 images`). The listener adds the time since the step before.
    fn step(&self, word: &str, text: &str) {
        let _ = (word, text);
    }

    /// Something that the user should know, but that does not stop the run.
    fn warn(&self, text: &str) {
        let _ = text;
    }

    /// A transfer of `total_bytes` begins. Phases follow one another and do not nest.
    fn start(&self, total_bytes: u64) {
        let _ = total_bytes;
    }

    /// An image or a blob of `bytes` is in flight from now on, until [`finish_item`](Self::finish_item).
    fn item(&self, label: &str, bytes: u64) -> ItemId {
        let _ = (label, bytes);
        ItemId::default()
    }

    /// `bytes` more of an item (and so of the whole transfer) are done.
    fn advance(&self, item: ItemId, bytes: u64) {
        let _ = (item, bytes);
    }

    /// The item is no longer in flight, done or not.
    fn finish_item(&self, item: ItemId) {
        let _ = item;
    }

    /// The transfer that [`start`](Self::start) began is over.
    fn finish(&self) {}
}

/// Listens to nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {}
