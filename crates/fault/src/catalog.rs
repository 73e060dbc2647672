//! Texts of an app's own, in place of those that are built in or in further languages: `words.toml`
//! beside its pages.

use std::collections::BTreeMap;
use std::path::Path;

use http::StatusCode;
use mainstay_base::config::{Document, FromValue, Section, Value};
use mainstay_base::{Diagnostic, Diagnostics};

use crate::accept::{choose, is_tag};
use crate::class::Class;
use crate::words::{Language, Words};

/// The file that the texts are in.
pub(crate) const FILE: &str = "words.toml";
/// How many languages there may be, and how long a text.
const LANGUAGES: usize = 64;
const TEXT_BYTES: usize = 1000;

/// What a text is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    /// `"database.conflict"`
    Class(&'static str),
    /// `404`
    Status(u16),
    /// `4xx`
    Family(u16),
    /// `error`
    Any,
}

impl Subject {
    fn parse(name: &str) -> Option<Self> {
        match name {
            "error" => return Some(Self::Any),
            "4xx" => return Some(Self::Family(4)),
            "5xx" => return Some(Self::Family(5)),
            _ => {}
        }
        let is_status = name.len() == 3 && name.bytes().all(|byte| byte.is_ascii_digit());
        match name.parse() {
            Ok(status @ 400..600) if is_status => Some(Self::Status(status)),
            _ => name
                .parse()
                .ok()
                .map(|class: Class| Self::Class(class.name())),
        }
    }
}

/// What the app says in one language. Of one that is built in, what is missing is as it is built in;
/// of another one nothing is.
#[derive(Debug, Clone)]
struct Own {
    tag: String,
    built_in: Option<Language>,
    code: Option<String>,
    home: Option<String>,
    again: Option<String>,
    titles: BTreeMap<Subject, String>,
    details: BTreeMap<Subject, String>,
}

/// The app's own texts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Catalog {
    languages: Vec<Own>,
}

impl Catalog {
    /// None of its own.
    pub(crate) const fn none() -> Self {
        Self {
            languages: Vec::new(),
        }
    }

    /// Reads the file; every fault has its place.
    pub(crate) fn read(path: &Path, text: String) -> Result<Self, Diagnostics> {
        let document = Document::parse(path, text)?;
        let mut root = document.root();
        let mut languages: Vec<Own> = Vec::new();
        for (tag, section) in root.sections("language") {
            let say = |message: String| root.report(Diagnostic::error(message).at(&tag.place));
            let tags = Language::ALL.map(Language::tag);
            let built_in = tags
                .iter()
                .position(|known| known.eq_ignore_ascii_case(&tag.value))
                .map(|index| Language::ALL[index]);
            let twice = |own: &Own| own.tag.eq_ignore_ascii_case(&tag.value);
            if !is_tag(&tag.value) || tag.value == "*" {
                say(format!("`{}` is no tag of a language", tag.value));
            } else if languages.iter().any(twice) {
                say(format!("the language {} is there twice", tag.value));
            } else if languages.len() >= LANGUAGES {
                say(format!("there are more than {LANGUAGES} languages"));
            }
            languages.push(Own::read(tag.value, built_in, section));
        }
        root.finish();
        let found = document.take_diagnostics();
        if found.has_errors() {
            return Err(found);
        }
        Ok(Self { languages })
    }

    /// The language for a reader, and for those who read none of those there are.
    pub(crate) fn tongue(&self, asked: &[String], fallback: &str) -> Tongue<'_> {
        let mut tongues = Language::ALL
            .map(|language| Tongue {
                built_in: Some(language),
                own: None,
            })
            .to_vec();
        for own in &self.languages {
            let known = tongues.iter_mut().find(|tongue| {
                tongue.own.is_none() && tongue.built_in.is_some() && tongue.built_in == own.built_in
            });
            match known {
                Some(tongue) => tongue.own = Some(own),
                None => tongues.push(Tongue {
                    built_in: None,
                    own: Some(own),
                }),
            }
        }
        let tags: Vec<&str> = tongues.iter().map(Tongue::tag).collect();
        let index = choose(asked, &tags)
            .or_else(|| choose(&[fallback.to_owned()], &tags))
            .unwrap_or(0);
        tongues[index]
    }
}

