//! Just enough of an HTTP client to look at a page, send a form and upload a file.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// How long a page may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Marks the parts of an upload; no file of the demo holds it.
const BOUNDARY: &str = "mainstay-demo-boundary";

/// An answer: its status and its body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

/// What goes into the body of a request.
pub(super) enum Body<'a> {
    Nothing,
    /// Fields of a form; their values are written as they are, so they hold letters and digits only.
    Form(&'a [(&'a str, &'a str)]),
    /// A file's name and text, as the field `file`.
    File(&'a str, &'a str),
}

/// Asks a server on this machine.
pub(super) fn ask(port: u16, method: &str, path: &str, body: &Body<'_>) -> Result<Answer, String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    exchange(address, &request(address, method, path, body))
        .map_err(|why| format!("{method} http://{address}{path}: {why}"))
        .and_then(|raw| {
            answer(&raw)
                .ok_or_else(|| format!("{method} http://{address}{path}: not an HTTP answer"))
        })
}

fn exchange(address: SocketAddr, request: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut raw = Vec::new();
    stream.read_to_end(&mut raw)?;
    Ok(String::from_utf8_lossy(&raw).into_owned())
}

fn request(address: SocketAddr, method: &str, path: &str, body: &Body<'_>) -> String {
    let (kind, content) = match body {
        Body::Nothing => (String::new(), String::new()),
        Body::Form(fields) => {
            let pairs: Vec<String> = fields
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            (
                "application/x-www-form-urlencoded".to_owned(),
                pairs.join("&"),
            )
        }
        Body::File(name, text) => (
            format!("multipart/form-data; boundary={BOUNDARY}"),
            format!(
                "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\nContent-Type: text/plain\r\n\r\n{text}\r\n--{BOUNDARY}--\r\n"
            ),
        ),
    };
    let headers = if kind.is_empty() {
        String::new()
    } else {
        format!(
            "Content-Type: {kind}\r\nContent-Length: {}\r\n",
            content.len()
        )
    };
    // HTTP/1.0: the server closes when it has answered, so the body has no chunks (RFC 1945).
    format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\n{headers}\r\n{content}")
}

fn answer(raw: &str) -> Option<Answer> {
    let (head, body) = raw.split_once("\r\n\r\n")?;
    let status = head
        .strip_prefix("HTTP/1.")?
        .split(' ')
        .nth(1)?
        .parse()
        .ok()?;
    Some(Answer {
        status,
        body: body.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_say_how_long_they_are() {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 80));
        assert_eq!(
            request(address, "GET", "/up", &Body::Nothing),
            "GET /up HTTP/1.0\r\nHost: 127.0.0.1:80\r\n\r\n"
        );
        let form = request(
            address,
            "POST",
            "/f",
            &Body::Form(&[("a", "1"), ("b", "2")]),
        );
        assert!(form.ends_with("Content-Length: 7\r\n\r\na=1&b=2"), "{form}");
        let file = request(address, "POST", "/f", &Body::File("a.txt", "hello"));
        let (head, body) = file.split_once("\r\n\r\n").expect("a head and a body");
        assert!(
            head.contains(&format!("Content-Length: {}", body.len())),
            "{head}"
        );
        assert!(
            body.contains("filename=\"a.txt\"") && body.contains("hello\r\n--"),
            "{body}"
        );
    }

    #[test]
    fn answers_are_read_or_refused() {
        let table = [
            (
                "HTTP/1.0 200 OK\r\nA: b\r\n\r\nhi\r\n\r\nyou",
                Some((200, "hi\r\n\r\nyou")),
            ),
            ("HTTP/1.1 303 See Other\r\n\r\n", Some((303, ""))),
            ("HTTP/1.1 x\r\n\r\n", None),
            ("hello\r\n\r\n", None),
            ("", None),
        ];
        for (raw, expected) in table {
            let expected = expected.map(|(status, body)| Answer {
                status,
                body: body.to_owned(),
            });
            assert_eq!(answer(raw), expected, "{raw}");
        }
    }
}
