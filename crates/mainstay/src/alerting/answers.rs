//! What the control API asks about alerts: the engine's values as documents.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use mainstay_alert::{
    Alert, Alerts, Delivery, DeliveryState, ErrorKind, Key, Listed, Matcher, Overview, Severity,
    State, Tried, fingerprint,
};
use mainstay_base::Pattern;
use mainstay_control::wire::{
    AlertCounts, AlertStatus, AlertSummary, AlertsDocument, ChannelStatus, DeliveryStatus,
    DoneDocument, RaiseRequest, SCHEMA, SilenceRequest, SilenceStatus, SilencedDocument,
    TriedChannel, TriedDocument,
};
use mainstay_control::{Error, Kind};

use super::Bell;

fn refusal(error: &mainstay_alert::Error) -> Error {
    let kind = match error.kind() {
        ErrorKind::Refused | ErrorKind::Config => Kind::Usage,
        _ => Kind::Failed,
    };
    Error::new(kind, error.to_string()).help(error.help())
}

fn alerts(bell: &Bell) -> Result<Alerts, Error> {
    bell.alerts().ok_or_else(away)
}

fn away() -> Error {
    Error::new(
        Kind::TryLater,
        "the alerts are being changed, or the daemon ends",
    )
}

fn overview(bell: &Bell) -> Result<Overview, Error> {
    let listed = bell.list().ok_or_else(away)?;
    listed.map_err(|error| refusal(&error))
}

/// The line of a status.
pub(crate) fn summary(bell: &Bell) -> Result<AlertSummary, Error> {
    overview(bell).map(|overview| sum(&overview))
}

fn sum(overview: &Overview) -> AlertSummary {
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let open = || {
        overview
            .alerts
            .iter()
            .filter(|l| l.state != State::Resolved)
    };
    let muted = |listed: &&Listed| listed.state == State::Muted;
    let waits = |delivery: &&Delivery| delivery.state == DeliveryState::Waiting;
    AlertSummary {
        firing: count(open().count()),
        muted: count(open().filter(muted).count()),
        gravest: open().find(|l| !muted(l)).map(|l| l.title.clone()),
        silences: count(overview.silences.len()),
        silenced_until: overview.silences.iter().map(|silence| silence.until).max(),
        channels: count(overview.channels.len()),
        failing: overview
            .channels
            .iter()
            .chain(&overview.heartbeat)
            .filter(|channel| channel.failing_since.is_some())
            .map(|channel| channel.name.clone())
            .collect(),
        undelivered: count(overview.deliveries.iter().filter(waits).count()),
        trouble: overview.trouble.clone(),
        open: tally(open().map(|listed| listed.severity.name().to_owned())),
        deliveries: tally(
            overview
                .deliveries
                .iter()
                .map(|delivery| delivery.state.name().replace(' ', "_")),
        ),
        counts: counts(overview),
    }
}

/// How often each is there.
fn tally(names: impl Iterator<Item = String>) -> BTreeMap<String, u64> {
    let mut tally = BTreeMap::new();
    for name in names {
        *tally.entry(name).or_insert(0) += 1;
    }
    tally
}

fn counts(overview: &Overview) -> AlertCounts {
    let counts = &overview.counts;
    AlertCounts {
        raised: counts.raised,
        told: counts.told,
        silenced: counts.silenced,
        inhibited: counts.inhibited,
        waiting: overview.waiting,
        overflowed: overview.overflowed,
        messages: counts.messages,
    }
}

/// How everything stands.
pub(crate) fn document(bell: &Bell) -> Result<AlertsDocument, Error> {
    let overview = overview(bell)?;
    let pattern = |pattern: Option<&Pattern>| pattern.map(|pattern| pattern.as_str().to_owned());
    let counts = counts(&overview);
    Ok(AlertsDocument {
        schema: SCHEMA,
        alerts: overview.alerts.into_iter().map(status).collect(),
        silences: overview
            .silences
            .into_iter()
            .map(|silence| SilenceStatus {
                id: silence.id,
                key: pattern(silence.matcher.key.as_ref()),
                app: pattern(silence.matcher.app.as_ref()),
                severity: pattern(silence.matcher.severity.as_ref()),
                from: silence.from,
                until: silence.until,
                author: silence.author,
                reason: silence.reason,
            })
            .collect(),
        channels: overview
            .channels
            .into_iter()
            .chain(overview.heartbeat)
            .map(|channel| ChannelStatus {
                name: channel.name,
                failing_since: channel.failing_since,
                help: channel.last_error.as_ref().map(|error| error.help.clone()),
                last_error: channel.last_error.map(|error| error.why),
                next_attempt: channel.next_attempt,
            })
            .collect(),
        messages: overview
            .deliveries
            .into_iter()
            .map(|delivery| DeliveryStatus {
                message: delivery.message,
                subject: delivery.subject,
                at: delivery.at,
                channel: delivery.channel,
                state: delivery.state.name().to_owned(),
                owed: delivery.owed,
                attempts: delivery.attempts,
                next: delivery.next,
                error: delivery.error,
            })
            .collect(),
        counts,
        trouble: overview.trouble,
    })
}

