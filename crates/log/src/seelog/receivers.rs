//! From elements to [`Receiver`]s.

use std::sync::Arc;
use std::time::Duration;

use mainstay_base::{Secret, Size, nearest, parse_duration};

use crate::seelog::read::{Reader, Value, find};
use crate::seelog::xml::{Element, Fault, names_secret, shown};
use crate::seelog::{
    Archive, ArchiveKind, Buffered, Conn, CustomReceiver, DataParameter, DateLayout, File,
    FormatUse, Header, Login, NameMode, Password, Receiver, RollWhen, Rolling, Smtp, Tls,
};

/// What mail is about that says nothing else.
const SUBJECT: &str = "Diagnostic message from server: ";

/// The networks that Go's `net.Dial` knows.
const NETWORKS: [&str; 12] = [
    "tcp",
    "tcp4",
    "tcp6",
    "udp",
    "udp4",
    "udp6",
    "ip",
    "ip4",
    "ip6",
    "unix",
    "unixgram",
    "unixpacket",
];

/// The receivers that `<buffered>` can hold.
const WRITERS: [&str; 6] = ["console", "file", "rollingfile", "smtp", "conn", "buffered"];

impl Reader<'_> {
    /// The receiver that an element is; `None` was reported.
    pub(super) fn receiver(
        &mut self,
        element: &Element<'_>,
        format: &FormatUse,
    ) -> Option<Receiver> {
        match element.name {
            "console" => {
                self.known(element, &["formatid"]);
                self.no_children(element);
                Some(Receiver::Console)
            }
            "file" => self.file(element).map(Receiver::File),
            "rollingfile" => self.rolling(element).map(Receiver::Rolling),
            "buffered" => self.buffered(element, format).map(Receiver::Buffered),
            "conn" => self.conn(element).map(Receiver::Conn),
            "smtp" => self.smtp(element).map(Receiver::Smtp),
            "custom" => self.custom(element).map(Receiver::Custom),
            _ => None,
        }
    }

    fn file(&mut self, element: &Element<'_>) -> Option<File> {
        self.known(element, &["path", "formatid"]);
        self.no_children(element);
        let path = self.required(element, "path")?;
        if path.text.is_empty() {
            self.warn(
                Fault::new(
                    element.span.clone(),
                    "the path is empty: no record can be written",
                )
                .help("write where the file shall be"),
            );
        }
        self.writes(&path.text, path.span);
        Some(File {
            path: path.text.as_ref().into(),
        })
    }

    fn rolling(&mut self, element: &Element<'_>) -> Option<Rolling> {
        let shared = [
            "type",
            "filename",
            "formatid",
            "namemode",
            "archivetype",
            "archivepath",
            "archiveexploded",
            "maxrolls",
        ];
        let by_size = ["maxsize"];
        let by_date = ["datepattern", "fullname"];
        let all: Vec<&str> = shared
            .iter()
            .chain(&by_size)
            .chain(&by_date)
            .copied()
            .collect();
        self.known(element, &all);
        self.no_children(element);
        let names = self.choice(
            element,
            "namemode",
            &[("postfix", NameMode::Postfix), ("prefix", NameMode::Prefix)],
        );
        let max_rolls = self.max_rolls(element);
        let archive = self.archive(element, max_rolls);
        let path = self.required(element, "filename");
        if let Some(path) = &path {
            if path.text.is_empty() {
                self.warn(
                    Fault::new(
                        element.span.clone(),
                        "the file has no name: no record can be written",
                    )
                    .help("write where the file shall be"),
                );
            }
            self.writes(&path.text, path.span.clone());
        }
        let when = match self.required(element, "type") {
            Some(kind) => match &*kind.text {
                "size" => {
                    self.of_other_type(element, &by_date, "size");
                    self.max_size(element).map(|max| RollWhen::Size { max })
                }
                "date" => {
                    self.of_other_type(element, &by_size, "date");
                    self.date(element)
                }
                other => {
                    let message = format!("{} is no way to roll a file", shown(other));
                    self.error(Fault::new(kind.span, message).help("write size or date"));
                    None
                }
            },
            None => None,
        };
        Some(Rolling {
            path: path?.text.as_ref().into(),
            when: when?,
            names: names?.unwrap_or(NameMode::Postfix),
            max_rolls: max_rolls?,
            archive: archive?,
        })
    }

    /// Reports attributes that only a file of the other type has.
    fn of_other_type(&mut self, element: &Element<'_>, names: &[&str], kind: &str) {
        for name in names {
            if let Some(attribute) = find(element, name) {
                let span = attribute.name_span.clone();
                let message = format!("`{name}` does not belong to a file of type {kind}");
                self.error(Fault::new(span, message).help("remove it, or change the type"));
            }
        }
    }

    /// The outer `None` was reported, the inner one stands for "never".
    #[allow(clippy::option_option)]
    fn max_size(&mut self, element: &Element<'_>) -> Option<Option<u64>> {
        let value = self.required(element, "maxsize")?;
        if let Ok(bytes) = value.text.parse::<i64>() {
            if bytes <= 0 {
                let message = "with this size the file is never rolled";
                self.warn(
                    Fault::new(value.span, message)
                        .help("seelog loses all messages here; write a size above 0"),
                );
            }
            return Some(u64::try_from(bytes).ok().filter(|bytes| *bytes > 0));
        }
        if let Some(bytes) = self.size_with_unit(&value) {
            if bytes == 0 {
                let message = "with this size the file is never rolled";
                self.warn(Fault::new(value.span, message).help("write a size above 0"));
            }
            return Some(Some(bytes).filter(|bytes| *bytes > 0));
        }
        self.no_size(value);
        None
    }

    fn size_with_unit(&self, value: &Value<'_>) -> Option<u64> {
        let size = value.text.parse::<Size>();
        size.ok().filter(|_| self.extended()).map(|size| size.0)
    }

    fn no_size(&mut self, value: Value<'_>) {
        let fault = Fault::new(
            value.span,
            format!("{} is no number of bytes", shown(&value.text)),
        );
        self.error(fault.help(if self.extended() {
            "write a whole number, with a unit if you like, as in \"10MB\""
        } else {
            "write a whole number without a unit"
        }));
    }

    fn date(&mut self, element: &Element<'_>) -> Option<RollWhen> {
        let pattern = self.required(element, "datepattern");
        let full_name = self.flag(element, "fullname");
        let (pattern, full_name) = (pattern?, full_name?);
        let layout = DateLayout::compile(&pattern.text);
        if !layout.shows_time() {
            self.warn(
                Fault::new(
                    if pattern.text.is_empty() {
                        element.span.clone()
                    } else {
                        pattern.span
                    },
                    "the file is never rolled: its date pattern shows no part of the time",
                )
                .help("write how Mon Jan 2 15:04:05 2006 would look, as in 2006-01-02"),
            );
        }
        Some(RollWhen::Date {
            pattern: Arc::new(layout),
            full_name: full_name.unwrap_or(false),
        })
    }

    #[allow(clippy::option_option)]
    fn max_rolls(&mut self, element: &Element<'_>) -> Option<Option<u64>> {
        let Some(value) = self.get(element, "maxrolls").ok()? else {
            return Some(None);
        };
        let Ok(number) = value.text.parse::<i64>() else {
            let message = format!("{} is no number of files", shown(&value.text));
            self.error(Fault::new(value.span, message).help("write a whole number; 0 keeps all"));
            return None;
        };
        if number < 0 {
            self.warn(
                Fault::new(value.span, "a number below 0 keeps all rolled files")
                    .help("write 0, or how many shall be kept"),
            );
        }
        Some(u64::try_from(number).ok().filter(|number| *number > 0))
    }

    #[allow(clippy::option_option)]
    fn archive(
        &mut self,
        element: &Element<'_>,
        max_rolls: Option<Option<u64>>,
    ) -> Option<Option<Archive>> {
        let kind = self.choice(
            element,
            "archivetype",
            &[
                ("none", None),
                ("zip", Some(ArchiveKind::Zip)),
                ("gzip", Some(ArchiveKind::Gzip)),
            ],
        )?;
        let Some(kind) = kind.flatten() else {
            for name in ["archivepath", "archiveexploded"] {
                if let Some(attribute) = find(element, name) {
                    let span = attribute.name_span.clone();
                    self.warn(
                        Fault::new(span, format!("`{name}` means nothing: nothing is archived"))
                            .help("add archivetype=\"zip\" or \"gzip\", or remove it"),
                    );
                }
            }
            return Some(None);
        };
        if max_rolls == Some(None)
            && let Some(attribute) = find(element, "archivetype")
        {
            let span = attribute.value_span.clone();
            self.warn(
                Fault::new(span, "nothing is ever archived: all rolled files are kept")
                    .help("only files beyond `maxrolls` are archived: add it"),
            );
        }
        let exploded = match self.get(element, "archiveexploded").ok()? {
            None => Some(false),
            // The words of Go's `strconv.ParseBool`.
            Some(value) => match &*value.text {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
                "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
                other => {
                    let message = format!("{} is neither true nor false", shown(other));
                    self.error(Fault::new(value.span, message).help("write true or false"));
                    None
                }
            },
        };
        let path = match self.get(element, "archivepath").ok()? {
            Some(value) if value.text.is_empty() => {
                self.error(
                    Fault::new(element.span.clone(), "`archivepath` is empty")
                        .help("write where archives go, or remove it"),
                );
                None
            }
            Some(value) => Some(value.text.into_owned()),
            None => Some(kind.usual_path(exploded == Some(true)).to_owned()),
        };
        Some(Some(Archive {
            kind,
            exploded: exploded?,
            path: path?.into(),
        }))
    }

    fn buffered(&mut self, element: &Element<'_>, format: &FormatUse) -> Option<Buffered> {
        self.known(element, &["size", "flushperiod", "formatid"]);
        let size = self.required(element, "size").and_then(|value| {
            let size = if let Ok(size) = value.text.parse::<i64>() {
                u64::try_from(size).ok()
            } else {
                let Some(size) = self.size_with_unit(&value) else {
                    self.no_size(value);
                    return None;
                };
                Some(size)
            };
            let size = size.filter(|size| *size > 0);
            if size.is_none() {
                let message = "a buffer has more than 0 bytes";
                self.error(Fault::new(value.span, message).help("write a size above 0"));
            }
            size
        });
        let flush = self.flush_period(element);
        let Some(child) = element.children.first() else {
            self.error(
                Fault::new(element.span.clone(), "<buffered> holds no output")
                    .help(format!("put one into it, of {}", WRITERS.join(", "))),
            );
            return None;
        };
        if let Some(second) = element.children.get(1) {
            let name = shown(second.name);
            self.warn(
                Fault::new(
                    second.span.clone(),
                    format!(
                        "<{}> is ignored: <buffered> holds one output",
                        name.trim_matches('`')
                    ),
                )
                .help("give each a <buffered> of its own"),
            );
        }
        if !WRITERS.contains(&child.name) {
            self.unexpected(child, "buffered", &WRITERS);
            return None;
        }
        let inner_format = self.format_of(child, format);
        if inner_format.key != format.key {
            let span = find(child, "formatid").map_or(child.span.clone(), |a| a.value_span.clone());
            self.error(
                Fault::new(span, "what is in <buffered> has another format than it")
                    .help("name the format at <buffered> alone"),
            );
        }
        let inner = self.receiver(child, format);
        Some(Buffered {
            size: size?,
            flush: flush?.filter(|flush| !flush.is_zero()),
            inner: Box::new(inner?),
            inner_place: self.place(&child.span),
        })
    }

    /// Milliseconds, or a duration with its unit.
    #[allow(clippy::option_option)]
    fn flush_period(&mut self, element: &Element<'_>) -> Option<Option<Duration>> {
        let Some(value) = self.get(element, "flushperiod").ok()? else {
            return Some(None);
        };
        if let Ok(number) = value.text.parse::<i64>() {
            if let Ok(millis) = u64::try_from(number) {
                return Some(Some(Duration::from_millis(millis)));
            }
            let message = "a time between writes is not below 0";
            self.error(Fault::new(value.span, message).help("write 0 for never"));
            return None;
        }
        if self.extended()
            && let Ok(duration) = parse_duration(&value.text)
        {
            return Some(Some(duration));
        }
        let fault = Fault::new(
            value.span,
            format!("{} is no number of milliseconds", shown(&value.text)),
        );
        self.error(fault.help(if self.extended() {
            "write a whole number, or a time with its unit, as in \"2s\""
        } else {
            "write a whole number without a unit"
        }));
        None
    }

    fn conn(&mut self, element: &Element<'_>) -> Option<Conn> {
        self.known(
            element,
            &[
                "net",
                "addr",
                "formatid",
                "reconnectonmsg",
                "tls",
                "insecureskipverify",
            ],
        );
        self.no_children(element);
        let network = self.required(element, "net");
        let address = self.required(element, "addr");
        let reconnect = self.flag(element, "reconnectonmsg");
        let encrypted = self.flag(element, "tls").map(Option::unwrap_or_default);
        let tls = match encrypted {
            Some(true) => self.flag(element, "insecureskipverify").map(|skip| {
                let verify = !skip.unwrap_or(false);
                if let Some(attribute) = find(element, "insecureskipverify").filter(|_| !verify) {
                    let span = attribute.value_span.clone();
                    self.warn(
                        Fault::new(
                            span,
                            "anyone can pose as the other side: no certificate is checked",
                        )
                        .help("write false, and trust the certificate where the system does"),
                    );
                }
                Some(Tls { verify })
            }),
            Some(false) => {
                if let Some(attribute) = find(element, "insecureskipverify") {
                    let span = attribute.name_span.clone();
                    let message = "`insecureskipverify` means nothing without tls=\"true\"";
                    self.warn(Fault::new(span, message).help("add tls=\"true\", or remove it"));
                }
                Some(None)
            }
            None => None,
        };
        let (network, address) = (network?, address?);
        let base = network.text.split(':').next().unwrap_or("");
        if !NETWORKS.contains(&base) {
            let message = format!(
                "{} is no network: no connection can be made",
                shown(&network.text)
            );
            let known = format!("networks are {}", NETWORKS.join(", "));
            self.warn(Fault::new(network.span.clone(), message).help(
                match nearest(&network.text, NETWORKS) {
                    Some(near) if network.text.len() < 64 => {
                        format!("did you mean `{near}`? {known}")
                    }
                    _ => known,
                },
            ));
        }
        Some(Conn {
            network: network.text.into_owned(),
            address: address.text.into_owned(),
            reconnect: reconnect?.unwrap_or(false),
            tls: tls?,
        })
    }

    fn smtp(&mut self, element: &Element<'_>) -> Option<Smtp> {
        let mut names = vec![
            "senderaddress",
            "sendername",
            "hostname",
            "hostport",
            "username",
            "password",
            "subject",
            "formatid",
        ];
        if self.extended() {
            names.push("password_file");
        }
        self.known(element, &names);
        let mut text = |name| {
            let value = self.required(element, name)?;
            Some(value.text.into_owned())
        };
        let (address, name, host) = (text("senderaddress"), text("sendername"), text("hostname"));
        let port = self.port(element);
        let login = self.login(element);
        let subject = match self.get(element, "subject") {
            Ok(Some(value)) => Some(value.text.into_owned()),
            Ok(None) => Some(SUBJECT.to_owned()),
            Err(()) => None,
        };
        let (mut recipients, mut ca_directories, mut headers) =
            (Vec::new(), Vec::new(), Vec::new());
        for child in &element.children {
            match child.name {
                "recipient" => {
                    self.known(child, &["address"]);
                    let address = self.required(child, "address");
                    recipients.extend(address.map(|value| value.text.into_owned()));
                }
                "cacertdirpath" => {
                    self.known(child, &["path"]);
                    let path = self.required(child, "path");
                    ca_directories.extend(path.map(|value| value.text.as_ref().into()));
                }
                "header" => {
                    self.known(child, &["name", "value"]);
                    let name = self.required(child, "name").map(|v| v.text.into_owned());
                    let value = self.required(child, "value").map(|v| v.text.into_owned());
                    if let (Some(name), Some(value)) = (name, value) {
                        headers.push(Header { name, value });
                    }
                }
                _ => {
                    let known = ["recipient", "cacertdirpath", "header"];
                    self.unexpected(child, "smtp", &known);
                }
            }
            self.no_children(child);
        }
        if element.children.is_empty() {
            self.error(
                Fault::new(element.span.clone(), "<smtp> has no recipient")
                    .help("put a <recipient address=\"…\"/> into it"),
            );
        } else if recipients.is_empty() {
            self.warn(
                Fault::new(
                    element.span.clone(),
                    "mail goes to nobody: there is no recipient",
                )
                .help("put a <recipient address=\"…\"/> into it"),
            );
        }
        Some(Smtp {
            sender_address: address?,
            sender_name: name?,
            host: host?,
            port: port?,
            login: login?,
            subject: subject?,
            recipients,
            ca_directories,
            headers,
        })
    }

    fn port(&mut self, element: &Element<'_>) -> Option<i64> {
        let value = self.required(element, "hostport")?;
        let Ok(port) = value.text.parse::<i64>() else {
            let message = format!("{} is no port", shown(&value.text));
            self.error(Fault::new(value.span, message).help("write a whole number, as in \"587\""));
            return None;
        };
        if !(1..=65535).contains(&port) {
            let message = format!("there is no port {port}: no mail can be sent");
            self.warn(Fault::new(value.span, message).help("write a number from 1 to 65535"));
        }
        Some(port)
    }

    /// The outer `None` was reported, the inner one stands for mail without a login.
    #[allow(clippy::option_option)]
    fn login(&mut self, element: &Element<'_>) -> Option<Option<Login>> {
        let given = |name| find(element, name).is_some();
        let file = self.extended() && given("password_file");
        if self.extended() && !given("username") && !given("password") && !file {
            return Some(None);
        }
        let user = self.required(element, "username");
        let password = if file {
            if let Some(attribute) = find(element, "password") {
                let span = attribute.name_span.clone();
                let message = "`password` and `password_file` exclude each other";
                self.error(Fault::new(span, message).help("remove `password`"));
            }
            let path = self.required(element, "password_file")?;
            if path.text.is_empty() {
                self.error(
                    Fault::new(element.span.clone(), "`password_file` is empty")
                        .help("write the path of a file that holds the password"),
                );
                return None;
            }
            Password::File(path.text.as_ref().into())
        } else {
            let value = self.required(element, "password")?;
            let written = find(element, "password").is_some_and(|a| !a.value.contains("${"));
            if written && !value.text.is_empty() {
                self.warn(
                    Fault::new(value.span, "who may read this file may read the password")
                        .help("write password_file=\"PATH\", or ${NAME} for the environment"),
                );
            }
            Password::Value(Secret::new(value.text))
        };
        let user = user?.text.into_owned();
        // seelog would try to log in as nobody; a relay that asks for no login is meant.
        let nobody = self.extended() && user.is_empty();
        Some((!nobody).then_some(Login { user, password }))
    }

    fn custom(&mut self, element: &Element<'_>) -> Option<CustomReceiver> {
        let data: Vec<&str> = element
            .attributes
            .iter()
            .map(|attribute| attribute.name)
            .filter(|name| name.starts_with("data-"))
            .collect();
        let known: Vec<&str> = ["name", "formatid"].iter().chain(&data).copied().collect();
        self.known(element, &known);
        self.no_children(element);
        let mut parameters = Vec::new();
        let mut whole = true;
        for name in data {
            match self.get(element, name) {
                Ok(value) => parameters.extend(value.map(|value| DataParameter {
                    name: name.strip_prefix("data-").unwrap_or(name).to_owned(),
                    value: Secret::new(value.text),
                })),
                Err(()) => whole = false,
            }
            if names_secret(name)
                && let Some(attribute) = find(element, name).filter(|a| !a.value.contains("${"))
                && !attribute.value.is_empty()
            {
                let span = attribute.value_span.clone();
                let message = "who may read this file may read the secret";
                self.warn(Fault::new(span, message).help("write ${NAME} for the environment"));
            }
        }
        let name = self.required(element, "name")?;
        if let Some(names) = self.options.receivers
            && !names.contains(&&*name.text)
        {
            let message = format!("there is no receiver {}", shown(&name.text));
            let known = match names {
                [] => "the program registers none".to_owned(),
                names => format!("the program registers {}", names.join(", ")),
            };
            self.error(Fault::new(name.span, message).help(
                match nearest(&name.text, names.iter().copied()) {
                    Some(near) if name.text.len() < 256 => {
                        format!("did you mean `{near}`? {known}")
                    }
                    _ => known,
                },
            ));
            return None;
        }
        whole.then(|| CustomReceiver {
            name: name.text.into_owned(),
            data: parameters,
        })
    }

    /// "true" or "false", nothing else. The outer `None` was reported.
    #[allow(clippy::option_option)]
    fn flag(&mut self, element: &Element<'_>, name: &str) -> Option<Option<bool>> {
        self.choice(element, name, &[("true", true), ("false", false)])
    }

    /// One of some words. The outer `None` was reported.
    #[allow(clippy::option_option)]
    fn choice<T: Copy>(
        &mut self,
        element: &Element<'_>,
        name: &str,
        words: &[(&str, T)],
    ) -> Option<Option<T>> {
        let Some(value) = self.get(element, name).ok()? else {
            return Some(None);
        };
        if let Some((_, choice)) = words.iter().find(|(word, _)| *word == value.text) {
            return Some(Some(*choice));
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let message = format!("`{name}` cannot be {}", shown(&value.text));
        self.error(Fault::new(value.span, message).help(format!("write {}", known.join(" or "))));
        None
    }
}
