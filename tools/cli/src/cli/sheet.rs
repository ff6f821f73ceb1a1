//! A text of tables, one below the other. On a terminal, the tables have lines. In other outputs, the tables
//! are plain columns.

use std::fmt::Write as _;

use comfy_table::{Table, presets};

use crate::terminal::{HEADING, one_line};

/// Builds a text of tables.
pub(super) struct Sheet {
    on_terminal: bool,
    text: String,
}

impl Sheet {
    pub(super) fn new(on_terminal: bool) -> Self {
        Self { on_terminal, text: String::new() }
    }

    /// Adds a table of two columns: names, and the values of these names.
    pub(super) fn pairs(&mut self, rows: Vec<[String; 2]>) {
        let mut table = self.empty();
        table.add_rows(rows.into_iter().map(shown));
        self.add(table);
    }

    /// Adds a table with headings. If the table has no rows, adds a line with the first heading and `none`
    /// instead of the table.
    pub(super) fn table<const N: usize>(
        &mut self,
        header: [&str; N],
        rows: impl Iterator<Item = [String; N]>,
    ) {
        let mut table = self.empty();
        table.add_rows(rows.map(shown));
        if table.is_empty() {
            let _ = writeln!(self.text, "{HEADING}{}{HEADING:#}: none\n", header[0]);
        } else {
            table.set_header(header);
            self.add(table);
        }
    }

    pub(super) fn finish(self) -> String {
        format!("{}\n", self.text.trim_end())
    }

    fn empty(&self) -> Table {
        let mut table = Table::new();
        let preset = if self.on_terminal { presets::UTF8_FULL_CONDENSED } else { presets::NOTHING };
        table.load_style(preset);
        table
    }

    fn add(&mut self, mut table: Table) {
        if !self.on_terminal {
            table.column_iter_mut().for_each(|column| {
                column.set_padding((0, 2));
            });
        }
        let _ = writeln!(self.text, "{}\n", table.trim_fmt());
    }
}

/// Makes cells safe to print, because customers typed some of the names and reasons in the cells.
fn shown<const N: usize>(row: [String; N]) -> [String; N] {
    row.map(|cell| one_line(&cell))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_terminal_there_are_aligned_columns_and_no_lines() {
        let mut sheet = Sheet::new(false);
        sheet.pairs(vec![["state", "active"].map(str::to_owned)]);
        sheet.table(["webhook"], std::iter::empty());
        let rows = [["db_1", "a\nb"], ["cache_1", "-"]];
        sheet.table(["resource", "name"], rows.into_iter().map(|row| row.map(str::to_owned)));
        let text = anstream::adapter::strip_str(&sheet.finish()).to_string();
        let expected = "state  active\n\nwebhook: none\n\n\
                        resource  name\ndb_1      a b\ncache_1   -\n";
        assert_eq!(text, expected);
    }
}
