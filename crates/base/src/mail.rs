//! What everybody who fills a mail agrees about.

/// The headers that are the composer's to set (RFC 5322 section 3.6, RFC 2045, RFC 3834).
const COMPOSED: [&str; 12] = [
    "from",
    "to",
    "cc",
    "bcc",
    "subject",
    "date",
    "message-id",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
    "sender",
    "auto-submitted",
];

/// Whether a header of a mail is set by who composes it, and so by no config. Names are alike in
/// either case (RFC 5322 section 1.2.2).
pub fn is_composed_header(name: &str) -> bool {
    COMPOSED.iter().any(|own| own.eq_ignore_ascii_case(name))
}