impl Own {
    fn read(tag: String, built_in: Option<Language>, mut section: Section<'_>) -> Self {
        let is_new = built_in.is_none();
        let mut own = Self {
            tag: built_in.map_or(tag, |language| language.tag().to_owned()),
            built_in,
            code: text(&mut section, "code", is_new),
            home: text(&mut section, "home", is_new),
            again: text(&mut section, "again", is_new),
            titles: BTreeMap::new(),
            details: BTreeMap::new(),
        };
        for (name, mut page) in section.sections("page") {
            let Some(subject) = Subject::parse(&name.value) else {
                let classes = Class::ALL.iter().map(|class| class.name());
                let near = mainstay_base::nearest(&name.value, classes);
                let help = match near {
                    Some(near) => format!("did you mean \"{near}\"?"),
                    None => "a page is error, 4xx, 5xx, a status from 400 to 599 or a class".into(),
                };
                let what = format!("`{}` is no status and no class of errors", name.value);
                section.report(Diagnostic::error(what).at(&name.place).help(help));
                continue;
            };
            let needed = is_new && subject == Subject::Any;
            own.titles
                .extend(text(&mut page, "title", needed).map(|text| (subject, text)));
            own.details
                .extend(text(&mut page, "detail", needed).map(|text| (subject, text)));
            page.finish();
        }
        let any = own.titles.contains_key(&Subject::Any) && own.details.contains_key(&Subject::Any);
        if is_new && !any {
            let what = format!("the language {} says nothing of most errors", own.tag);
            let help = format!(
                "write [language.{}.page.error] with title and detail",
                own.tag
            );
            section.report(Diagnostic::error(what).at(section.place()).help(help));
        }
        section.finish();
        own
    }
}

fn text(section: &mut Section<'_>, key: &str, needed: bool) -> Option<String> {
    let text: Option<Text> = if needed {
        section.required(key)
    } else {
        section.get(key)
    };
    text.map(|text| text.0)
}

/// A text that a terminal can show too.
struct Text(String);

impl FromValue for Text {
    fn from_value(value: &Value<'_>) -> Result<Self, Diagnostic> {
        let text = value.as_str()?;
        if text.trim().is_empty() || text.len() > TEXT_BYTES || text.chars().any(char::is_control) {
            return Err(value.error(format!(
                "a text has 1 to {TEXT_BYTES} bytes and no control characters"
            )));
        }
        Ok(Self(text.to_owned()))
    }
}

/// A language with its texts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tongue<'a> {
    built_in: Option<Language>,
    own: Option<&'a Own>,
}

impl<'a> Tongue<'a> {
    fn known(&self) -> Language {
        // What is not built in has all texts of its own.
        self.built_in.unwrap_or(Language::English)
    }

