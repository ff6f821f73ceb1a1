//! `cargo dev`.

fn main() -> std::process::ExitCode {
    teardown_dev::cli::main()
}
