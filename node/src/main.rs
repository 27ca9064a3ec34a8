//! The `muster` program.

/// Documents are many small allocations that come and go together; glibc's allocator takes a third of the time that
/// merging them costs (docs/figures.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    node::cli::main()
}
