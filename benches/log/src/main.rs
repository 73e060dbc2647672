//! `log-bench`: see README.md.

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(log_bench::child::WORD) {
        return log_bench::child::main(None);
    }
    log_bench::runner::main()
}
