//! The tool `teardown`.

fn main() -> std::process::ExitCode {
    teardown_cli::cli::main()
}
