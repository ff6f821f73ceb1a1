//! The sizes of a function and its peer, on disk and in the zip that a host takes.

use std::fs;
use std::io::{Cursor, Write as _};
use std::path::Path;

use walkdir::WalkDir;
use zip::write::{SimpleFileOptions, ZipWriter};

/// Sizes in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) files: u64,
    pub(crate) zip: u64,
}

impl Size {
    /// The size of a file, or of all files of a folder.
    pub(crate) fn of(path: &Path) -> anyhow::Result<Self> {
        let mut files = 0;
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for entry in WalkDir::new(path) {
            let entry = entry?;
            if entry.file_type().is_file() {
                let content = fs::read(entry.path())?;
                files += u64::try_from(content.len())?;
                let name = entry.path().to_string_lossy();
                zip.start_file(name, SimpleFileOptions::default())?;
                zip.write_all(&content)?;
            }
        }
        let zip = u64::try_from(zip.finish()?.into_inner().len())?;
        Ok(Self { files, zip })
    }
}
