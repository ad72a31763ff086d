//! What one query gave: a table of numbers with the labels of each row. It becomes text when it is
//! sent, family by family, a piece at a time: the numbers are a tenth of their text, and stay near
//! the processor until they are written.

mod duplicates;

use super::value::Number;
use crate::exposition::SampleWriter;
use crate::targets::{MemoryExhausted, MemoryLease, TargetMemory};

/// Samples of one query in one database.
#[derive(Clone, Debug, Default)]
pub struct QuerySamples {
    columns: Vec<SampleColumn>,
    /// The labels of all rows, as they stand between name and value.
    labels: Vec<u8>,
    /// Where those of each row end.
    rows: Vec<usize>,
    /// Row by row, one for each column.
    cells: Vec<Cell>,
    /// Numbers that came in digits.
    digits: Vec<u8>,
    samples: usize,
    /// About how long all of it is as text, in bytes.
    text: usize,
    /// Where the labels of the present row begin.
    row: usize,
    /// Lines of all columns, in bytes.
    lines: usize,
    /// The memory that it takes.
    lease: Option<MemoryLease>,
}

/// A family that a query fills.
#[derive(Clone, Debug, Default)]
struct SampleColumn {
    /// Its index in the catalogue.
    family: usize,
    /// It has a sample.
    filled: bool,
    /// It has a value that no counter of OpenMetrics may have: a negative one, or none.
    irregular: bool,
    /// Of a histogram: few have any, and there are many columns.
    lines: Option<Box<HistogramLines>>,
}

/// Lines that are text already.
#[derive(Clone, Debug, Default)]
struct HistogramLines {
    text: Vec<u8>,
    /// Where the lines of each row end, and how many lines there are up to there.
    ends: Vec<(usize, usize)>,
}

/// What a row has for a column.
#[derive(Clone, Copy, Debug)]
enum Cell {
    Nothing,
    Integer(i64),
    Float(f64),
    /// So many bytes of the digits, from there.
    Digits(usize, u32),
}

/// About what a line has beside its labels, in bytes: the family's name and the number.
const REST_OF_LINE: usize = 56;
/// Memory is taken in steps of so many bytes.
const STEP: usize = 16 * 1024;

/// Buffers are not made smaller for the sake of fewer bytes than these.
const SLACK: usize = 64;

impl QuerySamples {
    pub(super) fn with_families(families: impl Iterator<Item = usize>) -> Self {
        let column = |family| SampleColumn {
            family,
            ..SampleColumn::default()
        };
        Self {
            columns: families.map(column).collect(),
            ..Self::default()
        }
    }

    /// Each family it may fill, by index in the catalogue, and whether it has any samples of it.
    pub fn families(&self) -> impl Iterator<Item = (usize, bool)> {
        self.columns
            .iter()
            .map(|column| (column.family, column.filled))
    }

    /// Whether a column has a value that a counter of OpenMetrics may not have: it is negative, or
    /// not a number (OpenMetrics 1.0, "Counter").
    #[must_use]
    pub fn is_irregular(&self, column: usize) -> bool {
        self.columns.get(column).is_some_and(|one| one.irregular)
    }

    /// How many families have samples.
    #[must_use]
    pub fn filled(&self) -> usize {
        self.columns.iter().filter(|column| column.filled).count()
    }

