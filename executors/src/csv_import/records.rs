//! The file as records with their places: bytes in, one record in memory at a time, never more than the limit.
//! It types nothing and skips nothing but empty lines and a byte order mark. Read `chunk.rs` next.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use csv::ByteRecord;
use longshore_sdk::{Fatal, Result};

use super::limits::Limits;
use super::payload::Format;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// A place between two records. For one that was read up to a CR, the LF may still be ahead; [`Bytes::start_of`] skips it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) offset: u64,
    /// The physical line, counted from 1 by line feeds.
    pub(crate) line: u64,
}

/// The file's bytes by place, for the few records of which the original is wanted.
#[derive(Debug, Clone)]
pub(crate) struct Bytes(Arc<File>);

/// What the first record tells.
#[derive(Debug)]
pub(crate) struct Head {
    /// The columns' names, if the file has a header.
    pub(crate) names: Option<Vec<String>>,
    /// How many cells a record has.
    pub(crate) width: usize,
    /// Where the first row starts.
    pub(crate) start: Position,
}

/// Reads records one after the other.
pub(crate) struct Records {
    reader: csv::Reader<Metered>,
    bytes: Bytes,
    base: Position,
    end: u64,
    format: Format,
    max_record_bytes: u64,
}

/// Where a record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: Position,
    pub(crate) end: Position,
}

impl Head {
    /// Reads the first record of `path`, which has `bytes` bytes.
    ///
    /// # Errors
    /// Fatal for a file that is empty, too large, or no text.
    pub(crate) fn read(path: &Path, bytes: u64, format: &Format, limits: &Limits) -> Result<Self> {
        check_size(bytes, limits)?;
        let mut start = Position { offset: skip_bom(path)?, line: 1 };
        let mut records = Records::open(path, bytes, start, format, limits)?;
        let mut first = ByteRecord::new();
        let Some(span) = records.next(&mut first)? else { return Err(empty().into()) };
        check_width(first.len(), limits)?;
        let names = if format.header { Some(header(&first)?) } else { None };
        if names.is_some() {
            start = span.end;
        }
        Ok(Self { names, width: first.len(), start })
    }
}

fn check_size(bytes: u64, limits: &Limits) -> std::result::Result<(), Fatal> {
    match bytes {
        0 => Err(empty()),
        _ if bytes > limits.max_input_bytes => {
            let message =
                format!("{bytes} bytes, more than the {} an import may have; split the file", limits.max_input_bytes);
            Err(Fatal::new("input_too_large", message).at("/source"))
        }
        _ => Ok(()),
    }
}

fn empty() -> Fatal {
    Fatal::new("empty_file", "the file holds no record, not even a header").at("/source")
}

fn skip_bom(path: &Path) -> Result<u64> {
    let mut start = Vec::new();
    File::open(path)?.take(BOM.len() as u64).read_to_end(&mut start)?;
    if start.starts_with(b"\xff\xfe") || start.starts_with(b"\xfe\xff") {
        return Err(Fatal::new("not_text", "the file is UTF-16; save it as UTF-8").at("/source").into());
    }
    Ok(if start == BOM { BOM.len() as u64 } else { 0 })
}

fn check_width(width: usize, limits: &Limits) -> std::result::Result<(), Fatal> {
    if width <= limits.max_fields {
        return Ok(());
    }
    let message =
        format!("the first record has {width} cells, more than {}; is the delimiter right?", limits.max_fields);
    Err(Fatal::new("too_many_fields", message).at("/source"))
}

fn header(record: &ByteRecord) -> std::result::Result<Vec<String>, Fatal> {
    let name = |bytes: &[u8]| std::str::from_utf8(bytes).ok().filter(|name| !name.contains('\0')).map(str::to_owned);
    let names: Option<Vec<String>> = record.iter().map(name).collect();
    names.ok_or_else(|| Fatal::new("not_text", "the header is not UTF-8 text; is this a CSV file?").at("/source"))
}

