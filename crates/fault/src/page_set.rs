//! The pages of an app as values: which there are, which one is for a status and a reader, and how it
//! is rendered. What watches their directory is in [`Pages`](crate::Pages).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::StatusCode;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, context};

use crate::accept::{choose, is_tag};
use crate::answer::Shown;
use crate::catalog::{Catalog, FILE, Tongue};

/// How large a page may be, as a file and rendered.
const PAGE_BYTES: usize = 1024 * 1024;
/// How many files of the directory are read.
const FILES: usize = 256;
/// Steps that rendering one page may take, and how deep one may be in another.
const FUEL: u64 = 100_000;
const DEPTH: usize = 64;

/// What a page is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Purpose {
    /// `404.html`
    Status(u16),
    /// `4xx.html`, `5xx.html`
    Family(u16),
    /// `error.html`
    Any,
}

/// A page with the templates that it was checked with: those it extends or includes are theirs too,
/// whatever has become of the files since.
#[derive(Clone)]
struct Page {
    templates: Arc<Environment<'static>>,
    file: String,
    language: Option<String>,
}

/// Why a page can't be used, or the directory of all of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Trouble {
    file: PathBuf,
    line: Option<usize>,
    /// In characters from 1; only of texts.
    column: Option<usize>,
    why: String,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.file.ends_with(FILE) {
            "texts"
        } else if self.file.extension().is_some_and(|end| end == "html") {
            "error page"
        } else {
            "directory of error pages"
        };
        write!(f, "cannot use the {what} {}", self.file.display())?;
        for place in [self.line, self.column].into_iter().flatten() {
            write!(f, ":{place}")?;
        }
        write!(f, ": {}", self.why)
    }
}

impl std::error::Error for Trouble {}

/// A page that was rendered.
pub(crate) struct Rendered {
    pub(crate) body: Vec<u8>,
    /// The tag in the name of its file.
    pub(crate) language: Option<String>,
}

/// The pages of an app, and the language for those who read none of those that are built in.
#[derive(Clone)]
pub struct PageSet {
    directory: PathBuf,
    pages: BTreeMap<(Purpose, Option<String>), Page>,
    /// What was good of each file, for pages that extend or include it.
    sources: BTreeMap<String, Arc<str>>,
    words: Catalog,
    fallback: Cow<'static, str>,
}

impl fmt::Debug for PageSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.files()).finish()
    }
}

impl Default for PageSet {
    fn default() -> Self {
        Self::built_in()
    }
}

impl PageSet {
    /// No pages but those that are built in.
    pub const fn built_in() -> Self {
        Self {
            directory: PathBuf::new(),
            pages: BTreeMap::new(),
            sources: BTreeMap::new(),
            words: Catalog::none(),
            fallback: Cow::Borrowed("en"),
        }
    }

    /// With this language for those who read none that there is. A language that is not built in must
    /// be in the app's own texts; else it is English.
    #[must_use]
    pub fn with_fallback(mut self, tag: &str) -> Self {
        self.fallback = Cow::Owned(tag.to_owned());
        self
    }

