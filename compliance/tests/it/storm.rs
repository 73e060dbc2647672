//! An app of the crates that panics too often, and who supervises it.

use std::net::Ipv4Addr;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use compliance::{Sandbox, free_port, http, wait_for};
use mainstay_web::Guard;

/// Makes [`app`] one, and says where it listens.
const PORT: &str = "COMPLIANCE_APP_PORT";

/// As many panics as it may have in a minute.
const PANICS: u32 = 20;

/// The app: this very program again.
#[test]
fn app() {
    let Ok(port) = std::env::var(PORT) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let code = runtime.block_on(async {
        let guard = Guard::builder()
            .restart_after(PANICS)
            .start()
            .await
            .unwrap();
        let app = Router::new()
            .route("/pid", get(async || std::process::id().to_string()))
            .route("/panic", get(async || -> &'static str { panic!("again") }))
            .layer(guard.layer());
        let address = (Ipv4Addr::LOCALHOST, port.parse().unwrap());
        let socket = tokio::net::TcpListener::bind(address).await.unwrap();
        let until = guard.clone();
        axum::serve(guard.listener(socket), app)
            .with_graceful_shutdown(async move {
                until.restart_wanted().await;
                until.drain();
            })
            .await
            .unwrap();
        guard.shutdown(Duration::from_secs(20)).await;
        guard.exit_code()
    });
    std::process::exit(code.into());
}

#[test]
fn after_too_many_panics_an_app_is_begun_anew() {
    let port = free_port();
    let program = std::env::current_exe().unwrap();
    let sandbox = Sandbox::new(&format!(
        "[program.app]\ncommand = ['{}', '--exact', 'storm::app', '--nocapture']\n\
         env = {{ {PORT} = \"{port}\" }}\nstart_secs = 0\n",
        program.display()
    ));
    let _daemon = sandbox.start();
    let pid = || {
        let (status, pid) = http(port, "GET /pid", "")?;
        (status == 200).then_some(pid)
    };
    let first = wait_for("the app", pid);
    for _ in 0..PANICS {
        assert_eq!(http(port, "GET /panic", "").unwrap().0, 500);
    }
    assert_eq!(pid().as_ref(), Some(&first), "so many may be");
    assert_eq!(
        http(port, "GET /panic", "").unwrap().0,
        500,
        "the last one is answered too"
    );
    let second = wait_for("another process", || pid().filter(|pid| *pid != first));
    let process = sandbox.in_state("app", "RUNNING");
    assert_eq!(process["pid"].to_string(), second);
}
