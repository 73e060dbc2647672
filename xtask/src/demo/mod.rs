//! `cargo xtask demo`: the example shop under mainstay, on a machine that has nothing else.

mod http;
mod scene;
mod tour;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::{Outcome, run};
use scene::Scene;

pub(crate) use tour::run as tour;

const HELP: &str = "\
Run the example shop under mainstay in a scratch directory, on free ports.

usage: cargo xtask demo [--once]

  --once   do the whole tour without a person and end: 0 if everything was as it should be

Builds what it needs (profile dev: quicker to build than release), writes a config and a password
into a new directory, starts the daemon, and says what to open and what to try. Ctrl-C stops
everything and removes the directory.
";

/// What a first build takes on a machine with two processors, in minutes: measured, not promised.
const FIRST_BUILD_MINUTES: u32 = 6;

/// The chore.
pub(crate) fn main(args: &[String]) -> Outcome {
    let [once] = match crate::switches(args, ["--once"], HELP) {
        Ok(present) => present,
        Err(code) => return Ok(code),
    };
    let binaries = run::binaries()?;
    if ["mainstay", "shop"]
        .iter()
        .all(|name| binaries.join(name).is_file())
    {
        println!("building mainstay and the shop (profile dev); most of it is there already …");
    } else {
        println!(
            "building mainstay and the shop (profile dev); the first time this takes about {FIRST_BUILD_MINUTES} minutes on two processors …"
        );
    }
    run::run(&mut run::cargo(&["build", "-p", "mainstay", "-p", "shop"]))?;
    if once {
        tour(&binaries)?;
        return Ok(ExitCode::SUCCESS);
    }

    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))
            .map_err(|why| format!("cannot listen for signals: {why}"))?;
    }
    let stop = || interrupted.load(Ordering::Relaxed);
    let mut scene = Scene::open(&binaries, &stop)?;
    print!("{}", invitation(&scene));
    while !stop() {
        match scene.daemon_ended()? {
            None => {}
            Some(status) if status.success() => {
                println!("mainstay ended with {status}");
                return Ok(ExitCode::SUCCESS);
            }
            Some(status) => {
                println!("mainstay ended with {status}; starting it again: the shops still run");
                scene.start(&stop)?;
            }
        }
        std::thread::sleep(PAUSE);
    }
    println!("\nstopping …");
    let status = scene.close()?;
    drop(scene);
    println!("mainstay ended with {status}; the scratch directory is removed");
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// How often the demo looks whether it should end.
const PAUSE: Duration = Duration::from_millis(200);

/// What to open and what to try, ready to paste.
fn invitation(scene: &Scene) -> String {
    let shop = &scene.shops[0];
    let directory = scene.directory().display();
    let mainstay = format!("{directory}/mainstay -c {directory}/mainstay.toml");
    let mut text = format!("\nThe shop is open: http://127.0.0.1:{}\n", shop.port);
    for twin in scene.shops.iter().skip(1) {
        text += &format!("Its twin in Python: http://127.0.0.1:{}\n", twin.port);
    }
    text += &format!(
        "
Leave some feedback and upload a file there. Then, in a second terminal:

  cd {directory}            # the config is found here: ./mainstay COMMAND is enough

  ./mainstay status
  curl -X POST 'http://127.0.0.1:{port}/admin/fault?do=crash'
  ./mainstay status                        # it runs again, with a new pid and one restart
  ./mainstay logs shop
  ./mainstay logs shop -f                  # goes on; Ctrl-C ends it
  ./mainstay status --json                 # the same for machines

The partner that feedback is handed to can do it and not say so. Then feedback is an error page with
a code, there is no row of it, and the partner has given it back:

  curl -X POST 'http://127.0.0.1:{partner}/admin/fault?do=partner-fail&how=silent'
  curl -d 'rating=5&message=lost' http://127.0.0.1:{port}/feedback
  curl http://127.0.0.1:{partner}/partner/feedback
  ./mainstay faults                        # the same code; mainstay faults CODE says all of it
  curl -X POST 'http://127.0.0.1:{partner}/admin/fault?do=partner-fail&how=off'

Lose everything, and get it back:

  ./mainstay backup run
  ./mainstay backup list
  rm -r shop                               # the database and the uploads
  ./mainstay restart shop                  # a shop that has forgotten everything
  ./mainstay backup restore db --yes
  ./mainstay backup restore uploads --yes  # and everything is back
  ./mainstay backup verify
  restic -r repository --password-file repository.password snapshots  # if you have restic

From anywhere else: {mainstay} status

Ctrl-C here stops everything and removes {directory}.
",
        port = shop.port,
        partner = scene.partner,
    );
    text
}
