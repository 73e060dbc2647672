//! A web server whose requests are spans and whose records go into a rolling file: five lines of
//! set-up, the rest is axum.
//!
//! ```sh
//! cargo run -p mainstay-log --example axum
//! curl http://127.0.0.1:3000/hello
//! tail app.log
//! ```

use axum::Router;
use axum::routing::get;
use jiff::tz::TimeZone;
use mainstay_log::{Error, Level, LevelSet, Logger, Retention, SinkKind, layer};
use tower_http::trace::TraceLayer;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Sets up the log: a rolling file, other levels for one part, and what waits is written at the end.
fn set_up_log() -> Result<(), Error> {
    let file = SinkKind::rolling("app.log", Retention::default());
    let logger = Logger::to(file, Level::Info, TimeZone::system())?;
    logger.set_levels_of(Some("tower_http"), Some(LevelSet::from(Level::Debug)), None);
    tracing_subscriber::registry().with(layer(&logger)).init();
    logger.drain_at_the_end()
}

async fn hello() -> &'static str {
    tracing::info!(answer = 42, "somebody says hello");
    "hello\n"
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    set_up_log()?;
    let app = Router::new()
        .route("/hello", get(hello))
        .layer(TraceLayer::new_for_http());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    axum::serve(listener, app).await?;
    Ok(())
}
