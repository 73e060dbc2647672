//! The web pages, spec section 1.8: what they look like. They need no script, work on a small
//! screen and in the dark, and whatever comes from outside is escaped.
//!
//! What does something is a button that sends `POST`, because browsers say with it which page asked.
//! The addresses that the original has for `GET` work too; the server decides whether one may do what
//! it says.

use mainstay_supervise::Phase;

/// The style sheet.
pub const STYLE: &str = include_str!("pages/style.css");

/// The icon.
pub const ICON: &str = include_str!("pages/icon.svg");

/// A text in HTML, being written.
#[derive(Debug, Default)]
struct Html(String);

impl Html {
    /// Markup, ours.
    fn raw(&mut self, markup: &str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Text from anywhere, which becomes no markup, neither between tags nor in a quoted attribute.
    fn text(&mut self, text: &str) -> &mut Self {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                // HTML has no other control characters; their pictures show that they were there.
                c if c.is_ascii_control() && !matches!(c, '\n' | '\t' | '\r') => {
                    let picture = char::from_u32(0x2400 + u32::from(c));
                    self.0.push(picture.unwrap_or('\u{fffd}'));
                }
                c => self.0.push(c),
            }
        }
        self
    }
}

/// A text as part of an address: all but letters, digits and `/_.-~` is quoted.
pub fn quote(text: &str) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"/_.-~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(DIGITS[usize::from(byte >> 4)]));
            out.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
    out
}

fn page(title: &str, write: impl FnOnce(&mut Html)) -> String {
    let mut html = Html::default();
    html.raw(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>",
    )
    .text(title)
    .raw(
        "</title>\n<link rel=\"stylesheet\" href=\"stylesheets/supervisor.css\">\n\
         <link rel=\"icon\" href=\"images/icon.svg\" type=\"image/svg+xml\">\n</head>\n<body>\n",
    );
    write(&mut html);
    html.raw("</body>\n</html>\n");
    html.0
}

/// A process in the table.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its whole name.
    pub name: String,
    /// How it is.
    pub phase: Phase,
    /// How it is, in words.
    pub description: String,
}

/// The table of all processes. `message` says what became of the last action.
pub fn status(rows: &[Row], message: Option<&str>, identification: &str, version: &str) -> String {
    page("Supervisor Status", |html| {
        html.raw("<header><h1>Supervisor status</h1><p>")
            .text(identification)
            .raw("</p></header>\n<main>\n");
        // Screen readers read it as soon as it is there.
        html.raw("<p id=\"message\" role=\"status\">")
            .text(message.unwrap_or(""))
            .raw("</p>\n<form action=\"index.html\" method=\"post\">\n<p class=\"all\">");
        html.raw("<a class=\"button\" href=\"index.html?action=refresh\">Refresh</a> ");
        button(html, "index.html?action=restartall", "Restart All", "");
        button(html, "index.html?action=stopall", "Stop All", "");
        html.raw("</p>\n");
        if rows.is_empty() {
            html.raw("<p>No programs to manage</p>\n");
        } else {
            html.raw(
                "<table>\n<thead><tr><th scope=\"col\">State</th>\
                 <th scope=\"col\">Description</th><th scope=\"col\">Name</th>\
                 <th scope=\"col\">Action</th></tr></thead>\n<tbody>\n",
            );
            for it in rows {
                row(html, it);
            }
            html.raw("</tbody>\n</table>\n");
        }
        html.raw("</form>\n</main>\n<footer><p>mainstay, in place of Supervisor ")
            .text(version)
            .raw("</p></footer>\n");
    })
}

fn row(html: &mut Html, row: &Row) {
    let name = quote(&row.name);
    html.raw("<tr><td data-label=\"State\"><span class=\"state ")
        .raw(class(row.phase))
        .raw("\">")
        .raw(&row.phase.name().to_ascii_lowercase())
        .raw("</span></td><td data-label=\"Description\">")
        .text(&row.description)
        .raw("</td><th scope=\"row\" data-label=\"Name\"><a href=\"tail.html?processname=")
        .raw(&name)
        .raw("\">")
        .text(&row.name)
        .raw("</a></th><td data-label=\"Action\" class=\"actions\">");
    let actions: &[(&str, &str)] = match row.phase {
        Phase::Running => &[("restart", "Restart"), ("stop", "Stop")],
        Phase::Stopped | Phase::Exited | Phase::Fatal => &[("start", "Start")],
        _ => &[],
    };
    for (action, label) in actions.iter().chain(&[("clearlog", "Clear Log")]) {
        let address = format!("index.html?processname={name}&amp;action={action}");
        button(html, &address, label, &row.name);
    }
    for (channel, label) in [("", "Tail -f Stdout"), ("/stderr", "Tail -f Stderr")] {
        html.raw("<a class=\"button\" href=\"logtail/")
            .raw(&name)
            .raw(channel)
            .raw("\" target=\"_blank\" rel=\"noopener\">")
            .raw(label)
            .raw("</a> ");
    }
    html.raw("</td></tr>\n");
}