    /// The tag by RFC 5646.
    pub(crate) fn tag(&self) -> &'a str {
        match self.own {
            Some(own) => &own.tag,
            None => self.known().tag(),
        }
    }

    fn say(
        &self,
        own: fn(&Own) -> Option<&String>,
        built_in: fn(Language) -> &'static str,
    ) -> &'a str {
        let said = self.own.and_then(own);
        said.map_or_else(|| built_in(self.known()), String::as_str)
    }

    /// In front of the code.
    pub(crate) fn code(&self) -> &'a str {
        self.say(|own| own.code.as_ref(), Language::code)
    }

    /// The link to the start page.
    pub(crate) fn home(&self) -> &'a str {
        self.say(|own| own.home.as_ref(), Language::home)
    }

    /// The link that asks again.
    pub(crate) fn again(&self) -> &'a str {
        self.say(|own| own.again.as_ref(), Language::again)
    }

    /// What an answer to a fault of this class says: that of the class, of the status, of its family, of
    /// any; of the app's own each before what is built in.
    pub(crate) fn words(&self, class: Class, status: StatusCode) -> Words<'a> {
        let built_in = self.known().words(status);
        let status = status.as_u16();
        let subjects = [
            Subject::Class(class.name()),
            Subject::Status(status),
            Subject::Family(status / 100),
            Subject::Any,
        ];
        let find = |texts: &'a BTreeMap<Subject, String>| {
            let mut found = subjects.iter().filter_map(|subject| texts.get(subject));
            found.next().map(String::as_str)
        };
        let own = self.own;
        Words {
            title: own
                .and_then(|own| find(&own.titles))
                .unwrap_or(built_in.title),
            detail: own
                .and_then(|own| find(&own.details))
                .unwrap_or(built_in.detail),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Catalog, String> {
        Catalog::read(Path::new(FILE), text.to_owned()).map_err(|found| found.to_string())
    }

    const GERMAN: &str = r#"
[language.de]
code = "Ihr Code:"
home = "Zur Startseite"
again = "Noch einmal"
[language.de.page.error]
title = "Fehler"
detail = "Etwas ging schief."
[language.de.page.404]
title = "Nicht gefunden"
[language.de.page."database.conflict"]
detail = "Das gibt es schon."
[language.en]
home = "Back to the shop"
[language.en.page.5xx]
title = "Our fault"
"#;

    #[test]
    fn which_text_is_taken() {
        let catalog = read(GERMAN).unwrap();
        let built_in = Catalog::none();
        let english = |status| Language::English.words(status);
        // (asked, class, status, tag, title, detail)
        let table: &[(&str, Class, u16, &str, &str, &str)] = &[
            (
                "de-AT",
                Class::Request,
                404,
                "de",
                "Nicht gefunden",
                "Etwas ging schief.",
            ),
            (
                "de",
                Class::DatabaseConflict,
                409,
                "de",
                "Fehler",
                "Das gibt es schon.",
            ),
            (
                "de",
                Class::Request,
                409,
                "de",
                "Fehler",
                "Etwas ging schief.",
            ),
            (
                "fr",
                Class::Panic,
                500,
                "en",
                "Our fault",
                english(StatusCode::INTERNAL_SERVER_ERROR).detail,
            ),
            (
                "en",
                Class::Request,
                404,
                "en",
                english(StatusCode::NOT_FOUND).title,
                english(StatusCode::NOT_FOUND).detail,
            ),
        ];
        for (asked, class, status, tag, title, detail) in table {
            let tongue = catalog.tongue(&[(*asked).to_owned()], "en");
            let words = tongue.words(*class, StatusCode::from_u16(*status).unwrap());
            let found = (tongue.tag(), words.title, words.detail);
            assert_eq!(found, (*tag, *title, *detail), "{asked} {status}");
        }
        let german = catalog.tongue(&["de".to_owned()], "en");
        assert_eq!(
            (german.code(), german.home(), german.again()),
            ("Ihr Code:", "Zur Startseite", "Noch einmal")
        );
        let english = catalog.tongue(&[], "en");
        assert_eq!(english.home(), "Back to the shop");
        assert_eq!(english.code(), Language::English.code());
        // A language of the app's own may be the one for all others.
        assert_eq!(catalog.tongue(&["fr".to_owned()], "de").tag(), "de");
        assert_eq!(built_in.tongue(&["fr".to_owned()], "de").tag(), "en");
        assert_eq!(
            built_in.tongue(&["zh-TW".to_owned()], "en").tag(),
            "zh-Hant"
        );
    }

    #[test]
    fn what_is_wrong_has_a_place() {
        for (text, said) in [
            (
                "[language.en]\nhom = \"x\"\n",
                "words.toml:2:1: error: unknown key `hom`",
            ),
            ("[language.en]\nhome = \"\"\n", "words.toml:2:8: error: "),
            ("[language.en]\nhome = \"a\\nb\"\n", "no control characters"),
            ("[language.en]\nhome = 3\n", "words.toml:2:8: error: "),
            (
                "[language.en.page.404]\ntext = \"x\"\n",
                "words.toml:2:1: error: unknown key `text`",
            ),
            (
                "[language.en.page.200]\ntitle = \"x\"\n",
                "words.toml:1:19: error: `200` is no status",
            ),
            (
                "[language.en.page.\"database.conflic\"]\n",
                "did you mean \"database.conflict\"?",
            ),
            (
                "[language.de]\nhome = \"x\"\n",
                "`language.de.code` is missing",
            ),
            (
                "[language.de]\ncode = \"a\"\nhome = \"x\"\nagain = \"y\"\n",
                "[language.de.page.error]",
            ),
            ("[language.a]\n", "`a` is no tag of a language"),
            (
                "[language.EN]\n[language.en]\n",
                "the language en is there twice",
            ),
            ("[languages.en]\n", "unknown key `languages`"),
            ("[language.en\n", "words.toml:1:"),
        ] {
            let found = read(text).unwrap_err();
            assert!(found.contains(said), "{text}: {found}");
        }
        assert!(read("").unwrap().languages.is_empty());
    }
}
