//! Placeholder page.
pub mod machine;
