//! A small but real web shop, and the many ways in which it can be told to fail.
//!
//! It is the program that everything in mainstay is tried on, and it knows nothing of mainstay:
//! what it needs comes by its environment, what it says goes to stdout and stderr, and SIGTERM
//! ends it. `README.md` beside this crate says how to run it.
//!
//! [`pages`] is pure (data in, HTML out), [`store`] is the database, [`uploads`] the files,
//! [`partner`] the third party, [`faults`] what can go wrong on request, [`web`] the routes.

mod drawings;
mod faults;
mod html;
mod pages;
mod partner;
mod say;
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
use std::time::Duration;

use axum::Router;
use hyper::Uri;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::faults::{Fault, Faults};
use crate::partner::Partner;
use crate::settings::{Command, HELP, Settings};
use crate::store::Store;
use crate::uploads::Uploads;
use crate::web::Shop;

/// How long requests that are under way may take after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    faults::install_panic_hook();
    let (settings, listen) = match asked() {
        Ok(Some(asked)) => asked,
        Ok(None) => return ExitCode::SUCCESS,
        Err(words) => {
            say::complain(words);
            return ExitCode::from(2);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            say::complain(format_args!("cannot start the async runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(async {
        match listen {
            None => run_shop(settings).await,
            Some(listen) => run_partner(&listen, &settings).await,
        }
    });
    // A thread that is stuck (writing to a full pipe, say) must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(words) => {
            say::complain(words);
            ExitCode::FAILURE
        }
    }
}

/// What to run by the arguments and the environment: the shop, or with an address the partner
/// alone; nothing when all that was asked for has been said.
fn asked() -> Result<Option<(Settings, Option<String>)>, String> {
    let listen = match Command::read(std::env::args_os().skip(1))? {
        Command::Help => {
            say::plain(HELP);
            return Ok(None);
        }
        Command::Version => {
            say::plain(concat!("shop ", env!("CARGO_PKG_VERSION")));
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

async fn run_shop(settings: Settings) -> Result<(), String> {
    let mut end = End::listen()?;
    let faults = Arc::new(Faults::new(settings.faults_by_request));
    if !start_with(&settings.faults, &faults, &mut end).await? {
        return Ok(());
    }
    let data = settings.data;
    let in_data = |error: &dyn Display| {
        format!(
            "cannot use the data directory {}: {error}; SHOP_DATA names another",
            data.display()
        )
    };
    fs::create_dir_all(&data).map_err(|error| in_data(&error))?;
    let uploads = Uploads::open(&data).map_err(|error| in_data(&error))?;
    let store = Store::open(&data.join("shop.db")).map_err(|error| in_data(&error))?;
    if let Ok(pending @ 1..) = store.pending() {
        say::error(format_args!(
            "{pending} pieces of feedback were never confirmed by the partner"
        ));
    }
    let (listener, address) = listen(&settings.listen, "SHOP_LISTEN").await?;
    let url = match settings.partner {
        Some(url) => url,
        None => own_partner(address)?,
    };
    let partner = Partner::new(url, settings.partner_timeout);
    let shop = Shop {
        store,
        uploads,
        partner,
        faults: Arc::clone(&faults),
    };
    serve(listener, web::shop(Arc::new(shop)), end, faults).await
}

async fn run_partner(address: &str, settings: &Settings) -> Result<(), String> {
    let mut end = End::listen()?;
    let faults = Arc::new(Faults::new(settings.faults_by_request));
    if !start_with(&settings.faults, &faults, &mut end).await? {
        return Ok(());
    }
    let (listener, _) = listen(address, "--listen").await?;
    serve(listener, web::partner(Arc::clone(&faults)), end, faults).await
}

/// Does the faults to start with; returns whether to go on.
async fn start_with(list: &[Fault], faults: &Faults, end: &mut End) -> Result<bool, String> {
    for fault in list {
        if let Fault::SlowStart { seconds } = fault {
            say::info(format_args!("starting slowly: {seconds} s"));
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(*seconds)) => {}
                () = end.asked(faults) => return Ok(false),
            }
        } else {
            say::info(faults.act(fault)?);
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
    mut end: End,
    faults: Arc<Faults>,
) -> Result<(), String> {
    if let Ok(address) = listener.local_addr() {
        say::info(format_args!("listening on http://{address}"));
    }
    let (stop, stopped) = oneshot::channel::<()>();
    let app = router.into_make_service_with_connect_info::<SocketAddr>();
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
    }
    say::info("asked to end; finishing what is under way");
    let _ = stop.send(());
    match tokio::time::timeout(GRACE, server).await {
        Ok(_) => {
            say::info("ended");
            Ok(())
        }
        Err(_) => Err(format!(
            "requests were cut off: not done after {} s",
            GRACE.as_secs()
        )),
    }
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
                    say::error("SIGTERM ignored, as asked");
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