fn status(listed: Listed) -> AlertStatus {
    AlertStatus {
        key: listed.key.to_string(),
        app: listed.key.app,
        fingerprint: listed.key.fingerprint,
        severity: listed.severity.name().to_owned(),
        title: listed.title,
        host: listed.host,
        state: listed.state.name().to_owned(),
        muted_by: listed.muted_by,
        since: listed.since,
        last: listed.last,
        count: listed.total,
        waiting: listed.waiting,
    }
}

/// Raises what a person or a script wants to be told, or ends it. It is stored when this returns.
pub(crate) fn raise(bell: &Bell, request: RaiseRequest) -> Result<DoneDocument, Error> {
    let severity = match request.severity.as_deref() {
        None => Severity::Error,
        Some(text) => text.parse::<Severity>().map_err(|error| {
            Error::new(Kind::Usage, error.to_string()).help("critical is what wakes somebody")
        })?,
    };
    let chosen = request
        .fingerprint
        .unwrap_or_else(|| fingerprint(&request.title));
    let alerts = alerts(bell)?;
    let stored = |key: &Key, what: &str| {
        alerts.sync().map_err(|error| refusal(&error))?;
        Ok(DoneDocument::with(format!("{key} {what}")))
    };
    if request.resolve {
        let key = Key::new(request.app, chosen);
        let listed = alerts.list().map_err(|error| refusal(&error))?;
        let known = listed.alerts.iter().any(|listed| listed.key == key);
        if !known {
            return Err(
                Error::new(Kind::UnknownName, format!("no alert {key} is raised"))
                    .help("`mainstay alert list` shows the keys of those that are"),
            );
        }
        if !alerts.resolve(&key) {
            return Err(Error::new(Kind::TryLater, "too much is being told at once"));
        }
        return stored(&key, "is over");
    }
    let mut alert = Alert::new(request.app, severity, request.title)
        .fingerprint(chosen)
        .body(request.body);
    if request.lasting {
        alert = alert.lasting();
    }
    let key = alert.key.clone();
    alerts.raise(alert);
    stored(&key, "is raised")
}

/// Silences alerts.
pub(crate) fn silence(
    bell: &Bell,
    request: &SilenceRequest,
    author: &str,
) -> Result<SilencedDocument, Error> {
    if let Some(severity) = &request.severity
        && !severity.contains('*')
    {
        let unknown =
            |error: mainstay_alert::UnknownSeverity| Error::new(Kind::Usage, error.to_string());
        severity.parse::<Severity>().map_err(unknown)?;
    }
    let pattern = |text: &Option<String>| text.clone().map(Pattern::new);
    let matcher = Matcher {
        key: pattern(&request.key),
        app: pattern(&request.app),
        severity: pattern(&request.severity),
    };
    let alerts = alerts(bell)?;
    let length = Duration::from_secs(request.seconds);
    let id = alerts
        .silence(matcher, length, author, &request.reason)
        .map_err(|error| refusal(&error))?;
    bell.share_silences().map_err(|error| refusal(&error))?;
    let listed = alerts.list().map_err(|error| refusal(&error))?;
    let until = listed
        .silences
        .iter()
        .find(|silence| silence.id == id)
        .map_or_else(Timestamp::now, |silence| silence.until);
    Ok(SilencedDocument::new(id, until))
}

/// Ends a silence.
pub(crate) fn unsilence(bell: &Bell, id: i64) -> Result<DoneDocument, Error> {
    let ended = alerts(bell)?
        .unsilence(id)
        .map_err(|error| refusal(&error))?;
    bell.share_silences().map_err(|error| refusal(&error))?;
    if ended {
        return Ok(DoneDocument::with(format!("the silence {id} has ended")));
    }
    Err(
        Error::new(Kind::UnknownName, format!("there is no silence {id}"))
            .help("`mainstay alert list` shows their numbers"),
    )
}

/// Tries each channel.
pub(crate) fn test(bell: &Bell) -> Result<TriedDocument, Error> {
    bell.test().map(tried).ok_or_else(away)
}

/// What came of trying channels.
pub(crate) fn tried(tried: Vec<Tried>) -> TriedDocument {
    let one = |tried: Tried| {
        let (error, help) = match tried.result {
            Ok(()) => (None, None),
            Err(failure) => (Some(failure.why), Some(failure.help)),
        };
        TriedChannel {
            channel: tried.channel,
            recipient: tried.recipient,
            error,
            help,
        }
    };
    TriedDocument::new(tried.into_iter().map(one).collect())
}
