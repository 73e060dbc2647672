//! What is around every request: the guard with its journal, and what the journal must be able to do
//! after a crash too, by name.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::http::request::Parts;
use mainstay_journal::Settings;
use mainstay_web::{BoxError, Guard};
use sqlx::Pool;

use crate::partner::Partner;
use crate::store::Store;

/// The step that hands feedback to the partner, and its undo.
pub(crate) const CREATE: &str = "partner.create";
/// What happens after the commit.
pub(crate) const THANK: &str = "partner.thank";

/// How many requests run at once; as many may wait for a moment, the rest is turned away.
const AT_ONCE: usize = 256;
/// How long answers to requests with an idempotency key are kept.
const KEEP_ANSWERS: Duration = Duration::from_hours(24);

/// Starts the guard, and the journal with it, which goes on with what a crash has left behind.
/// `requests` and `journal` are two pools of the same database.
pub(crate) async fn guard<D: Store>(
    requests: Pool<D>,
    journal: Pool<D>,
    partner: &Partner,
    pages: &Path,
    deadline: Duration,
    lease: Duration,
) -> Result<Guard, BoxError> {
    let (undo, probe, thank) = (partner.clone(), partner.clone(), partner.clone());
    let journal = D::journal(journal)
        .await?
        .settings(Settings {
            lease,
            ..Settings::default()
        })
        .undo(CREATE, move |step| {
            let partner = undo.clone();
            async move { partner.delete(&step.key()).await }
        })
        .probe(CREATE, move |step| {
            let partner = probe.clone();
            async move { partner.close(&step.key()).await }
        })
        .action(THANK, move |action| {
            let partner = thank.clone();
            async move { partner.thank(&action).await }
        });
    let guard = Guard::builder()
        .pages(pages)
        .deadline(deadline)
        .shed(AT_ONCE)
        .idempotency(KEEP_ANSWERS, visitor)
        .journal(journal);
    Ok(D::in_guard(guard, requests).start().await?)
}

/// Whose an idempotency key is. The shop knows no users, so visitors are told apart by where they
/// come from. With users, give the id of the user whose token was checked.
fn visitor(request: &Parts) -> Option<String> {
    let peer = request.extensions.get::<ConnectInfo<SocketAddr>>()?;
    Some(peer.0.ip().to_string())
}
