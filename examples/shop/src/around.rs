//! What is around every request: the guard with its journal, and what the journal must be able to do
//! after a crash too, by name.

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::http::request::Parts;
use mainstay_web::{BoxError, Guard};
use sqlx::Pool;

use crate::partner::Partner;
use crate::settings::Settings;
use crate::store::Store;

/// The step that hands feedback to the partner, and its undo.
pub(crate) const CREATE: &str = "partner.create";
/// What happens after the commit.
pub(crate) const THANK: &str = "partner.thank";

/// How long a request may take, what the partner takes apart.
const OWN_TIME: Duration = Duration::from_secs(10);
/// How many requests run at once; as many may wait for a moment, the rest is turned away.
const AT_ONCE: usize = 256;
/// After so many panics in a minute the shop ends, to be started anew.
const PANICS: u32 = 100;
/// How long answers to requests with an idempotency key are kept.
const KEEP_ANSWERS: Duration = Duration::from_hours(24);

/// Starts the guard, and the journal with it, which goes on with what a crash has left behind.
/// `requests` and `journal` are two pools of the same database.
pub(crate) async fn guard<D: Store>(
    requests: Pool<D>,
    journal: Pool<D>,
    partner: &Partner,
    settings: &Settings,
) -> Result<Guard, BoxError> {
    let (undo, probe, thank) = (partner.clone(), partner.clone(), partner.clone());
    let journal = D::journal(journal)
        .await?
        .settings(mainstay_journal::Settings {
            lease: settings.lease,
            ..Default::default()
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
        .pages(&settings.pages)
        .deadline(settings.partner_timeout + OWN_TIME)
        .shed(AT_ONCE)
        .raise_open_files()
        .disk(&settings.data)
        .restart_after(PANICS)
        .daemon(settings.report.as_ref())
        .release(env!("CARGO_PKG_VERSION"))
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
