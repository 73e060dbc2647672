use jiff::tz::TimeZone;
use mainstay_base::{Clock as _, SystemClock};
use mainstay_log::*;
use std::sync::Arc;
fn main() {
    let n: u64 = std::env::args().nth(1).unwrap().parse().unwrap();
    let dir = std::path::PathBuf::from("/dev/shm/prof");
    std::fs::create_dir_all(&dir).unwrap();
    let mut config = Config::new(&dir, TimeZone::UTC);
    let sink = SinkKind::Rolling {
        path: "a.log".into(),
        retention: Retention {
            files: Some(2),
            ..Retention::default()
        },
    };
    config.route(
        "all",
        When::default(),
        sink.queued(QueueConfig::default()),
        Format::text(),
    );
    let clock = Arc::new(SystemClock::new());
    let logger = Logger::new(Pipeline::build(&config, Surroundings::new(clock.clone())).unwrap());
    for n in 0..n {
        let user = n % 1000;
        logger.write(&Record::new(
            clock.now(),
            Level::Info,
            "bench",
            format_args!("failed login attempt from 11.22.33.44 user {user} attempt {n}"),
        ));
    }
    logger.flush();
}
