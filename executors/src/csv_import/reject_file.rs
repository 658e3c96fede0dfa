//! `rejects.csv`: one line per refused record, with its own bytes as the last cell.
//! It changes nothing in them, not even a cell that a spreadsheet would run as a formula, and may thus hold invalid UTF-8.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;

/// Writes the file, and counts.
pub(crate) struct RejectFile {
    writer: csv::Writer<File>,
    counts: BTreeMap<String, u64>,
}

impl RejectFile {
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let mut writer = csv::WriterBuilder::new().buffer_capacity(64 << 10).from_writer(File::create(path)?);
        writer.write_record(["line", "column", "reason", "record"])?;
        Ok(Self { writer, counts: BTreeMap::new() })
    }

    pub(crate) fn write(&mut self, line: u64, column: &str, reason: &str, original: &[u8]) -> io::Result<()> {
        let line = line.to_string();
        self.writer.write_record([line.as_bytes(), column.as_bytes(), reason.as_bytes(), original])?;
        *self.counts.entry(reason.to_owned()).or_default() += 1;
        Ok(())
    }

    /// Completes the file; how many rejects there are by reason.
    pub(crate) fn finish(mut self) -> io::Result<BTreeMap<String, u64>> {
        self.writer.flush()?;
        Ok(self.counts)
    }
}
