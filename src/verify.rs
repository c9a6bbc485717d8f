//! `verify`: reads and checks every byte of a bundle.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use crate::{
    bundle::{BundleError, FileArchive, MemberId, ReadAt},
    open::{Input, Medium, OpenError, Trust, open},
    progress::Progress,
    trust::Verified,
};

/// Blobs that are read at a time at most: each takes a few MiB of memory, and no medium is faster.
const MOST_WORKERS: usize = 8;

/// Checks signatures, metadata and every blob.
///
/// # Errors
/// When the bundle is not trusted, damaged or cannot be read.
pub fn verify(
    input: &Input,
    trust: &Trust,
    progress: &dyn Progress,
) -> Result<Verified<Medium>, OpenError> {
    let damaged = |error| OpenError::Bundle {
        name: input.to_string(),
        error,
    };
    open(input, trust, &mut |_, _, _, _| ())?.try_map(|mut medium| {
        match &mut medium {
            Medium::File(archive) => read_all(archive, progress).map_err(damaged)?,
            Medium::Stream(archive) => {
                let contents = Arc::clone(&archive.metadata().plan.contents);
                progress.start(contents.members().iter().map(|member| member.size).sum());
                let mut current = None;
                while let Some(chunk) = archive.next_chunk().map_err(damaged)? {
                    let member = contents.member(chunk.id);
                    let item = *current
                        .get_or_insert_with(|| progress.item(&member.digest.short(), member.size));
                    progress.advance(item, chunk.bytes.len() as u64);
                    if chunk.last {
                        progress.finish_item(item);
                        current = None;
                    }
                }
                progress.finish();
            }
        }
        Ok(medium)
    })
}

/// Reads every member of a bundle in a file, on all processors.
///
/// # Errors
/// The first damage that is found.
pub fn read_all<R: ReadAt>(
    archive: &Arc<FileArchive<R>>,
    progress: &dyn Progress,
) -> Result<(), BundleError> {
    let members = archive.metadata().plan.contents.members();
    let packed = members
        .iter()
        .take_while(|member| !member.class.is_large())
        .count();
    progress.start(members.iter().map(|member| member.size).sum());
    // Neighbours in the packed part share frames: one reader goes through them in order.
    for (id, member) in members[..packed].iter().enumerate() {
        archive.read_packed(id as MemberId)?;
        let item = progress.item(&member.digest.short(), member.size);
        progress.advance(item, member.size);
        progress.finish_item(item);
    }
    let next = AtomicUsize::new(packed);
    let failed = AtomicBool::new(false);
    let first: Mutex<Option<BundleError>> = Mutex::new(None);
    let work = || {
        while !failed.load(Ordering::Relaxed) {
            let id = next.fetch_add(1, Ordering::Relaxed);
            let Some(member) = members.get(id) else {
                return;
            };
            let item = progress.item(&member.digest.short(), member.size);
            let mut reader = archive.blob(id as MemberId);
            loop {
                match reader.next_chunk() {
                    Ok(Some(chunk)) => progress.advance(item, chunk.len() as u64),
                    Ok(None) => break,
                    Err(error) => {
                        failed.store(true, Ordering::Relaxed);
                        first
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .get_or_insert(error);
                        return;
                    }
                }
            }
            progress.finish_item(item);
        }
    };
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let workers = processors.min(MOST_WORKERS);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(work);
        }
    });
    progress.finish();
    match first.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}