    /// Reads the pages of a directory: `404.html` and any other status, `4xx.html` and `5xx.html`,
    /// `error.html`, each also with a language as in `404.zh-Hant.html`. Further files that end in
    /// `.html` can be extended and included. No name is ever made of what a visitor sends.
    ///
    /// What can't be used is told, and what `last` has in its place stays; also all of it, if the
    /// directory can't be read. Each page is rendered once to see that it can be.
    pub fn load(directory: &Path, last: &Self) -> (Self, Vec<Trouble>) {
        let mut troubles = Vec::new();
        let files = match list(directory) {
            Ok(files) => files,
            Err(why) => {
                troubles.push(Trouble {
                    file: directory.to_owned(),
                    line: None,
                    column: None,
                    why: why.to_string(),
                });
                return (last.clone(), troubles);
            }
        };
        let mut sources = BTreeMap::new();
        let mut broken = Vec::new();
        for file in files {
            let good = read(&directory.join(&file))
                .map_err(|why| (None, why))
                .and_then(|text| check(&file, &text).map(|()| text));
            match good {
                Ok(text) => {
                    sources.insert(file, Arc::from(text));
                }
                Err((line, why)) => {
                    if let Some(source) = last.sources.get(&file) {
                        sources.insert(file.clone(), Arc::clone(source));
                    }
                    troubles.push(Trouble {
                        file: directory.join(&file),
                        line,
                        column: None,
                        why,
                    });
                    broken.push(file);
                }
            }
        }
        let templates = Arc::new(environment(&sources));
        let mut new = Self {
            directory: directory.to_owned(),
            pages: BTreeMap::new(),
            sources,
            words: words(directory, &last.words, &mut troubles),
            fallback: last.fallback.clone(),
        };
        let files: Vec<String> = new.sources.keys().chain(&broken).cloned().collect();
        for file in files {
            let Some(key) = meaning(&file) else { continue };
            let page = Page {
                templates: Arc::clone(&templates),
                file: file.clone(),
                language: key.1.clone(),
            };
            let usable = !broken.contains(&file)
                && match new.draw(&page, &sample(key.0)) {
                    Ok(_) => true,
                    Err(trouble) => {
                        troubles.push(trouble);
                        false
                    }
                };
            if usable {
                new.pages.insert(key, page);
            } else if let Some(page) = last.pages.get(&key) {
                new.pages.insert(key, page.clone());
            }
        }
        (new, troubles)
    }

    /// The files of the pages that are in use, as the app has named them.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.pages.values().map(|page| page.file.as_str())
    }

    /// The language for a reader.
    pub(crate) fn tongue(&self, asked: &[String]) -> Tongue<'_> {
        self.words.tongue(asked, &self.fallback)
    }

    /// Renders the app's page for what is shown; `None`: it has none.
    pub(crate) fn render(
        &self,
        asked: &[String],
        shown: &Shown<'_>,
    ) -> Option<Result<Rendered, Trouble>> {
        let page = self.page(asked, shown.status)?;
        Some(self.draw(page, shown).map(|body| Rendered {
            body,
            language: page.language.clone(),
        }))
    }

    /// The page for a status and a reader: that of the status, then of its family, then any; in each
    /// the reader's language first.
    fn page(&self, asked: &[String], status: StatusCode) -> Option<&Page> {
        let status = status.as_u16();
        [
            Purpose::Status(status),
            Purpose::Family(status / 100),
            Purpose::Any,
        ]
        .into_iter()
        .find_map(|purpose| {
            let of_purpose: Vec<&Page> = self
                .pages
                .iter()
                .filter(|((key, language), _)| *key == purpose && language.is_some())
                .map(|(_, page)| page)
                .collect();
            let tags: Vec<&str> = of_purpose
                .iter()
                .filter_map(|page| page.language.as_deref())
                .collect();
            let by_language =
                |asked: &[String]| choose(asked, &tags).map(|index| of_purpose[index]);
            by_language(asked)
                .or_else(|| self.pages.get(&(purpose, None)))
                .or_else(|| by_language(&[self.tongue(&[]).tag().to_owned()]))
        })
    }

    fn draw(&self, page: &Page, shown: &Shown<'_>) -> Result<Vec<u8>, Trouble> {
        let mut body = Bounded(Vec::new());
        let values = context! {
            id => shown.id.as_str(),
            status => shown.status.as_u16(),
            title => shown.title,
            info => shown.info,
            language => page.language.as_deref().unwrap_or(shown.language),
            retry_after => shown.retry_after.map_or(Value::UNDEFINED, Value::from),
        };
        page.templates
            .get_template(&page.file)
            .and_then(|template| template.render_captured_to(values, &mut body).map(drop))
            .map_err(|error| {
                let file = error.name().unwrap_or(&page.file).to_owned();
                Trouble {
                    file: self.directory.join(file),
                    line: error.line(),
                    column: None,
                    why: reason(&error),
                }
            })?;
        Ok(body.0)
    }
}

