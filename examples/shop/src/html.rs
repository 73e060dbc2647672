//! A writer of HTML that cannot forget to escape.
//!
//! Markup enters only as `&'static str`, that is as text of this program; everything that was made
//! at run time goes through [`Html::text`], which escapes it. All attributes are written in double
//! quotes, so one set of escapes is right for both text and attribute values.

use std::fmt::{self, Display, Write};

/// HTML under construction.
#[derive(Default)]
pub(crate) struct Html {
    out: String,
}

impl Html {
    /// An empty piece of HTML.
    pub(crate) fn new() -> Html {
        Html::default()
    }

    /// Appends markup that is part of this program, as it is.
    pub(crate) fn raw(&mut self, markup: &'static str) -> &mut Html {
        self.out.push_str(markup);
        self
    }

    /// Appends a value as text; no character of it can become markup, in an element or in a
    /// double-quoted attribute.
    pub(crate) fn text(&mut self, value: impl Display) -> &mut Html {
        // Writing into a String cannot fail; a Display that reports an error has written what it
        // could, and half a value is still safe.
        let _ = write!(Escaper(&mut self.out), "{value}");
        self
    }

    /// Appends a value as one segment of a URL path: everything but unreserved characters
    /// (RFC 3986, 2.3) is percent-encoded.
    pub(crate) fn segment(&mut self, value: &str) -> &mut Html {
        self.out.push_str(&percent(value));
        self
    }

    /// Appends the same for every item.
    pub(crate) fn each<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Html, T),
    ) -> &mut Html {
        for item in items {
            write(self, item);
        }
        self
    }

    /// The finished text.
    pub(crate) fn finish(self) -> String {
        self.out
    }
}

struct Escaper<'a>(&'a mut String);

impl Write for Escaper<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                // HTML has no way to write these; a browser would drop or misread them.
                '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' | '\x7f' => {
                    self.0.push('\u{fffd}');
                }
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}

/// Percent-encodes everything but the unreserved characters of RFC 3986, 2.3. The result is also
/// a valid value of an extended header parameter (RFC 8187, 3.2).
pub(crate) fn percent(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Html, percent};

    #[test]
    fn text_is_escaped_and_markup_is_not() {
        for (value, want) in [
            ("plain", "plain"),
            ("a < b & c > d", "a &lt; b &amp; c &gt; d"),
            ("\"quoted\" 'too'", "&quot;quoted&quot; &#39;too&#39;"),
            (
                "<script>alert(1)</script>",
                "&lt;script&gt;alert(1)&lt;/script&gt;",
            ),
            ("&amp;", "&amp;amp;"),
            ("bell\x07 nul\0", "bell\u{fffd} nul\u{fffd}"),
            ("two\nlines\tand 船", "two\nlines\tand 船"),
        ] {
            let mut html = Html::new();
            html.raw("<p>").text(value).raw("</p>");
            assert_eq!(html.finish(), format!("<p>{want}</p>"), "{value:?}");
        }
    }

    #[test]
    fn segments_are_percent_encoded() {
        for (value, want) in [
            ("a-b_c.d~1", "a-b_c.d~1"),
            ("a b", "a%20b"),
            ("../x?y#z", "..%2Fx%3Fy%23z"),
            ("\"><i>", "%22%3E%3Ci%3E"),
            ("船", "%E8%88%B9"),
        ] {
            assert_eq!(percent(value), want);
        }
    }
}
