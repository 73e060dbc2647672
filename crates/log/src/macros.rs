//! The macros, and the logger of the process that they write to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use mainstay_sys::current::Current;

use crate::level::{Level, LevelSet};
use crate::pipeline::Pipeline;
use crate::record::{Field, Location, Message, Record, Value};

/// Where the macros write to.
static CURRENT: Current<Pipeline> = Current::new();
/// The levels that some record can be let through with: all a disabled call looks at.
static GATE: AtomicU8 = AtomicU8::new(0);

/// Makes this the pipeline of the macros; `None` for none.
pub(crate) fn publish(pipeline: Option<Arc<Pipeline>>) {
    open(pipeline.as_deref());
    CURRENT.replace(pipeline);
}

/// Whether no macro writes any more to a pipeline that was replaced.
pub(crate) fn is_settled() -> bool {
    CURRENT.is_settled()
}

/// Has the macros know which levels the pipeline lets through now.
pub(crate) fn open(pipeline: Option<&Pipeline>) {
    let levels = pipeline.map_or(LevelSet::NONE, Pipeline::reachable);
    GATE.store(levels.bits(), Ordering::Relaxed);
}

/// Whether a record of this level may reach a sink: one load and one comparison. For the macros.
#[doc(hidden)]
#[inline]
pub fn __enabled(level: Level) -> bool {
    GATE.load(Ordering::Relaxed) & (1 << level.index()) != 0
}