    /// How many samples there are.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// What is kept of them, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        let lines = self.columns.iter().filter_map(|one| one.lines.as_ref());
        let lines = lines.map(|lines| lines.text.len());
        self.labels.len()
            + self.digits.len()
            + size_of_val(&*self.rows)
            + size_of_val(&*self.cells)
            + lines.sum::<usize>()
    }

    /// About how long all of it is as text of `/metrics`, in bytes.
    #[must_use]
    pub fn text(&self) -> usize {
        self.text
    }

    /// Takes the memory that it has grown to by now from what the server may have.
    pub(super) fn hold(&mut self, memory: &TargetMemory) -> Result<(), MemoryExhausted> {
        let held = self.labels.capacity()
            + self.digits.capacity()
            + self.rows.capacity() * size_of::<usize>()
            + self.cells.capacity() * size_of::<Cell>()
            + self.lines;
        let lease = self.lease.get_or_insert_with(|| memory.lease());
        match held > lease.bytes() {
            true => lease.resize(held.next_multiple_of(STEP)),
            false => Ok(()),
        }
    }

    /// Writes the lines of a column's family, of that name, from the row `from` on: one, and others
    /// until `out` holds `enough` bytes. Returns the row that comes next; `None` when that was all.
    pub fn write(
        &self,
        column: usize,
        name: &str,
        from: usize,
        enough: usize,
        out: &mut Vec<u8>,
    ) -> Option<usize> {
        let width = self.columns.len();
        if let Some(lines) = &self.columns.get(column)?.lines {
            out.extend_from_slice(&lines.text);
            return None;
        }
        let mut begin = from.checked_sub(1).map_or(0, |before| self.rows[before]);
        for (row, end) in self.rows.iter().enumerate().skip(from) {
            let labels = &self.labels[begin..*end];
            begin = *end;
            let number = match self.cells[row * width + column] {
                Cell::Nothing => continue,
                Cell::Integer(value) => Number::Integer(value),
                Cell::Float(value) => Number::Float(value),
                Cell::Digits(at, length) => Number::Digits(&self.digits[at..at + length as usize]),
            };
            number.write(SampleWriter::resume(out, name, labels));
            if out.len() >= enough {
                return (row + 1 < self.rows.len()).then_some(row + 1);
            }
        }
        None
    }

    /// Begins a row: its labels are put here.
    pub(super) fn labels(&mut self) -> &mut Vec<u8> {
        self.row = self.labels.len();
        &mut self.labels
    }

    /// Ends the labels of the row, whose cells follow.
    pub(super) fn end_labels(&mut self) {
        self.rows.push(self.labels.len());
        // A row without a sample takes memory as well.
        self.text += size_of::<usize>() + self.columns.len() * size_of::<Cell>();
    }

    /// Puts the next cell of the row.
    pub(super) fn put(&mut self, number: Option<Number<'_>>) {
        let column = self.cells.len() % self.columns.len();
        let cell = match number {
            None => Cell::Nothing,
            Some(Number::Integer(value)) => Cell::Integer(value),
            Some(Number::Float(value)) => Cell::Float(value),
            Some(Number::Digits(text)) => {
                let at = self.digits.len();
                self.digits.extend_from_slice(text);
                // A column holds a gigabyte at most (PostgreSQL, "Limits").
                Cell::Digits(at, u32::try_from(text.len()).unwrap_or(0))
            }
        };
        if number.is_some() {
            self.columns[column].filled = true;
            self.columns[column].irregular |= match number {
                Some(Number::Integer(value)) => value < 0,
                Some(Number::Float(value)) => value.is_nan() || value < 0.0,
                Some(Number::Digits(text)) => text.first() == Some(&b'-'),
                None => false,
            };
            self.samples += 1;
            self.text += self.labels.len() - self.row + REST_OF_LINE;
        }
        if let Cell::Digits(_, length) = cell {
            self.text += length as usize;
        }
        self.cells.push(cell);
    }

    /// Puts lines in place of the next cell of the row; `write` is told the row's labels, and
    /// returns how many lines it wrote.
    pub(super) fn put_lines(&mut self, write: impl FnOnce(&mut Vec<u8>, &[u8]) -> usize) {
        let column = self.cells.len() % self.columns.len();
        let column = &mut self.columns[column];
        let lines = column.lines.get_or_insert_default();
        let length = lines.text.len();
        let written = write(&mut lines.text, &self.labels[self.row..]);
        let before = lines.ends.last().map_or(0, |(_, count)| *count);
        lines.ends.push((lines.text.len(), before + written));
        let length = lines.text.len() - length;
        self.samples += written;
        self.text += length;
        self.lines += length;
        column.filled = true;
        self.cells.push(Cell::Nothing);
    }

    /// About how long a histogram of so many buckets is as text, in bytes, in the present row.
    pub(super) fn histogram_text(&self, buckets: usize) -> usize {
        let line = self.labels.len() - self.row + REST_OF_LINE;
        buckets.saturating_add(3).saturating_mul(line)
    }

    pub(super) fn clear(&mut self) {
        for column in &mut self.columns {
            column.filled = false;
            column.irregular = false;
            if let Some(lines) = &mut column.lines {
                lines.text.clear();
                lines.ends.clear();
            }
        }
        self.labels.clear();
        self.rows.clear();
        self.cells.clear();
        self.digits.clear();
        (self.samples, self.text, self.row, self.lines) = (0, 0, 0, 0);
    }

    /// Gives back what is not needed.
    pub(super) fn fitted(mut self) -> Self {
        for lines in self.columns.iter_mut().filter_map(|one| one.lines.as_mut()) {
            fit(&mut lines.text);
            fit(&mut lines.ends);
        }
        fit(&mut self.labels);
        fit(&mut self.rows);
        fit(&mut self.cells);
        fit(&mut self.digits);
        let size = self.size();
        if let Some(lease) = &mut self.lease {
            // Less is never refused.
            let _ = lease.resize(lease.bytes().min(size + size / 16 + SLACK));
        }
        self
    }
}

