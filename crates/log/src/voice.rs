//! What a sink is told about itself, in its own format.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::batch::Mark;
use crate::format::Format;
use crate::level::Level;
use crate::loss::Loss;
use crate::record::Record;
use crate::stamp::Stamp;

/// The target of what the pipeline itself has to say.
pub(crate) const TARGET: &str = "mainstay_log";

/// How a sink is spoken to about itself.
#[derive(Clone)]
pub(crate) struct Voice {
    pub(crate) format: Format,
    pub(crate) zone: TimeZone,
}

impl Voice {
    /// The words for a loss as a record, rendered.
    pub(crate) fn render(&self, loss: &Loss, now: Timestamp) -> (Vec<u8>, Mark) {
        self.render_text(Level::Warn, now, |stamp| {
            let (mut from, mut to) = (Vec::new(), Vec::new());
            stamp.full(loss.first, &mut from);
            stamp.full(loss.last, &mut to);
            format!(
                "{loss} between {} and {}: {}",
                String::from_utf8_lossy(&from),
                String::from_utf8_lossy(&to),
                loss.reason
            )
        })
    }

    /// What the sink is told of itself, as a record.
    pub(crate) fn render_text(
        &self,
        level: Level,
        now: Timestamp,
        text: impl FnOnce(&mut Stamp) -> String,
    ) -> (Vec<u8>, Mark) {
        let mut stamp = Stamp::new(self.zone.clone());
        let text = text(&mut stamp);
        let record = Record::new(now, level, TARGET, text.as_str());
        let mut line = Vec::new();
        self.format.render(&record, &mut stamp, &mut line);
        let mark = Mark::new(now, level, line.len());
        (line, mark)
    }
}
