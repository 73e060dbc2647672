//! Levels as seelog's attributes say them (`minlevel`, `maxlevel`, `levels`); pure.

use std::ops::Range;

use mainstay_base::nearest;

use crate::level::{Level, LevelSet};
use crate::seelog::xml::{Fault, shown};

/// A name of a level in a config; lower case only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Level(Level),
    Off,
}

/// What the attributes of an element say.
pub(super) struct Given<'a> {
    pub(super) min: Option<&'a str>,
    pub(super) max: Option<&'a str>,
    pub(super) list: Option<&'a str>,
}

/// Which attribute something is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    Min,
    Max,
    List,
}

/// Something about an attribute's value, at a stretch of it.
pub(super) type Remark = (Which, Fault);

/// The levels let through; by which attribute, if any; and attributes that mean nothing.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) levels: LevelSet,
    pub(super) by: Option<Which>,
    pub(super) odd: Vec<Remark>,
}

fn name(text: &str) -> Option<Name> {
    if text == "off" {
        return Some(Name::Off);
    }
    Level::ALL
        .into_iter()
        .find(|level| level.name() == text)
        .map(Name::Level)
}

fn unknown(text: &str, span: Range<usize>) -> Fault {
    let fault = Fault::new(span, format!("{} is no level", shown(text)));
    let names = Level::ALL.into_iter().map(Level::name).chain(["off"]);
    let meant: String = text.trim().to_lowercase().chars().take(32).collect();
    match nearest(&meant, names.clone()) {
        Some(near) => fault.help(format!(
            "did you mean `{near}`? levels are written in lower case"
        )),
        None => fault.help(format!(
            "levels are {}",
            names.collect::<Vec<_>>().join(", ")
        )),
    }
}

/// The range or list of levels of the root or of an exception.
pub(super) fn constraints(given: &Given<'_>) -> Result<Read, Vec<Remark>> {
    let whole = |text: &str| 0..text.len();
    if let (Some(min), Some(_), Some(list)) = (given.min, given.max, given.list) {
        let fault = |span| {
            Fault::new(span, "`levels` excludes `minlevel` and `maxlevel`")
                .help("give a list, or the lowest and the highest")
        };
        let _ = min;
        return Err(vec![(Which::List, fault(whole(list)))]);
    }
    if let Some(list) = given.list {
        let mut odd = Vec::new();
        let range = [(Which::Min, given.min), (Which::Max, given.max)];
        let beside = range
            .into_iter()
            .find_map(|(which, text)| Some((which, text?)));
        if list.trim() == "off" {
            odd.extend(beside.map(|(which, text)| (which, unused(text, "`levels` turns all off"))));
            return Ok(Read {
                levels: LevelSet::NONE,
                by: Some(Which::List),
                odd,
            });
        }
        if let Some((Which::Min, text @ "off")) = beside {
            let fault = Fault::new(
                whole(text),
                "this turns all levels off, whatever `levels` says",
            )
            .help("remove one of the two");
            return Ok(Read {
                levels: LevelSet::NONE,
                by: Some(Which::Min),
                odd: vec![(Which::Min, fault)],
            });
        }
        odd.extend(beside.map(|(which, text)| (which, unused(text, "`levels` counts alone"))));
        let (levels, off) = self::list(list).map_err(in_list)?;
        if let Some(span) = off {
            let fault = Fault::new(span, "`off` stands beside other levels")
                .help("write levels=\"off\" to let nothing through");
            return Err(vec![(Which::List, fault)]);
        }
        return Ok(Read {
            levels,
            by: Some(Which::List),
            odd,
        });
    }
    if let (Some("off"), None) = (given.min, given.max) {
        return Ok(Read {
            levels: LevelSet::NONE,
            by: Some(Which::Min),
            odd: Vec::new(),
        });
    }
    range(given)
}

fn in_list(faults: Vec<Fault>) -> Vec<Remark> {
    faults
        .into_iter()
        .map(|fault| (Which::List, fault))
        .collect()
}

fn unused(text: &str, why: &str) -> Fault {
    Fault::new(0..text.len(), format!("this means nothing: {why}")).help("remove it, or `levels`")
}

fn range(given: &Given<'_>) -> Result<Read, Vec<Remark>> {
    let mut wrong = Vec::new();
    let mut bound = |which, text: Option<&str>, default| {
        let Some(text) = text else {
            return default;
        };
        match name(text) {
            Some(Name::Level(level)) => level,
            Some(Name::Off) => {
                let fault = Fault::new(0..text.len(), "`off` cannot be a bound of a range")
                    .help("write minlevel=\"off\" alone to let nothing through");
                wrong.push((which, fault));
                default
            }
            None => {
                wrong.push((which, unknown(text, 0..text.len())));
                default
            }
        }
    };
    let min = bound(Which::Min, given.min, Level::Trace);
    let max = bound(Which::Max, given.max, Level::Critical);
    if wrong.is_empty() && min > max {
        let length = given.min.map_or(0, str::len);
        let message = format!("the lowest level, {min}, is above the highest, {max}");
        wrong.push((
            Which::Min,
            Fault::new(0..length, message).help("exchange `minlevel` and `maxlevel`"),
        ));
    }
    if !wrong.is_empty() {
        return Err(wrong);
    }
    Ok(Read {
        levels: LevelSet::range(min, max),
        by: match (given.min, given.max) {
            (Some(_), _) => Some(Which::Min),
            (None, Some(_)) => Some(Which::Max),
            (None, None) => None,
        },
        odd: Vec::new(),
    })
}

/// A list of levels, spaces anywhere; with it where `off` stands, if it does.
pub(super) fn list(text: &str) -> Result<(LevelSet, Option<Range<usize>>), Vec<Fault>> {
    let mut levels = LevelSet::NONE;
    let (mut off, mut wrong) = (None, Vec::new());
    let mut at = 0;
    for item in text.split(',') {
        let written = item.trim_matches(' ');
        let start = at + (item.len() - item.trim_start_matches(' ').len());
        let span = start.min(at + item.len())..start.min(at + item.len()) + written.len();
        // Only the space is taken out, yet also from within a name.
        match name(&item.replace(' ', "")) {
            Some(Name::Level(level)) => levels = levels.with(level),
            Some(Name::Off) => off = Some(span),
            None if written.is_empty() => wrong.push(
                Fault::new(span, "there is no level where one belongs")
                    .help("write levels with one comma between two, as in \"warn,error\""),
            ),
            None => wrong.push(unknown(written, span)),
        }
        at += item.len() + 1;
        if wrong.len() > 8 {
            break;
        }
    }
    if wrong.is_empty() {
        Ok((levels, off))
    } else {
        Err(wrong)
    }
}
