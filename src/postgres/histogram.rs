//! Histograms, which a query gives as four columns.

use super::row::Fields;
use super::value;
use crate::catalog::Family;
use crate::exposition::SampleWriter;
use crate::model::Kind;

/// Writes one histogram from four columns: bounds, cumulative counts, sum, count. Whatever they
/// hold, what is written is a valid one: bounds rise, counts rise with them, and `+Inf` equals the
/// count (Prometheus, "Histograms and summaries"). Of a snapshot, whose family of buckets is a
/// gauge, the buckets alone: its sum and its count are families of their own.
pub(super) fn histogram(
    out: &mut Vec<u8>,
    family: &Family,
    labels: &[u8],
    fields: Fields<'_>,
    at: usize,
) -> usize {
    let snapshot = family.kind == Kind::Gauge;
    let name = &family.name;
    let bare = labels
        .strip_prefix(b"{")
        .and_then(|labels| labels.strip_suffix(b"} "));
    let list = |at: usize| array(fields.get(at).unwrap_or_default());
    let single = |at: usize| {
        fields
            .get(at)
            .map(|raw| value::as_float(value::number(fields.encoding(at), raw)))
    };
    let mut buckets: Vec<(f64, f64)> = list(at)
        .into_iter()
        .zip(list(at + 1))
        .filter(|(bound, count)| bound.is_finite() && count.is_finite())
        .collect();
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    buckets.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1 = kept.1.max(next.1);
        }
        same
    });
    let mut highest = 0.0_f64;
    for (_, count) in &mut buckets {
        highest = highest.max(*count);
        *count = highest;
    }
    let count = single(at + 3)
        .filter(|count| count.is_finite())
        .unwrap_or(0.0)
        .max(highest);
    let sum = single(at + 2).unwrap_or(0.0);

    let bucket = if snapshot {
        name.clone()
    } else {
        format!("{name}_bucket")
    };
    let mut bound = Vec::new();
    for (le, value) in buckets.iter().copied().chain([(f64::INFINITY, count)]) {
        bound.clear();
        crate::exposition::write_float(&mut bound, le);
        let mut sample = SampleWriter::begin(out, &bucket);
        sample.rendered(bare.unwrap_or_default());
        sample.label("le", &bound);
        sample.float(value);
    }
    if snapshot {
        return buckets.len() + 1;
    }
    for (suffix, value) in [("_sum", sum), ("_count", count)] {
        SampleWriter::resume(out, &format!("{name}{suffix}"), labels).float(value);
    }
    buckets.len() + 3
}

/// The numbers of an array in PostgreSQL's text form, such as `{1,2.5,NULL}`.
fn array(raw: &[u8]) -> Vec<f64> {
    let text = std::str::from_utf8(raw).unwrap_or_default();
    text.trim_matches(['{', '}'])
        .split(',')
        .filter(|part| !part.is_empty())
        .map(|part| part.trim_matches('"').parse().unwrap_or(f64::NAN))
        .collect()
}