/// What a page is tried with.
fn sample(purpose: Purpose) -> Shown<'static> {
    let status = match purpose {
        Purpose::Status(status) => status,
        Purpose::Family(family) => family * 100,
        Purpose::Any => 500,
    };
    Shown {
        id: "00000-00000".to_owned(),
        status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        title: "Title",
        info: "Info",
        language: "en",
        retry_after: Some(1),
    }
}

/// What the name of a file means: `404.zh-Hant.html`.
fn meaning(file: &str) -> Option<(Purpose, Option<String>)> {
    let name = file.strip_suffix(".html")?;
    let (name, language) = match name.split_once('.') {
        Some((name, tag)) if is_tag(tag) && tag != "*" => (name, Some(tag.to_owned())),
        Some(_) => return None,
        None => (name, None),
    };
    let purpose = match name {
        "error" => Purpose::Any,
        "4xx" => Purpose::Family(4),
        "5xx" => Purpose::Family(5),
        _ => {
            let status: u16 = (name.len() == 3).then(|| name.parse().ok()).flatten()?;
            (400..600)
                .contains(&status)
                .then_some(Purpose::Status(status))?
        }
    };
    Some((purpose, language))
}

/// The names of the files that count.
fn list(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let Ok(name) = entry?.file_name().into_string() else {
            continue;
        };
        if counts(&name) {
            names.push(name);
        }
    }
    names.sort();
    names.truncate(FILES);
    Ok(names)
}

/// Whether a file is a page or a part of one: a plain name that ends in `.html`.
pub(crate) fn counts(name: &str) -> bool {
    name.len() <= 64
        && name.strip_suffix(".html").is_some()
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn read(path: &Path) -> Result<String, String> {
    let text = read_text(path)?.ok_or("it is gone")?;
    Ok(with_go_names(&text))
}

/// A file of the directory; none if it is not there.
fn read_text(path: &Path) -> Result<Option<String>, String> {
    use io::Read as _;
    let broken = |error: io::Error| error.to_string();
    // What is no file, such as a pipe, could keep the reader waiting for ever.
    match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        metadata if !metadata.as_ref().is_ok_and(std::fs::Metadata::is_file) => {
            return Err(metadata.err().map_or("it is no file".to_owned(), broken));
        }
        _ => {}
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(PAGE_BYTES as u64 + 1).read_to_end(&mut bytes))
        .map_err(broken)?;
    if bytes.len() > PAGE_BYTES {
        return Err(format!(
            "it is larger than {PAGE_BYTES} bytes, which is the most for a page"
        ));
    }
    let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    Ok(Some(text))
}

/// Templates for Go's `html/template` name the text `{{.ErrorInfo}}`: it is the same as `{{ info }}`.
fn with_go_names(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("{{") {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let inside = from[2..].find("}}").map(|end| &from[2..2 + end]);
        match inside {
            Some(inside) if inside.trim_matches(['-', ' ']) == ".ErrorInfo" => {
                out.push_str("{{ info }}");
                rest = &from[inside.len() + 4..];
            }
            _ => {
                out.push_str("{{");
                rest = &from[2..];
            }
        }
    }
    out.push_str(rest);
    out
}

fn blank() -> Environment<'static> {
    let mut templates = Environment::new();
    templates.set_fuel(Some(FUEL));
    templates.set_recursion_limit(DEPTH);
    templates.set_undefined_behavior(UndefinedBehavior::Lenient);
    // All of them are pages, whatever their name.
    templates.set_auto_escape_callback(|_| AutoEscape::Html);
    templates
}

fn check(file: &str, text: &str) -> Result<(), (Option<usize>, String)> {
    let mut templates = blank();
    templates
        .add_template_owned(file.to_owned(), text.to_owned())
        .map_err(|error| (error.line(), reason(&error)))
}

