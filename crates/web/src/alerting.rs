//! Notices as alerts.

use std::fmt::Write as _;

use mainstay_alert::{Alert, Alerts, Key, Severity};
use mainstay_fault::Notify;

use crate::report::Notice;

/// Raises a notice, or says that what it told is over. Does not block.
pub(crate) fn raise(alerts: &Alerts, app: &str, notice: &Notice) {
    let key = Key::new(app, notice.fault.fingerprint());
    if notice.over {
        alerts.resolve(&key);
        return;
    }
    alerts.raise(alert(app, notice));
}

fn alert(app: &str, notice: &Notice) -> Alert {
    let fault = &notice.fault;
    let severity = match fault.severity() {
        mainstay_fault::Severity::Critical => Severity::Critical,
        mainstay_fault::Severity::Error => Severity::Error,
        mainstay_fault::Severity::Warning => Severity::Warning,
        mainstay_fault::Severity::Info | mainstay_fault::Severity::Debug => Severity::Info,
    };
    let title = fault.chain().first().map_or("a fault", String::as_str);
    let mut body = String::new();
    for cause in fault.chain().iter().skip(1) {
        let _ = writeln!(body, "caused by: {cause}");
    }
    if let Some(place) = fault.place() {
        let _ = writeln!(body, "at {place}");
    }
    for (index, frame) in fault.frames().iter().enumerate() {
        let _ = writeln!(body, "{index:4}: {frame}");
    }
    let mut alert = Alert::new(app, severity, title)
        .fingerprint(fault.fingerprint())
        .body(body)
        .label("code", fault.id().to_string())
        .label("class", fault.class().name());
    for (name, value) in fault.context() {
        alert = alert.label(name, value);
    }
    if fault.notify() == Notify::OnChange {
        alert = alert.lasting();
    }
    alert.count = notice.count.max(1);
    alert
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_fault::{Class, Fault, Frame};

    #[test]
    fn a_notice_is_an_alert_with_its_code() {
        let fault = Fault::told(Class::Panic, "out of rope")
            .at(Frame::default())
            .with("request", "POST /feedback");
        let notice = Notice {
            count: 3,
            over: false,
            fault,
        };
        let alert = alert("shop", &notice);
        assert_eq!(alert.key, Key::new("shop", notice.fault.fingerprint()));
        assert_eq!(
            (alert.title.as_str(), alert.severity, alert.count),
            ("out of rope", Severity::Critical, 3)
        );
        assert_eq!(alert.labels["code"], notice.fault.id().to_string());
        assert_eq!(alert.labels["request"], "POST /feedback");
        assert!(!alert.lasting);
        let overload = Notice {
            fault: Fault::told(Class::Overload, "too many"),
            count: 0,
            over: false,
        };
        let alert = super::alert("shop", &overload);
        assert!(alert.lasting);
        assert_eq!(alert.count, 1);
    }
}