/// All but a sixteenth: the next time there may be a little more.
fn fit<T>(buffer: &mut Vec<T>) {
    let wanted = buffer.len() + buffer.len() / 16;
    if (buffer.capacity() - buffer.len()) * size_of::<T>() > SLACK && buffer.capacity() > wanted {
        buffer.shrink_to(wanted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two families, three rows; the first has nothing in the last row, the second in the first.
    fn table() -> QuerySamples {
        let mut samples = QuerySamples::with_families([4, 7].into_iter());
        let rows = [
            ("{r=\"a\"} ", Some(Number::Integer(-1)), None),
            (
                "{r=\"b\"} ",
                Some(Number::Digits(b"12345678901234567890")),
                Some(Number::Float(0.5)),
            ),
            ("{r=\"c\"} ", None, Some(Number::Float(f64::INFINITY))),
        ];
        for (labels, one, two) in rows {
            samples.labels().extend_from_slice(labels.as_bytes());
            samples.end_labels();
            samples.put(one);
            samples.put(two);
        }
        samples
    }

    const ONE: &str = "one{r=\"a\"} -1\none{r=\"b\"} 12345678901234567890\n";
    const TWO: &str = "two{r=\"b\"} 0.5\ntwo{r=\"c\"} +Inf\n";

    #[test]
    fn each_column_is_written_with_the_labels_of_the_rows_that_have_it() {
        let samples = table();
        assert_eq!((samples.samples(), samples.filled()), (4, 2));
        let families: Vec<_> = samples.families().collect();
        assert_eq!(families, [(4, true), (7, true)]);
        for (column, name, text) in [(0, "one", ONE), (1, "two", TWO)] {
            let mut out = Vec::new();
            assert_eq!(samples.write(column, name, 0, usize::MAX, &mut out), None);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }

    #[test]
    fn pieces_of_any_size_make_the_same_text() {
        let samples = table();
        for enough in 0..=ONE.len() {
            let (mut row, mut text, mut pieces) = (Some(0), Vec::new(), 0);
            while let Some(from) = row {
                let mut out = Vec::new();
                row = samples.write(0, "one", from, enough, &mut out);
                text.extend(out);
                pieces += 1;
            }
            assert_eq!(String::from_utf8(text).unwrap(), ONE, "{enough}");
            assert!(pieces <= 3, "{enough}: {pieces}");
        }
    }
}
