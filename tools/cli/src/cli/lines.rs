//! Reads any stream line by line, in bounded memory.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _};

/// The longest line, in bytes. A longer line is not needed, because DynamoDB takes records of at most 400 KB.
const MAX_LINE: usize = 1024 * 1024;

/// The lines of a stream.
pub(super) struct Lines<R> {
    stream: R,
    number: u64,
}

/// A line of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// The line's number. The first line's number is 1.
    pub number: u64,
    /// The line's length in the stream, including the line break.
    pub bytes: u64,
    /// The line's text, or the reason why the line cannot be a record.
    pub text: Result<String, &'static str>,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    pub(super) fn of(stream: R) -> Self {
        Self { stream, number: 0 }
    }

    /// Reads the next line. `None` at the end of the stream.
    pub(super) async fn next(&mut self) -> io::Result<Option<Line>> {
        let (mut line, mut length, mut ended) = (Vec::new(), 0, false);
        while !ended {
            let chunk = self.stream.fill_buf().await?;
            if chunk.is_empty() {
                break;
            }
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let read = end.map_or(chunk.len(), |end| end + 1);
            // Bytes over the limit of a line are read, but not stored.
            if line.len() <= MAX_LINE {
                line.extend_from_slice(&chunk[..end.unwrap_or(chunk.len())]);
            }
            self.stream.consume(read);
            length += read;
            ended = end.is_some();
        }
        if length == 0 {
            return Ok(None);
        }
        self.number += 1;
        let text = if line.len() > MAX_LINE {
            Err("is over 1 MiB")
        } else {
            String::from_utf8(line).map_err(|_| "is not UTF-8")
        };
        Ok(Some(Line { number: self.number, bytes: length as u64, text }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(stream: &[u8]) -> Vec<(u64, u64, Result<String, &'static str>)> {
        // The test's buffer is small, so that a line needs several reads.
        let stream = tokio::io::BufReader::with_capacity(7, stream);
        let (mut lines, mut found) = (Lines::of(stream), Vec::new());
        while let Some(line) = lines.next().await.unwrap() {
            found.push((line.number, line.bytes, line.text));
        }
        found
    }

    #[tokio::test]
    async fn lines_are_numbered_and_the_last_needs_no_end() {
        let found = lines(b"one\n\nthird line\r\nlast").await;
        let expected = [("one", 4), ("", 1), ("third line\r", 12), ("last", 4)];
        let expected =
            (1..).zip(expected).map(|(n, (text, bytes))| (n, bytes, Ok(text.to_owned())));
        assert_eq!(found, expected.collect::<Vec<_>>());
        assert_eq!(lines(b"").await, []);
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_or_no_text_is_one_bad_line() {
        let stream = [&vec![b'x'; MAX_LINE + 1][..], b"\n\xff\n", &vec![b'y'; MAX_LINE]].concat();
        let texts: Vec<_> = lines(&stream).await.into_iter().map(|(.., text)| text).collect();
        let longest = "y".repeat(MAX_LINE);
        assert_eq!(texts, [Err("is over 1 MiB"), Err("is not UTF-8"), Ok(longest)]);
    }
}
