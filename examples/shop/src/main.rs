//! A small but real web shop, and the many ways in which it can be told to fail.
//!
//! It is the program that everything in mainstay is tried on, and uses what mainstay has for apps:
//! `mainstay-web` around its requests, `mainstay-journal` for what it does elsewhere, `mainstay-log`.
//! What it needs comes by its environment, what it says goes to stdout and stderr, and SIGTERM ends
//! it. `README.md` beside this crate says how to run it.
//!
//! Begin with [`web`], the routes and their handlers, and [`around`], what is around them. [`pages`]
//! is pure (data in, HTML out), [`store`] is the database, [`uploads`] the files, [`partner`] the
//! third party, [`faults`] what can go wrong on request.

mod around;
mod drawings;
mod faults;
mod html;
mod logging;
mod pages;
mod partner;
mod settings;
mod store;
mod uploads;
mod web;

use std::fmt::Display;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::serve::ListenerExt;
use hyper::Uri;
use mainstay_web::Guard;
use sqlx::Pool;
use sqlx::pool::PoolOptions;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::faults::{Fault, Faults};
use crate::partner::Partner;
use crate::settings::{Command, HELP, Place, Settings};
use crate::store::{Options, Store};
use crate::uploads::Uploads;
use crate::web::Shop;

/// How long a connection to the database may take.
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// How long requests that are under way may take after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    faults::install_panic_hook();
    let (settings, listen) = match asked() {
        Ok(Some(asked)) => asked,
        Ok(None) => return ExitCode::SUCCESS,
        Err(words) => {
            logging::complain(words);
            return ExitCode::from(2);
        }
    };
    if let Err(error) = logging::start() {
        logging::complain(format_args!("cannot log: {error}"));
        return ExitCode::FAILURE;
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            logging::complain(format_args!("cannot start the async runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(async {
        match listen {
            None => match settings.database.clone() {
                Place::Sqlite(options) => run_shop::<sqlx::Sqlite>(settings, options).await,
                Place::MySql(options) => run_shop::<sqlx::MySql>(settings, options).await,
                Place::Postgres(options) => run_shop::<sqlx::Postgres>(settings, options).await,
            },
            Some(listen) => run_partner(&listen, &settings).await,
        }
    });
    // A thread that is stuck (writing to a full pipe, say) must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    match result {
        Ok(code) => ExitCode::from(code),
        Err(words) => {
            logging::complain(words);
            ExitCode::FAILURE
        }
    }
}

/// What to run by the arguments and the environment: the shop, or with an address the partner
/// alone; nothing when all that was asked for has been said.
fn asked() -> Result<Option<(Settings, Option<String>)>, String> {
    let listen = match Command::read(std::env::args_os().skip(1))? {
        Command::Help => {
            logging::plain(HELP);
            return Ok(None);
        }
        Command::Version => {
            logging::plain(concat!("shop ", env!("CARGO_PKG_VERSION")));
            return Ok(None);
        }
        Command::Shop => None,
        Command::Partner { listen } => Some(listen),
    };
    Ok(Some((
        Settings::read(|name| std::env::var_os(name))?,
        listen,
    )))
}

/// Runs the shop to its end, and says which code that has.
async fn run_shop<D: Store>(settings: Settings, database: Options<D>) -> Result<u8, String> {
    let mut end = End::listen()?;
    let faults = Arc::new(Faults::new(settings.faults_by_request));
    if !start_with(&settings.faults, &faults, &mut end).await? {
        return Ok(0);
    }
    let data = &settings.data;
    let in_data = |error: &dyn Display| {
        format!(
            "cannot use the data directory {}: {error}; SHOP_DATA names another",
            data.display()
        )
    };
    fs::create_dir_all(data).map_err(|error| in_data(&error))?;
    let uploads = Uploads::open(data).map_err(|error| in_data(&error))?;
    let in_database = |error| {
        format!("cannot use the database: {error}; SHOP_DATABASE or SHOP_DATA names another")
    };
    let pool = open::<D>(database.clone(), 16).await.map_err(in_database)?;
    D::prepare(&pool).await.map_err(in_database)?;
    // A pool of its own: in one whose connections are all held by transactions of requests, the
    // steps of these requests would wait for themselves.
    let of_journal = open::<D>(database, 3).await.map_err(in_database)?;
    let (listener, address) = listen(&settings.listen, "SHOP_LISTEN").await?;
    let url = match &settings.partner {
        Some(url) => url.clone(),
        None => own_partner(address)?,
    };
    let partner = Partner::new(&url, settings.partner_timeout);
    let guard = around::guard::<D>(pool.clone(), of_journal, &partner, &settings);
    let guard = guard.await.map_err(|error| no_guard(&*error))?;
    let shop = Shop {
        pool,
        uploads,
        partner,
        faults: Arc::clone(&faults),
    };
    let pages = web::shop(Arc::new(shop), &guard);
    serve(listener, pages, guard, end, faults).await
}

fn no_guard(error: &dyn Display) -> String {
    format!("cannot start the guard around requests: {error}")
}