/// What the macros write. `here` is the path of a function inside the one that writes.
#[doc(hidden)]
pub fn __write(
    level: Level,
    target: &str,
    (file, line, here): (&'static str, u32, &'static str),
    fields: &[Field<'_>],
    message: Message<'_>,
) {
    CURRENT.with(|pipeline| {
        let Some(pipeline) = pipeline else {
            return;
        };
        let location = Location {
            file,
            line,
            function: Some(function_of(here)),
        };
        let record = Record::new(pipeline.now(), level, target, message)
            .fields(fields)
            .location(Some(location));
        pipeline.write(&record);
    });
}

/// The function around a function of its own.
#[inline]
fn function_of(here: &'static str) -> &'static str {
    let mut name = here.strip_suffix("::here").unwrap_or(here);
    // Most are no closures, and one byte tells.
    while name.ends_with('}') {
        match name.strip_suffix("::{{closure}}") {
            Some(outer) => name = outer,
            None => break,
        }
    }
    name
}

/// Writes a record to the logger of the process (see [`Logger::install`](crate::Logger::install) and
/// [`use_logger`](crate::use_logger)).
///
/// First the level, then fields if there are any (`key = value`, `key:% = value` for what can be
/// displayed, `key:? = value` for what can only be shown for debugging), a semicolon, and the message
/// as for `format!`. `target: "x",` in front replaces the module's path.
///
/// What is not let through costs a load and a comparison; its arguments are not evaluated.
///
/// ```
/// use mainstay_log::{Level, log};
///
/// let (user, error) = (17, std::io::Error::other("no"));
/// log!(Level::Warn, user, error:% = error; "login from {} failed", "11.22.33.44");
/// log!(target: "audit", Level::Info, "started");
/// ```
#[macro_export]
macro_rules! log {
    (target: $target:expr, $level:expr, $($rest:tt)+) => {{
        let level = $level;
        if $crate::__enabled(level) {
            $crate::__record!(level, $target, $($rest)+);
        }
    }};
    ($level:expr, $($rest:tt)+) => {
        $crate::log!(target: ::core::module_path!(), $level, $($rest)+)
    };
}

/// Splits fields from the message.
#[doc(hidden)]
#[macro_export]
macro_rules! __record {
    ($level:expr, $target:expr,
     $($key:ident $(: $sigil:tt)? $(= $value:expr)?),+ $(,)? ; $($message:tt)+) => {
        $crate::__message!(
            ($crate)
            (
                $level,
                $target,
                $crate::__here!(),
                &[$((
                    ::core::stringify!($key),
                    $crate::__value!([$($sigil)?] $key $(, $value)?),
                )),+]
            )
            $($message)+
        )
    };
    ($level:expr, $target:expr, $($message:tt)+) => {
        $crate::__message!(
            ($crate)
            ($level, $target, $crate::__here!(), &[])
            $($message)+
        )
    };
}

/// The value of a field, which without one is the variable of its name.
#[doc(hidden)]
#[macro_export]
macro_rules! __value {
    ([%] $key:ident $(, $value:expr)?) => {
        $crate::Value::Display(&$crate::__chosen!($key $(, $value)?))
    };
    ([?] $key:ident $(, $value:expr)?) => {
        $crate::Value::Debug(&$crate::__chosen!($key $(, $value)?))
    };
    ([] $key:ident $(, $value:expr)?) => {
        $crate::Value::from(&$crate::__chosen!($key $(, $value)?))
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __chosen {
    ($key:ident) => {
        $key
    };
    ($key:ident, $value:expr) => {
        $value
    };
}

/// The place it stands in. The function's name comes from the type of one inside it.
#[doc(hidden)]
#[macro_export]
macro_rules! __here {
    () => {{
        fn here() {}
        (
            ::core::file!(),
            ::core::line!(),
            ::core::any::type_name_of_val(&here),
        )
    }};
}

/// Writes a record of level trace, see [`log!`].
#[macro_export]
macro_rules! trace {
    (target: $target:expr, $($rest:tt)+) => { $crate::log!(target: $target, $crate::Level::Trace, $($rest)+) };
    ($($rest:tt)+) => { $crate::log!($crate::Level::Trace, $($rest)+) };
}

/// Writes a record of level debug, see [`log!`].
#[macro_export]
macro_rules! debug {
    (target: $target:expr, $($rest:tt)+) => { $crate::log!(target: $target, $crate::Level::Debug, $($rest)+) };
    ($($rest:tt)+) => { $crate::log!($crate::Level::Debug, $($rest)+) };
}

/// Writes a record of level info, see [`log!`].
#[macro_export]
macro_rules! info {
    (target: $target:expr, $($rest:tt)+) => { $crate::log!(target: $target, $crate::Level::Info, $($rest)+) };
    ($($rest:tt)+) => { $crate::log!($crate::Level::Info, $($rest)+) };
}

/// Writes a record of level warn, see [`log!`].
#[macro_export]
macro_rules! warn {
    (target: $target:expr, $($rest:tt)+) => { $crate::log!(target: $target, $crate::Level::Warn, $($rest)+) };
    ($($rest:tt)+) => { $crate::log!($crate::Level::Warn, $($rest)+) };
}

/// Writes a record of level error, see [`log!`].
#[macro_export]
macro_rules! error {
    (target: $target:expr, $($rest:tt)+) => { $crate::log!(target: $target, $crate::Level::Error, $($rest)+) };
    ($($rest:tt)+) => { $crate::log!($crate::Level::Error, $($rest)+) };
}

/// Writes a record of level critical, see [`log!`]: a person should look now. Into a file it is
/// written before this returns.
#[macro_export]
macro_rules! critical {
    (target: $target:expr, $($rest:tt)+) => { $crate::log!(target: $target, $crate::Level::Critical, $($rest)+) };
    ($($rest:tt)+) => { $crate::log!($crate::Level::Critical, $($rest)+) };
}

/// Values as the macros take them: by reference, also where there may be none.
macro_rules! value_from_reference {
    ($($from:ty => |$value:ident| $to:expr),* $(,)?) => {$(
        impl<'a> From<&'a $from> for Value<'a> {
            fn from($value: &'a $from) -> Self {
                $to
            }
        }

        #[allow(clippy::ref_option_ref, reason = "a macro takes all by reference")]
        impl<'a> From<&'a Option<$from>> for Value<'a> {
            fn from(value: &'a Option<$from>) -> Self {
                value.as_ref().map_or(Self::Null, Self::from)
            }
        }
    )*};
}

value_from_reference! {
    bool => |value| Self::Bool(*value),
    i8 => |value| Self::Signed((*value).into()),
    i16 => |value| Self::Signed((*value).into()),
    i32 => |value| Self::Signed((*value).into()),
    i64 => |value| Self::Signed(*value),
    isize => |value| Self::Signed(*value as i64),
    u8 => |value| Self::Unsigned((*value).into()),
    u16 => |value| Self::Unsigned((*value).into()),
    u32 => |value| Self::Unsigned((*value).into()),
    u64 => |value| Self::Unsigned(*value),
    usize => |value| Self::Unsigned(*value as u64),
    f32 => |value| Self::Float((*value).into()),
    f64 => |value| Self::Float(*value),
    String => |value| Self::Text(value),
    &'a str => |value| Self::Text(value),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_function_around() {
        fn here() {}
        let closure = || {
            fn here() {}
            function_of(std::any::type_name_of_val(&here))
        };
        let expected = "mainstay_log::macros::tests::the_function_around";
        assert_eq!(function_of(std::any::type_name_of_val(&here)), expected);
        assert_eq!(closure(), expected);
    }

    #[test]
    fn values() {
        let shown = |value: Value<'_>| format!("{value:?}");
        let text = String::from("x y");
        assert_eq!(shown(Value::from(&7_usize)), "7");
        assert_eq!(shown(Value::from(&-7_i8)), "-7");
        assert_eq!(shown(Value::from(&text)), "\"x y\"");
        assert_eq!(shown(Value::from(&"a")), "\"a\"");
        assert_eq!(shown(Value::from(&Some(1.5_f32))), "1.5");
        assert_eq!(shown(Value::from(&None::<bool>)), "null");
    }
}
