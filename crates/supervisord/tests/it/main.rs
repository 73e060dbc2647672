//! Against Debian's supervisord, where it is installed.

mod ctl;
