//! The rows of a server counted, with their digests, as a backup counts them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use mainstay_mysql::Options;

use super::chunks::{self, Piece};
use super::lines::Tally;
use super::{Failure, moment, objects};
use crate::progress::Progress;

/// What every table of these databases has now, by the names of database and table. Meant for databases
/// that nobody writes to: connections do not see one moment.
pub(crate) fn tallies(
    options: &Options,
    databases: &[String],
    connections: usize,
    progress: &Arc<dyn Progress>,
) -> Result<BTreeMap<(String, String), Tally>, Failure> {
    let mut catalog = moment::connect(options)?;
    let mut plans = Vec::new();
    for database in databases {
        plans.extend(objects::plans(&mut catalog, database)?);
    }
    drop(catalog);
    // One looks things up, the others read.
    let mut pool = Vec::new();
    for _ in 0..=connections.max(1) {
        let mut connection = moment::connect(options)?;
        connection.run("START TRANSACTION")?;
        connection.run(chunks::HOLD)?;
        connection.run("SET SESSION character_set_results = NULL")?;
        pool.push(connection);
    }
    let plans = Arc::new(plans);
    let pool = Arc::new(Mutex::new(pool));
    let started = chunks::start(&plans, &pool, progress)?;
    let mut found: Vec<Tally> = vec![Tally::default(); plans.len()];
    let mut failed = None;
    while let Ok(coming) = started.coming.recv() {
        while let Ok(piece) = coming.pieces.recv() {
            match piece {
                Piece::Rows(_, tally) => {
                    progress.advance(tally.bytes);
                    if let Some(sum) = found.get_mut(coming.table) {
                        sum.add(&tally);
                    }
                }
                Piece::Failed(failure) => {
                    failed.get_or_insert(failure);
                }
            }
        }
        if failed.is_some() {
            break;
        }
    }
    drop(started.coming);
    for thread in started.threads {
        let _ = thread.join();
    }
    match failed {
        Some(failure) => Err(failure),
        None => Ok(plans
            .iter()
            .zip(found)
            .map(|(plan, tally)| ((plan.database.clone(), plan.table.clone()), tally))
            .collect()),
    }
}
