//! Copies a snapshot to another repository by its content: what is there already is not sent again, and
//! the source of the backup is not read.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Trouble;
use super::archive::{Failure, Used, written};
use super::fetch::{Library, Trees};
use super::format::{Id, Kind};
use super::index::{Place, threads};
use super::pack::{Packer, pack_size};
use crate::progress::Progress;

/// Neighbours in a pack are read at once up to this length.
const AT_ONCE: u32 = 4 << 20;
/// What lies between two of them is read too if it is no more than this.
const HOLE: u32 = 128 << 10;

/// Blobs that are read at once from one pack.
struct Run {
    pack: u32,
    start: u32,
    end: u32,
    blobs: Vec<(Id, Place)>,
}

/// Copies all that the list `root` needs; the answer is what that is.
pub(super) fn copy(
    from: Library<'_>,
    to: Library<'_>,
    root: Id,
    what: &str,
    progress: &Arc<dyn Progress>,
) -> Result<Used, Trouble> {
    let mut used = Used::default();
    let mut missing = [Vec::new(), Vec::new()];
    let mut trees = Trees::new(from);
    let mut seen = HashSet::from([root]);
    let mut asked = HashSet::new();
    let mut left = vec![root];
    // Also below a list that is there already: it may have been left over by a prune that removed what
    // it needs.
    while let Some(id) = left.pop() {
        if progress.cancelled() {
            return Err(Trouble::Gone);
        }
        used.trees.push(id);
        if to.index.get(Kind::Tree, &id).is_none() {
            missing[Kind::Tree as usize].push((id, from.place(Kind::Tree, &id)?));
        }
        for node in trees.get(&id)?.nodes {
            left.extend(node.subtree.filter(|id| seen.insert(*id)));
            for id in node.content.into_iter().flatten() {
                used.data.push(id);
                if to.index.get(Kind::Data, &id).is_none() && asked.insert(id) {
                    missing[Kind::Data as usize].push((id, from.place(Kind::Data, &id)?));
                }
            }
        }
    }
    used.data.sort_unstable();
    used.data.dedup();
    let total = missing.iter().flatten();
    let total = total.map(|(_, place)| u64::from(place.length)).sum();
    progress.begin(what, Some(total));
    let [data, trees] = missing;
    let done = written(to.store, to.recipe, |out, failure| {
        // The lists last: who finds them finds all that they name.
        for (kind, blobs) in [(Kind::Data, data), (Kind::Tree, trees)] {
            let packer = Packer::new(kind, pack_size(kind, to.index.bytes(kind)), out.clone());
            let runs = runs(blobs);
            let next = AtomicUsize::new(0);
            std::thread::scope(|scope| {
                for _ in 0..threads().max(4) {
                    scope.spawn(|| {
                        if let Err(trouble) =
                            send(from, to, kind, &runs, &next, &packer, failure, progress)
                        {
                            failure.note(trouble);
                        }
                    });
                }
            });
            if failure.is_there() {
                return Err(Trouble::Gone);
            }
            packer.finish(&to.recipe.coder())?;
        }
        Ok(())
    });
    progress.finish();
    done.map(|()| used)
}

/// Blobs as they lie side by side.
fn runs(blobs: Vec<(Id, Place)>) -> Vec<Run> {
    let mut by_pack: BTreeMap<u32, Vec<(Id, Place)>> = BTreeMap::new();
    for (id, place) in blobs {
        by_pack.entry(place.pack).or_default().push((id, place));
    }
    let mut runs: Vec<Run> = Vec::new();
    for (pack, mut blobs) in by_pack {
        blobs.sort_unstable_by_key(|(_, place)| place.offset);
        let mut current: Option<Run> = None;
        for (id, place) in blobs {
            let end = place.offset.saturating_add(place.length);
            match &mut current {
                Some(run) if place.offset <= run.end + HOLE && end - run.start <= AT_ONCE => {
                    run.end = run.end.max(end);
                    run.blobs.push((id, place));
                }
                _ => runs.extend(current.replace(Run {
                    pack,
                    start: place.offset,
                    end,
                    blobs: vec![(id, place)],
                })),
            }
        }
        runs.extend(current);
    }
    runs
}

#[allow(clippy::too_many_arguments, reason = "what its threads share")]
fn send(
    from: Library<'_>,
    to: Library<'_>,
    kind: Kind,
    runs: &[Run],
    next: &AtomicUsize,
    packer: &Packer,
    failure: &Failure,
    progress: &Arc<dyn Progress>,
) -> Result<(), Trouble> {
    let (mut ours, mut theirs) = (from.recipe.coder(), to.recipe.coder());
    let mut sealed = Vec::new();
    while let Some(run) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
        let bytes = from.range(run.pack, run.start, run.end - run.start)?;
        for (id, place) in &run.blobs {
            if failure.is_there() || progress.cancelled() {
                return Err(Trouble::Gone);
            }
            let start = (place.offset - run.start) as usize;
            let mut blob = bytes
                .get(start..start + place.length as usize)
                .ok_or_else(|| Trouble::Spoiled(format!("the pack of blob {id} is cut short")))?
                .to_vec();
            sealed.clear();
            let plain = ours
                .repack(kind, &mut blob, place.plain, id, &mut theirs, &mut sealed)
                .map_err(|why| Trouble::Spoiled(format!("blob {id}: {why}")))?;
            packer.add(*id, &sealed, plain, &theirs)?;
            progress.advance(place.length.into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_read_at_once() {
        let place = |pack, offset, length| {
            let plain = 0;
            (
                Id::default(),
                Place {
                    pack,
                    offset,
                    length,
                    plain,
                },
            )
        };
        let found = runs(vec![
            place(1, 0, 100),
            place(0, 5_000_000, 10),
            place(0, 100, 50),
            place(0, 0, 100),
            place(0, 200, 4 << 20),
        ]);
        let found: Vec<_> = found
            .iter()
            .map(|run| (run.pack, run.start, run.end, run.blobs.len()))
            .collect();
        assert_eq!(
            found,
            [
                (0, 0, 150, 2),
                (0, 200, 200 + (4 << 20), 1),
                (0, 5_000_000, 5_000_010, 1),
                (1, 0, 100, 1)
            ]
        );
    }
}
