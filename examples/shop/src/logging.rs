//! What the shop says: records of `mainstay-log`, requests and news on stdout, warnings and errors on
//! stderr. Who runs it collects both.

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::Arc;

use jiff::tz::TimeZone;
use mainstay_base::SystemClock;
use mainstay_log::{
    Config, Error, Format, Level, LevelSet, Logger, Pipeline, SinkKind, Stream, Surroundings, When,
};

/// Takes what the macros of the `log` crate write, from here on.
pub(crate) fn start() -> Result<(), Error> {
    let mut config = Config::new("", TimeZone::UTC);
    config.levels = LevelSet::from(Level::Info);
    for (name, levels, stream) in [
        (
            "news",
            LevelSet::range(Level::Info, Level::Info),
            Stream::Stdout,
        ),
        ("trouble", LevelSet::from(Level::Warn), Stream::Stderr),
    ] {
        let when = When {
            levels,
            ..When::default()
        };
        let console = SinkKind::Console {
            stream,
            colours: false,
        };
        config.route(name, when, console, Format::text());
    }
    let surroundings = Surroundings::new(Arc::new(SystemClock::new()));
    Logger::new(Pipeline::build(&config, surroundings)?).install()
}

/// Text on stdout as it is: the answer to `--help` and `--version`.
pub(crate) fn plain(text: impl Display) {
    let _ = writeln!(io::stdout().lock(), "{text}");
}

/// A complaint on stderr about how the shop was started, which concerns the person who did.
pub(crate) fn complain(message: impl Display) {
    let _ = writeln!(io::stderr().lock(), "shop: {message}");
}