/// A pool of so many connections, of which one is tried at once.
async fn open<D: Store>(options: Options<D>, connections: u32) -> sqlx::Result<Pool<D>> {
    PoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(CONNECT_TIME)
        .connect_with(options)
        .await
}

async fn run_partner(address: &str, settings: &Settings) -> Result<u8, String> {
    let mut end = End::listen()?;
    let faults = Arc::new(Faults::new(settings.faults_by_request));
    if !start_with(&settings.faults, &faults, &mut end).await? {
        return Ok(0);
    }
    let (listener, _) = listen(address, "--listen").await?;
    // It is no example of anything: its guard stops the server, and does not answer.
    let guard = Guard::builder().start().await;
    let guard = guard.map_err(|error| no_guard(&error))?;
    let routes = web::partner(Arc::clone(&faults));
    serve(listener, routes, guard, end, faults).await
}

/// Does the faults to start with; returns whether to go on.
async fn start_with(list: &[Fault], faults: &Faults, end: &mut End) -> Result<bool, String> {
    for fault in list {
        if let Fault::SlowStart { seconds } = fault {
            log::info!("starting slowly: {seconds} s");
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(*seconds)) => {}
                () = end.asked(faults) => return Ok(false),
            }
        } else {
            log::info!("{}", faults.act(fault)?);
        }
    }
    Ok(true)
}

async fn listen(address: &str, setting: &str) -> Result<(TcpListener, SocketAddr), String> {
    let refuse = |error: io::Error| {
        let next = match error.kind() {
            io::ErrorKind::AddrInUse => {
                format!(
                    "another program has this port (ss -ltnp shows which); stop it or change {setting}"
                )
            }
            io::ErrorKind::PermissionDenied => {
                format!("ports below 1024 need rights this user lacks; change {setting}")
            }
            _ => format!("{setting} must be host:port of this machine"),
        };
        format!("cannot listen on {address}: {error}; {next}")
    };
    let listener = TcpListener::bind(address).await.map_err(refuse)?;
    let bound = listener.local_addr().map_err(refuse)?;
    Ok((listener, bound))
}

/// The URL of the fake partner inside the shop that listens here.
fn own_partner(address: SocketAddr) -> Result<Uri, String> {
    // Nobody can be called at "every address".
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let url = format!(
        "http://{}/partner/feedback",
        SocketAddr::new(ip, address.port())
    );
    url.parse()
        .map_err(|error| format!("cannot make a URL of {address}: {error}"))
}

async fn serve(
    listener: TcpListener,
    router: Router,
    guard: Guard,
    mut end: End,
    faults: Arc<Faults>,
) -> Result<u8, String> {
    if let Ok(address) = listener.local_addr() {
        log::info!("listening on http://{address}");
    }
    let (stop, stopped) = oneshot::channel::<()>();
    let app = router.into_make_service_with_connect_info::<SocketAddr>();
    // With the address of clients, which a listener that is not tokio's says only when tapped.
    let listener = guard.listener(listener).tap_io(|_| ());
    let server = axum::serve(listener, app).with_graceful_shutdown(async {
        // An error says that the sender is gone, which too means the end.
        let _ = stopped.await;
    });
    let mut server = tokio::spawn(server.into_future());
    tokio::select! {
        ended = &mut server => {
            return Err(format!("the server ended by itself: {ended:?}"));
        }
        () = end.asked(&faults) => {}
        () = guard.restart_wanted() => {}
    }
    log::info!("asked to end; finishing what is under way");
    let last = Instant::now() + GRACE;
    guard.drain();
    let _ = stop.send(());
    let in_time = tokio::time::timeout(GRACE, server).await.is_ok();
    // What goes on without its client, and what people are to be told.
    let patience = last.saturating_duration_since(Instant::now());
    if guard.shutdown(patience).await == 0 && in_time {
        log::info!("ended");
        return Ok(guard.exit_code());
    }
    Err(format!(
        "requests were cut off: not done after {} s",
        GRACE.as_secs()
    ))
}

/// The signals that ask the shop to end.
struct End {
    term: Signal,
    interrupt: Signal,
}

impl End {
    fn listen() -> Result<End, String> {
        let take = |kind| signal(kind).map_err(|error| format!("cannot take signals: {error}"));
        Ok(End {
            term: take(SignalKind::terminate())?,
            interrupt: take(SignalKind::interrupt())?,
        })
    }

    /// Waits for SIGTERM or SIGINT.
    async fn asked(&mut self, faults: &Faults) {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return,
                _ = self.term.recv() => {
                    if !faults.ignoring_term() {
                        return;
                    }
                    log::error!("SIGTERM ignored, as asked");
                }
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::own_partner;

    #[test]
    fn the_own_partner_is_called_where_it_can_be_reached() {
        for (address, want) in [
            ("127.0.0.1:80", "http://127.0.0.1:80/partner/feedback"),
            ("0.0.0.0:81", "http://127.0.0.1:81/partner/feedback"),
            ("[::]:82", "http://[::1]:82/partner/feedback"),
            ("192.0.2.7:83", "http://192.0.2.7:83/partner/feedback"),
        ] {
            assert_eq!(own_partner(address.parse().unwrap()).unwrap(), want);
        }
    }
}
