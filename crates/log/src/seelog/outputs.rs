//! From `<outputs>` to the tree of outputs.

use std::ops::Range;

use mainstay_base::nearest;

use crate::level::LevelSet;
use crate::seelog::config::FormatKey;
use crate::seelog::levels::{self, Which};
use crate::seelog::read::{Reader, find, in_attribute};
use crate::seelog::verbs;
use crate::seelog::xml::{Element, Fault, shown};
use crate::seelog::{Config, FormatUse, Levels, Output, OutputKind, Receiver};

/// The elements that hold or are outputs.
const OUTPUTS: [&str; 9] = [
    "splitter",
    "filter",
    "console",
    "file",
    "rollingfile",
    "buffered",
    "conn",
    "smtp",
    "custom",
];

impl Reader<'_> {
    /// The tree of outputs; that of a document without one is the console.
    pub(super) fn outputs(&mut self, root: &Element<'_>, section: Option<&Element<'_>>) -> Output {
        let inherited = FormatUse {
            id: None,
            format: verbs::default(self.options),
            place: None,
            key: FormatKey::Default,
        };
        let Some(element) = section else {
            let console = Output {
                place: self.place(&root.span),
                format: inherited.clone(),
                kind: OutputKind::Receiver(Receiver::Console),
            };
            return Output {
                place: self.place(&root.span),
                format: inherited,
                kind: OutputKind::Splitter(vec![console]),
            };
        };
        self.known(element, &["formatid"]);
        let format = self.format_of(element, &inherited);
        let children = self.children(element, &format);
        Output {
            place: self.place(&element.span),
            format,
            kind: OutputKind::Splitter(children),
        }
    }

    /// The outputs inside an element that must hold some.
    fn children(&mut self, element: &Element<'_>, format: &FormatUse) -> Vec<Output> {
        if element.children.is_empty() {
            self.error(
                Fault::new(
                    element.span.clone(),
                    format!("<{}> holds no output", element.name),
                )
                .help(format!(
                    "put at least one into it, of {}",
                    OUTPUTS.join(", ")
                )),
            );
        }
        element
            .children
            .iter()
            .filter_map(|child| self.output(child, element.name, format))
            .collect()
    }

    /// An output; `None` was reported.
    fn output(
        &mut self,
        element: &Element<'_>,
        parent: &str,
        inherited: &FormatUse,
    ) -> Option<Output> {
        let kind_and_format = match element.name {
            "splitter" => {
                self.known(element, &["formatid"]);
                let format = self.format_of(element, inherited);
                let children = self.children(element, &format);
                Some((OutputKind::Splitter(children), format))
            }
            "filter" => {
                self.known(element, &["levels", "formatid"]);
                let format = self.format_of(element, inherited);
                let levels = self.filter(element);
                let children = self.children(element, &format);
                levels.map(|levels| (OutputKind::Filter(levels, children), format))
            }
            name if OUTPUTS.contains(&name) => {
                let format = self.format_of(element, inherited);
                self.receiver(element, &format)
                    .map(|receiver| (OutputKind::Receiver(receiver), format))
            }
            _ => {
                self.unexpected(element, parent, &OUTPUTS);
                None
            }
        };
        kind_and_format.map(|(kind, format)| Output {
            place: self.place(&element.span),
            format,
            kind,
        })
    }

    /// The levels of a filter; `None` was reported.
    fn filter(&mut self, element: &Element<'_>) -> Option<Levels> {
        let value = self.required(element, "levels")?;
        let place = self.place(&value.span);
        match levels::list(&value.text) {
            Ok((set, off)) => {
                if let Some(span) = off {
                    let span = find(element, "levels")
                        .map_or(value.span.clone(), |attribute| attribute.within(span));
                    let fault = if set.is_empty() {
                        Fault::new(span, "this filter lets nothing through")
                            .help("remove it with all that is in it, or write other levels")
                    } else {
                        Fault::new(span, "`off` means nothing beside other levels")
                            .help("remove it")
                    };
                    self.warn(fault);
                }
                Some(Levels { set, place })
            }
            Err(faults) => {
                for fault in faults {
                    let fault = in_attribute(element, Which::List, fault);
                    self.error(fault);
                }
                None
            }
        }
    }

    /// The format that holds in an element.
    pub(super) fn format_of(&mut self, element: &Element<'_>, inherited: &FormatUse) -> FormatUse {
        let Ok(Some(value)) = self.get(element, "formatid") else {
            return inherited.clone();
        };
        let place = Some(self.place(&value.span));
        let id = Some(value.text.to_string());
        if let Some(&index) = self.ids.get(&*value.text) {
            self.used.insert(index);
            return FormatUse {
                id,
                format: self.formats[index].format.clone(),
                place,
                key: FormatKey::Defined(index),
            };
        }
        let standard = value.text.strip_prefix(verbs::PREFIX).and_then(|name| {
            let known = verbs::STANDARD
                .into_iter()
                .find(|(known, _)| *known == name)?;
            Some((known.0, verbs::standard(name, self.options)?))
        });
        if let Some((name, format)) = standard {
            return FormatUse {
                id,
                format,
                place,
                key: FormatKey::Standard(name),
            };
        }
        let fault = Fault::new(
            value.span,
            format!("there is no format {}", shown(&value.text)),
        );
        let standard: Vec<String> = verbs::STANDARD
            .iter()
            .map(|(name, _)| format!("{}{name}", verbs::PREFIX))
            .collect();
        let names = self.ids.keys().chain(&standard).map(String::as_str);
        let head: String = value.text.chars().take(64).collect();
        let fault = match nearest(&head, names.filter(|name| name.len() <= 256)) {
            Some(near) => fault.help(format!("did you mean `{near}`?")),
            None => fault.help(format!(
                "define it in <formats>, or use one of {}",
                standard.join(", ")
            )),
        };
        self.error(fault);
        inherited.clone()
    }

    /// Warns when two receivers write to one path.
    pub(super) fn writes(&mut self, path: &str, span: Range<usize>) {
        if path.is_empty() {
            return;
        }
        if let Some(first) = self.files.get(path) {
            let first = self.place(first);
            self.warn(
                Fault::new(
                    span,
                    format!("another receiver writes to {} already", shown(path)),
                )
                .help(format!("give each its own path; see {first}")),
            );
        } else {
            self.files.insert(path.to_owned(), span);
        }
    }

    /// Warns of outputs that no record can reach.
    pub(super) fn unreachable(&mut self, config: &Config) {
        let possible = config.gate().possible();
        self.dead(&config.outputs, LevelSet::ALL, possible);
    }

    fn dead(&mut self, output: &Output, above: LevelSet, possible: LevelSet) {
        let mut through = above;
        let children = match &output.kind {
            OutputKind::Splitter(children) => children,
            OutputKind::Filter(levels, children) => {
                through = above.intersect(levels.set);
                let fault = |message: &str, help: &str| {
                    Fault::new(levels.place.span.clone(), message).help(help)
                };
                // That a filter itself lets nothing through was said where it was read.
                if through.is_empty() && !levels.set.is_empty() && !above.is_empty() {
                    self.warn(fault(
                        "nothing comes through this filter: those around it stop these levels",
                        "nested filters let through what all of them do",
                    ));
                } else if !through.is_empty()
                    && through.intersect(possible).is_empty()
                    && !possible.is_empty()
                {
                    self.warn(fault(
                        "nothing comes through this filter: neither the levels of <seelog> nor an exception let these through",
                        "lower `minlevel`, or remove the filter with all that is in it",
                    ));
                }
                children
            }
            OutputKind::Receiver(_) => return,
        };
        for child in children {
            self.dead(child, through, possible);
        }
    }
}
