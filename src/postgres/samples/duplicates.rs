//! Samples with the labels of another one: Prometheus takes one of them, and nobody knows which.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::{Cell, HistogramLines, QuerySamples};

impl QuerySamples {
    /// Leaves out each sample whose labels a row before it has in the same family. Returns how many
    /// that were.
    pub(in crate::postgres) fn drop_duplicates(&mut self) -> usize {
        if self.rows.len() < 2 {
            return 0;
        }
        let mut same = Vec::new();
        let mut seen = HashMap::with_capacity_and_hasher(self.rows.len(), RandomState::default());
        let mut begin = 0;
        for (row, end) in self.rows.iter().enumerate() {
            let first = *seen.entry(&self.labels[begin..*end]).or_insert(row);
            if first != row {
                same.push((first, row));
            }
            begin = *end;
        }
        let before = self.samples;
        let width = self.columns.len();
        for (first, row) in same {
            for column in 0..width {
                let (kept, cell) = (first * width + column, row * width + column);
                let value = std::mem::replace(&mut self.cells[cell], Cell::Nothing);
                match (self.cells[kept], value) {
                    (_, Cell::Nothing) => self.drop_lines(column, row),
                    // The row before has nothing in this family.
                    (Cell::Nothing, value) => self.cells[kept] = value,
                    _ => self.samples -= 1,
                }
            }
        }
        before - self.samples
    }

    /// The rows that have samples in a column, with their labels.
    pub fn rows_of(&self, column: usize) -> impl Iterator<Item = (usize, &[u8])> {
        let width = self.columns.len();
        let mut begin = 0;
        self.rows.iter().enumerate().filter_map(move |(row, end)| {
            let labels = &self.labels[begin..*end];
            begin = *end;
            let lines = self.columns.get(column)?.lines.as_ref();
            let cell = self.cells.get(row * width + column)?;
            let has = !matches!(cell, Cell::Nothing)
                || lines.is_some_and(|lines| !lines.range_of_row(row).0.is_empty());
            has.then_some((row, labels))
        })
    }

    /// Leaves out what a row has in a column. Returns how many samples that were.
    pub(in crate::postgres) fn drop_row(&mut self, column: usize, row: usize) -> usize {
        let before = self.samples;
        let at = row * self.columns.len() + column;
        match self.cells.get_mut(at) {
            Some(cell) if !matches!(cell, Cell::Nothing) => {
                *cell = Cell::Nothing;
                self.samples -= 1;
            }
            _ => self.drop_lines(column, row),
        }
        before - self.samples
    }

    /// Leaves out the lines of a row in a column that has lines.
    fn drop_lines(&mut self, column: usize, row: usize) {
        let column = self.columns.get_mut(column);
        let Some(lines) = column.and_then(|column| column.lines.as_mut()) else {
            return;
        };
        let (range, count) = lines.range_of_row(row);
        for (end, before) in lines.ends.iter_mut().skip(row) {
            *end -= range.len();
            *before -= count;
        }
        lines.text.drain(range);
        self.samples -= count;
    }
}

impl HistogramLines {
    /// Where those of a row stand, and how many there are.
    fn range_of_row(&self, row: usize) -> (std::ops::Range<usize>, usize) {
        let Some((end, count)) = self.ends.get(row) else {
            return (0..0, 0);
        };
        let before = row.checked_sub(1).and_then(|row| self.ends.get(row));
        let (begin, before) = before.copied().unwrap_or_default();
        (begin..*end, count - before)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Number;
    use super::*;

    /// Rows of labels and cells: `-` is none, `h` two lines.
    fn table(rows: &[(&str, &str)]) -> QuerySamples {
        let mut samples = QuerySamples::with_families(0..rows[0].1.len());
        for (labels, cells) in rows {
            samples.labels().extend_from_slice(labels.as_bytes());
            samples.end_labels();
            for cell in cells.bytes() {
                match cell {
                    b'-' => samples.put(None),
                    b'h' => samples.put_lines(|out, labels| {
                        out.extend_from_slice(labels);
                        out.extend_from_slice(b"1\n2\n");
                        2
                    }),
                    digit => samples.put(Some(Number::Integer(i64::from(digit - b'0')))),
                }
            }
        }
        samples
    }

    fn text(samples: &QuerySamples, column: usize) -> String {
        let mut out = Vec::new();
        samples.write(column, "m", 0, usize::MAX, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_first_of_two_rows_with_the_same_labels_is_kept_in_each_family() {
        let mut samples = table(&[
            ("{a} ", "12-h"),
            ("{b} ", "345h"),
            ("{a} ", "6-7h"),
            ("{a} ", "898h"),
        ]);
        let before = samples.samples();
        // Of {a}: two of the first family, one each of the second and third, two rows of lines.
        assert_eq!(samples.drop_duplicates(), 2 + 1 + 1 + 4);
        assert_eq!(samples.samples(), before - 8);
        assert_eq!(text(&samples, 0), "m{a} 1\nm{b} 3\n");
        assert_eq!(text(&samples, 1), "m{a} 2\nm{b} 4\n");
        assert_eq!(text(&samples, 2), "m{a} 7\nm{b} 5\n");
        assert_eq!(text(&samples, 3), "{a} 1\n2\n{b} 1\n2\n");
        assert_eq!(samples.drop_duplicates(), 0);
    }

    #[test]
    fn a_row_is_left_out_of_one_family_alone() {
        let mut samples = table(&[("{a} ", "1h"), ("{b} ", "2h"), ("{c} ", "-h")]);
        let rows: Vec<_> = samples.rows_of(0).collect();
        assert_eq!(rows, [(0, &b"{a} "[..]), (1, b"{b} ")]);
        assert_eq!(samples.rows_of(1).count(), 3);
        assert_eq!(samples.drop_row(0, 1), 1);
        assert_eq!(samples.drop_row(1, 1), 2);
        assert_eq!(samples.drop_row(1, 1), 0);
        assert_eq!(text(&samples, 0), "m{a} 1\n");
        assert_eq!(text(&samples, 1), "{a} 1\n2\n{c} 1\n2\n");
        assert_eq!(samples.samples(), 1 + 4);
    }
}
