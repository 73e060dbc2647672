//! The child that counts allocations: to name the counter is to link its allocator.

use std::process::ExitCode;

fn main() -> ExitCode {
    log_bench::child::main(Some(|work| allocation_counter::measure(work).count_total))
}
