//! Output to a terminal: text without control characters, and the styles of texts.

use std::io::{self, Write as _};

use anstyle::{AnsiColor, Style};

/// The style of errors.
pub(crate) const ERROR: Style = AnsiColor::Red.on_default().bold();

/// The style of headings.
pub(crate) const HEADING: Style = Style::new().bold();

/// A message as one line, for programs that read line by line. The message's characters that control a
/// terminal are replaced.
pub(crate) fn one_line(message: &str) -> String {
    let steers =
        |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let lines: Vec<&str> = message.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let shown = lines.join(" ");
    if !shown.contains(steers) {
        return shown;
    }
    shown.chars().map(|c| if steers(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Writes to standard output, without colours if standard output is not a terminal. If the program that reads
/// a pipe has ended (`teardown show … | head -1`), the write returns no error.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// Writes the progress of a slow command to standard error.
pub(crate) fn note(text: &str) {
    // If standard error is closed, the command does not fail, because nobody reads the progress.
    let _ = writeln!(anstream::stderr(), "{}", one_line(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_that_steers_no_terminal() {
        assert_eq!(one_line("a\n  b\r\n\nc"), "a b c");
        assert_eq!(one_line("\u{1b}[2Jgone\u{202e}"), "\u{fffd}[2Jgone\u{fffd}");
    }
}
