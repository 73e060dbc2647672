//! Errors of tower's own layers.

use std::error::Error;

use super::find;
use crate::class::Class;
use crate::verdict::Verdict;

pub(super) fn verdict(error: &(dyn Error + 'static)) -> Option<Verdict> {
    if find::<tower::timeout::error::Elapsed>(error).is_some() {
        Some(Verdict::new(Class::Timeout))
    } else if find::<tower::load_shed::error::Overloaded>(error).is_some() {
        Some(Verdict::new(Class::Overload))
    } else {
        None
    }
}
