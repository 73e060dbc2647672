//! The daemon's own log: a rolling file, and in the foreground the terminal too.

use std::io::IsTerminal;
use std::sync::Arc;

use mainstay_base::{Resolver, SystemClock};
use mainstay_log::{
    Changes, Config, Error, Format, Logger, Pattern, Pipeline, Retention, SinkKind, Stream,
    Surroundings, When,
};

use crate::alerting::{self, Bell};
use crate::output::Output;

/// What the terminal in front of the daemon, if there is one, gets of its log.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Terminal {
    /// There is none.
    None,
    /// Only what no sink takes.
    Quiet,
    /// The daemon's records.
    Records {
        /// With levels in colour.
        colours: bool,
        /// And what the programs print: somebody sits in front of it.
        programs: bool,
    },
}

impl Terminal {
    pub(crate) fn of(output: Option<&Output>) -> Self {
        match output {
            None => Self::None,
            Some(output) if output.quiet => Self::Quiet,
            Some(output) => Self::Records {
                colours: output.color_err(),
                programs: std::io::stderr().is_terminal(),
            },
        }
    }

    /// Adds the routes for it.
    fn add_to(self, config: &mut Config, bell: Option<&Arc<Bell>>) -> Surroundings {
        let mut surroundings = Surroundings::new(Arc::new(SystemClock::new()));
        surroundings.alerts = bell.map(alerting::open);
        match self {
            Self::None => {}
            Self::Quiet => surroundings.last_resort = Some(Box::new(std::io::stderr())),
            Self::Records { colours, programs } => {
                let console = SinkKind::Console {
                    stream: Stream::Stderr,
                    colours,
                };
                let all = When::default();
                config.route("terminal", all, console.clone(), Format::short());
                if programs {
                    let programs = When {
                        programs: vec![Pattern::new("*")],
                        ..When::default()
                    };
                    config.route("terminal-programs", programs, console, Format::short());
                }
            }
        }
        surroundings
    }

    /// Opens the log and makes it that of the process. What goes to a sink of alerts rings the bell.
    pub(crate) fn open(
        self,
        config: Config,
        resolver: &Resolver,
        bell: Option<&Arc<Bell>>,
    ) -> Result<Logger, Error> {
        let mut config = config.with_secrets(resolver)?;
        let surroundings = self.add_to(&mut config, bell);
        let logger = Logger::new(Pipeline::build(&config, surroundings)?);
        logger.install()?;
        Ok(logger)
    }

    /// Puts another config in place while the log is written to.
    pub(crate) fn reload(
        self,
        logger: &Logger,
        config: Config,
        resolver: &Resolver,
        bell: Option<&Arc<Bell>>,
    ) -> Result<Changes, Error> {
        let mut config = config.with_secrets(resolver)?;
        let surroundings = self.add_to(&mut config, bell);
        logger.reload(&config, surroundings)
    }
}

/// The daemon's own rolling file, which `mainstay logs mainstay` shows.
pub(crate) fn own_log_sink(retention: Retention) -> SinkKind {
    SinkKind::rolling("mainstay.log", retention)
}
