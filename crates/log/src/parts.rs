//! Values in messages, as the macros append them: numbers and text without the machinery of `fmt`.
//!
//! `(&Argument(&value)).append(out)` with both traits in scope takes [`Known`] where the value's type
//! has it, since a method is looked for without a further reference first, and else [`Shown`].

use std::fmt::{self, Display, Write as _};

use crate::digits::{signed, unsigned};
use crate::format::Raw;

/// A value, by reference.
pub struct Argument<'a, T: ?Sized>(pub &'a T);

/// For types of which it is known what they look like.
pub trait Known {
    /// Appends the value as `Display` writes it.
    fn append(&self, out: &mut Vec<u8>) -> fmt::Result;
}

/// For all others.
pub trait Shown {
    /// Appends the value by its `Display`.
    fn append(&self, out: &mut Vec<u8>) -> fmt::Result;
}

impl<T: Display + ?Sized> Shown for &Argument<'_, T> {
    fn append(&self, out: &mut Vec<u8>) -> fmt::Result {
        write!(Raw(out), "{}", self.0)
    }
}

/// What `format_args!` has made of a value.
pub struct Arguments<'a>(pub fmt::Arguments<'a>);

impl Arguments<'_> {
    /// Appends it.
    pub fn append(&self, out: &mut Vec<u8>) -> fmt::Result {
        Raw(out).write_fmt(self.0)
    }
}

macro_rules! known {
    ($($type:ty => |$value:ident, $out:ident| $append:expr),* $(,)?) => {$(
        impl Known for Argument<'_, $type> {
            #[inline]
            fn append(&self, $out: &mut Vec<u8>) -> fmt::Result {
                let $value = self.0;
                $append;
                Ok(())
            }
        }
    )*};
}

known! {
    u8 => |value, out| unsigned((*value).into(), out),
    u16 => |value, out| unsigned((*value).into(), out),
    u32 => |value, out| unsigned((*value).into(), out),
    u64 => |value, out| unsigned(*value, out),
    usize => |value, out| unsigned(*value as u64, out),
    i8 => |value, out| signed((*value).into(), out),
    i16 => |value, out| signed((*value).into(), out),
    i32 => |value, out| signed((*value).into(), out),
    i64 => |value, out| signed(*value, out),
    isize => |value, out| signed(*value as i64, out),
    str => |value, out| out.extend_from_slice(value.as_bytes()),
    &str => |value, out| out.extend_from_slice(value.as_bytes()),
    String => |value, out| out.extend_from_slice(value.as_bytes()),
    &String => |value, out| out.extend_from_slice(value.as_bytes()),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As the macros do it.
    macro_rules! appended {
        ($value:expr) => {{
            let mut out = Vec::new();
            (&Argument(&$value)).append(&mut out).unwrap();
            String::from_utf8(out).unwrap()
        }};
    }

    proptest! {
        #[test]
        fn values_are_as_display_has_them(
            unsigned in any::<u64>(),
            signed in any::<i64>(),
            (short, byte) in any::<(i8, u8)>(),
            shift in 0..64_u32,
            text in any::<String>(),
        ) {
            // All numbers of digits, and not only the many.
            let (unsigned, signed) = (unsigned >> shift, signed >> shift);
            prop_assert_eq!(appended!(unsigned), unsigned.to_string());
            prop_assert_eq!(appended!(signed), signed.to_string());
            prop_assert_eq!(appended!(short), short.to_string());
            prop_assert_eq!(appended!(byte), byte.to_string());
            prop_assert_eq!(appended!(text), text.clone());
            prop_assert_eq!(appended!(&*text), text.clone());
            prop_assert_eq!(appended!(*text), text);
        }
    }

    #[test]
    fn ends_of_ranges_and_other_types() {
        assert_eq!(appended!(i64::MIN), i64::MIN.to_string());
        assert_eq!(appended!(u64::MAX), u64::MAX.to_string());
        assert_eq!(appended!(0), "0");
        assert_eq!(appended!(-1), "-1");
        assert_eq!(appended!(1.5), "1.5");
        assert_eq!(appended!('c'), "c");
        assert_eq!(appended!(true), "true");
        assert_eq!(appended!(u128::MAX), u128::MAX.to_string());
        assert_eq!(appended!(std::net::Ipv4Addr::LOCALHOST), "127.0.0.1");
    }
}