fn environment(sources: &BTreeMap<String, Arc<str>>) -> Environment<'static> {
    let mut templates = blank();
    for (file, text) in sources {
        // Each was checked alone before.
        let _ = templates.add_template_owned(file.clone(), text.to_string());
    }
    templates
}

/// The texts of a directory. What can't be used is told, and the last ones stay.
fn words(directory: &Path, last: &Catalog, troubles: &mut Vec<Trouble>) -> Catalog {
    let file = directory.join(FILE);
    let text = match read_text(&file) {
        Ok(Some(text)) => text,
        Ok(None) => return Catalog::none(),
        Err(why) => {
            troubles.push(Trouble {
                file,
                line: None,
                column: None,
                why,
            });
            return last.clone();
        }
    };
    match Catalog::read(&file, text) {
        Ok(words) => words,
        Err(found) => {
            troubles.extend(found.iter().map(|diagnostic| {
                let place = diagnostic.place.as_ref();
                let place = place.map(|place| place.source.line_column(place.span.start));
                let help = diagnostic.help.as_ref().map(|help| format!("; {help}"));
                Trouble {
                    file: file.clone(),
                    line: place.map(|(line, _)| line),
                    column: place.map(|(_, column)| column),
                    why: format!("{}{}", diagnostic.message, help.unwrap_or_default()),
                }
            }));
            last.clone()
        }
    }
}

/// What went wrong in a template, without its place.
fn reason(error: &minijinja::Error) -> String {
    let mut words = error.kind().to_string();
    if let Some(detail) = error.detail() {
        words = format!("{words}: {detail}");
    }
    if let Some(cause) = std::error::Error::source(error) {
        words = format!("{words}: {cause}");
    }
    words
}

/// A buffer that takes no more than a page may have.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > PAGE_BYTES {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("the page becomes larger than {PAGE_BYTES} bytes"),
            ));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files() {
        let status =
            |status, tag: Option<&str>| Some((Purpose::Status(status), tag.map(str::to_owned)));
        for (file, expected) in [
            ("404.html", status(404, None)),
            ("404.zh-Hant.html", status(404, Some("zh-Hant"))),
            ("503.en.html", status(503, Some("en"))),
            ("error.html", Some((Purpose::Any, None))),
            (
                "error.zh-TW.html",
                Some((Purpose::Any, Some("zh-TW".to_owned()))),
            ),
            ("4xx.html", Some((Purpose::Family(4), None))),
            (
                "5xx.de.html",
                Some((Purpose::Family(5), Some("de".to_owned()))),
            ),
            ("200.html", None),
            ("600.html", None),
            ("0404.html", None),
            ("+04.html", None),
            ("404.htm", None),
            ("404.*.html", None),
            ("404.a.html", None),
            ("404.en.de.html", None),
            ("base.html", None),
            ("3xx.html", None),
        ] {
            assert_eq!(meaning(file), expected, "{file}");
        }
        for (name, read) in [
            ("base.html", true),
            (".html", false),
            ("..html", false),
            ("a/b.html", false),
            ("ä.html", false),
        ] {
            assert_eq!(counts(name), read, "{name}");
        }
    }

    #[test]
    fn go_templates() {
        for (text, expected) in [
            ("<p>{{.ErrorInfo}}</p>", "<p>{{ info }}</p>"),
            ("{{ .ErrorInfo }}{{- .ErrorInfo -}}", "{{ info }}{{ info }}"),
            ("{{ info }}", "{{ info }}"),
            ("{{ x.ErrorInfo }}", "{{ x.ErrorInfo }}"),
            ("{{ {{.ErrorInfo}}", "{{ {{ info }}"),
            ("{{.ErrorInfo", "{{.ErrorInfo"),
            ("{{", "{{"),
        ] {
            assert_eq!(with_go_names(text), expected, "{text}");
        }
    }
}