/// A button that does what stands at the address, which is already escaped. `of` is what it is
/// about, for those who do not see the table.
fn button(html: &mut Html, address: &str, label: &str, of: &str) {
    html.raw("<button formaction=\"").raw(address).raw("\"");
    if !of.is_empty() {
        html.raw(" aria-label=\"")
            .raw(label)
            .raw(" ")
            .text(of)
            .raw("\"");
    }
    html.raw(">").raw(label).raw("</button> ");
}

fn class(phase: Phase) -> &'static str {
    match phase {
        Phase::Running => "good",
        Phase::Fatal | Phase::Backoff | Phase::Unknown => "bad",
        Phase::Starting | Phase::Stopping => "busy",
        Phase::Stopped | Phase::Exited => "quiet",
    }
}

/// The end of a log. `process` is the whole name, if one was asked for; `limit` is in bytes.
pub fn tail(process: Option<&str>, text: &str, limit: i64) -> String {
    let title = format!(
        "Supervisor tail of process {}",
        process.unwrap_or("that was not named")
    );
    page(&title, |html| {
        html.raw("<header><h1>")
            .text(&title)
            .raw("</h1></header>\n<main>\n");
        html.raw("<pre tabindex=\"0\">")
            .text(text)
            .raw("</pre>\n<p>");
        if let Some(process) = process {
            let name = quote(process);
            let refresh = format!("tail.html?processname={name}&amp;limit={limit}");
            let more = format!(
                "tail.html?processname={name}&amp;limit={}",
                limit.saturating_mul(8)
            );
            for (address, label) in [
                (refresh.as_str(), "Refresh"),
                (more.as_str(), "Show more"),
                (&format!("logtail/{name}"), "Tail -f Stdout"),
            ] {
                html.raw("<a class=\"button\" href=\"")
                    .raw(address)
                    .raw("\">")
                    .raw(label)
                    .raw("</a> ");
            }
        }
        html.raw("<a class=\"button\" href=\"index.html\">Status</a></p>\n</main>\n");
    })
}

/// A question before something is done that a link asked for, and nobody knows whose. `query` is
/// what the link had behind its `?`.
pub fn confirm(query: &str) -> String {
    page("Supervisor: please confirm", |html| {
        html.raw(
            "<main><h1>Please confirm</h1>\n<p>A link asked for this, and your browser does not say \
             on which page it was:</p>\n<pre>",
        )
        .text(query)
        .raw("</pre>\n<form method=\"post\" action=\"index.html?")
        .text(query)
        .raw(
            "\"><button>Do it</button> <a class=\"button\" href=\"index.html\">Leave it</a></form>\n\
             </main>\n",
        );
    })
}

/// What is shown when there is nothing else to show.
pub fn error(code: u16, reason: &str, why: &str) -> String {
    let title = format!("{code} {reason}");
    page(&title, |html| {
        html.raw("<main><h1>")
            .text(&title)
            .raw("</h1>\n<p>")
            .text(why)
            .raw("</p></main>\n");
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVIL: &str = "<script>alert('x')</script>\"&\u{1b}[1m";

    #[test]
    fn nothing_from_outside_becomes_markup() {
        let row = |phase| Row {
            name: format!("g:{EVIL}"),
            phase,
            description: EVIL.to_owned(),
        };
        let rows = Phase::ALL.map(row);
        for page in [
            status(&rows, Some(EVIL), EVIL, EVIL),
            tail(Some(EVIL), EVIL, 1024),
            confirm(EVIL),
            error(404, EVIL, EVIL),
        ] {
            assert!(
                !page.contains("<script") && !page.contains("alert('"),
                "{page}"
            );
            assert!(!page.contains('\u{1b}'), "{page}");
            assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)"), "{page}");
        }
    }

    #[test]
    fn actions_fit_the_state() {
        // (phase, what can be done)
        for (phase, expected) in [
            (Phase::Running, &["restart", "stop", "clearlog"][..]),
            (Phase::Stopped, &["start", "clearlog"]),
            (Phase::Exited, &["start", "clearlog"]),
            (Phase::Fatal, &["start", "clearlog"]),
            (Phase::Starting, &["clearlog"]),
            (Phase::Stopping, &["clearlog"]),
            (Phase::Backoff, &["clearlog"]),
            (Phase::Unknown, &["clearlog"]),
        ] {
            let row = Row {
                name: "g:p q".to_owned(),
                phase,
                description: String::new(),
            };
            let page = status(&[row], None, "supervisor", "4.2.5");
            let before = "processname=g%3Ap%20q&amp;action=";
            let found: Vec<&str> = page
                .split(before)
                .skip(1)
                .filter_map(|rest| rest.split('"').next())
                .collect();
            assert_eq!(found, expected, "{phase}");
            assert!(page.contains("href=\"logtail/g%3Ap%20q/stderr\""));
        }
        let page = status(&[], None, "supervisor", "4.2.5");
        assert!(page.contains("No programs to manage"));
    }

    #[test]
    fn addresses_are_quoted() {
        for (text, expected) in [
            ("g:p", "g%3Ap"),
            ("a b&c=d", "a%20b%26c%3Dd"),
            ("ä/_.-~", "%C3%A4/_.-~"),
        ] {
            assert_eq!(quote(text), expected);
        }
    }
}
