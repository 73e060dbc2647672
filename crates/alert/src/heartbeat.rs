//! The dead man's switch: an address that is asked at an interval, so that whoever is behind it
//! notices when nothing comes any more. What no daemon can tell is that it is dead.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use mainstay_base::Resolver;
use ureq::http::Method;

use crate::channel::{Channel, Failure};
use crate::config::HeartbeatConfig;
use crate::dialect;
use crate::http::Request;
use crate::message::Message;

/// What overviews and the test of all channels call it.
pub(crate) const NAME: &str = "heartbeat";

/// Asks the address.
pub(crate) struct Heartbeat {
    pub(crate) config: HeartbeatConfig,
    pub(crate) resolver: Resolver,
}

impl Heartbeat {
    pub(crate) fn beat(&self) -> Result<(), Failure> {
        let config = &self.config;
        let url = config
            .url
            .read("the URL of the heartbeat", &self.resolver)?;
        let answer = Request {
            whom: "the heartbeat's service",
            key: "heartbeat.url",
            method: Method::GET,
            url: url.expose(),
            headers: &[],
            body: b"",
            ca: &config.ca,
            timeout: config.timeout,
        }
        .send()?;
        if (200..300).contains(&answer.status) {
            return Ok(());
        }
        let said = dialect::excerpt(&answer.text.replace(url.expose(), "***"));
        Err(Failure::temporary(
            format!(
                "the heartbeat's service answered with status {}: {said}",
                answer.status
            ),
            "check what `heartbeat.url` refers to",
        ))
    }
}

/// For the test of all channels: a beat is a message too.
impl Channel for Heartbeat {
    fn recipients(&self) -> Vec<String> {
        vec![NAME.to_owned()]
    }

    fn deliver(&self, _: &Message, to: &[String]) -> Vec<Result<(), Failure>> {
        let result = self.beat();
        to.iter().map(|_| result.clone()).collect()
    }
}

/// A heartbeat, and how it does.
pub(crate) struct Beating {
    pub(crate) heartbeat: Arc<Heartbeat>,
    pub(crate) due: Timestamp,
    pub(crate) busy: bool,
    pub(crate) failing_since: Option<Timestamp>,
    pub(crate) last_error: Option<Failure>,
    /// Whether it was told that it fails.
    pub(crate) told: bool,
}

impl Beating {
    pub(crate) fn new(heartbeat: Arc<Heartbeat>, now: Timestamp) -> Self {
        Self {
            heartbeat,
            due: now,
            busy: false,
            failing_since: None,
            last_error: None,
            told: false,
        }
    }

    /// How long from one beat to the next.
    pub(crate) fn every(&self) -> Duration {
        self.heartbeat.config.every
    }

    /// Notes what came of a beat.
    pub(crate) fn beaten(&mut self, result: Result<(), Failure>, now: Timestamp) {
        self.busy = false;
        match result {
            Ok(()) => {
                self.failing_since = None;
                self.last_error = None;
                self.told = false;
            }
            Err(failure) => {
                self.failing_since = self.failing_since.or(Some(now));
                self.last_error = Some(failure);
            }
        }
    }
}