impl Records {
    /// Starts at `base`, which is the start of the data or the end of a record.
    pub(crate) fn open(path: &Path, end: u64, base: Position, format: &Format, limits: &Limits) -> Result<Self> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(base.offset))?;
        let left = file.take(end.saturating_sub(base.offset));
        let metered = Metered { led: false, left, since_mark: 0, limit: limits.max_record_bytes, refused: false };
        let ascii = |mark: char| u8::try_from(mark).unwrap_or(b',');
        let reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(ascii(format.delimiter))
            .quote(ascii(format.quote))
            .buffer_capacity(64 << 10)
            .from_reader(metered);
        let bytes = Bytes(Arc::new(File::open(path)?));
        Ok(Self { reader, bytes, base, end, format: format.clone(), max_record_bytes: limits.max_record_bytes })
    }

    /// The next record, or `None` at the end.
    pub(crate) fn next(&mut self, record: &mut ByteRecord) -> Result<Option<Span>> {
        let start = self.position();
        self.reader.get_mut().since_mark = 0;
        let read = self.reader.read_byte_record(record);
        let end = self.position();
        if self.reader.get_ref().refused || end.offset - start.offset > self.max_record_bytes {
            return Err(self.too_large(start)?.into());
        }
        Ok(read?.then_some(Span { start, end }))
    }

    /// Whether the record at `span` is the file's last and ends within quotes: everything behind a lone quote.
    pub(crate) fn is_unclosed(&self, span: Span) -> Result<bool> {
        if span.end.offset < self.end {
            return Ok(false);
        }
        Ok(ends_in_quotes(&self.bytes.original(span)?.1, &self.format))
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    fn position(&self) -> Position {
        // The reader has counted the line end that `Metered` puts first, unless it has not read yet.
        let at = self.reader.position();
        Position {
            offset: self.base.offset + at.byte().saturating_sub(1),
            line: self.base.line + at.line().saturating_sub(2),
        }
    }

    fn too_large(&self, start: Position) -> Result<Fatal> {
        let line = self.bytes.start_of(start, self.end)?.line;
        let message = format!(
            "the record at line {line} has more than {} bytes; is a quote left open there?",
            self.max_record_bytes
        );
        Ok(Fatal::new("record_too_large", message).at("/source"))
    }
}

impl Bytes {
    /// The first byte of the record that `from` stands before: behind empty lines and the rest of a line end.
    pub(crate) fn start_of(&self, mut from: Position, end: u64) -> io::Result<Position> {
        let mut buffer = [0; 4096];
        while from.offset < end {
            let read = self.0.read_at(&mut buffer, from.offset)?;
            let ends = buffer[..read].iter().take_while(|b| matches!(b, b'\r' | b'\n'));
            let (skipped, lines) = ends.fold((0, 0), |(n, lines), b| (n + 1, lines + u64::from(*b == b'\n')));
            from = Position { offset: from.offset + skipped, line: from.line + lines };
            if skipped < buffer.len() as u64 {
                break;
            }
        }
        Ok(from)
    }

    /// A record's line and its exact bytes, without the line end.
    pub(crate) fn original(&self, span: Span) -> io::Result<(u64, Vec<u8>)> {
        let start = self.start_of(span.start, span.end.offset)?;
        let mut bytes = vec![0; usize::try_from(span.end.offset - start.offset).unwrap_or(0)];
        self.0.read_exact_at(&mut bytes, start.offset)?;
        // Only the one line end that closed the record: a cell may end in others, quoted.
        for end in [b'\n', b'\r'] {
            if bytes.last() == Some(&end) {
                bytes.pop();
            }
        }
        Ok((start.line, bytes))
    }
}

/// As the csv crate reads quotes: one that opens a cell counts, doubled ones within it do not.
fn ends_in_quotes(record: &[u8], format: &Format) -> bool {
    let (mut quoted, mut cell_starts) = (false, true);
    let mut bytes = record.iter().map(|&b| char::from(b)).peekable();
    while let Some(byte) = bytes.next() {
        if quoted && byte == format.quote {
            quoted = bytes.next_if_eq(&format.quote).is_some();
        } else if !quoted {
            quoted = cell_starts && byte == format.quote;
            cell_starts = byte == format.delimiter;
        }
    }
    quoted
}

/// Ends a record that outgrows the limit while it is being read, so that a gigabyte without a line end is never held.
struct Metered {
    /// The csv crate skips a byte order mark wherever it starts to read; a line end first keeps it from doing so in the
    /// middle of a file that is resumed.
    led: bool,
    left: io::Take<File>,
    since_mark: u64,
    limit: u64,
    refused: bool,
}

impl Read for Metered {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.led && !buffer.is_empty() {
            self.led = true;
            buffer[0] = b'\n';
            return Ok(1);
        }
        // All read before this call is used up, so this record already has more than the limit.
        if self.since_mark > self.limit {
            self.refused = true;
            return Err(io::Error::other("record too large"));
        }
        let read = self.left.read(buffer)?;
        self.since_mark += read as u64;
        Ok(read)
    }
}
