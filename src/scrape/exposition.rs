//! The answer to one scrape. Holds what the targets collected and writes it out family by family
//! while it is sent, so that a slow reader costs no copy of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::collection_result::CollectionResult;
use crate::catalog::{Catalog, Family};
use crate::exposition::{FamilyHead, Format, write_head};
use crate::model::Kind;
use crate::postgres::SettingsSamples;

/// What one scrape brought. Cloning is cheap.
#[derive(Clone, Debug, Default)]
pub struct Exposition(Arc<ExpositionData>);

#[derive(Debug, Default)]
struct ExpositionData {
    own: SelfMetricsText,
    catalog: Arc<Catalog>,
    /// Families that single servers have beside the catalogue's, sorted by name. Their indexes
    /// follow on those of the catalogue.
    extras: Vec<Arc<Family>>,
    servers: Vec<Arc<CollectionResult>>,
    /// Every piece that holds lines, in the order they are sent.
    pieces: Vec<FamilyPiece>,
    /// Every setting of every server, in the order they are sent.
    settings: Vec<(u32, u32)>,
}

/// The exporter's own families, in the formats that are asked for.
#[derive(Debug, Default)]
pub(super) struct SelfMetricsText {
    text: Bytes,
    open_metrics: Bytes,
}

impl SelfMetricsText {
    /// For an answer that is sent once.
    pub(super) fn one(format: Format, render: impl Fn(Format) -> Vec<u8>) -> Self {
        let mut own = Self::default();
        match format {
            Format::Text => own.text = render(format).into(),
            Format::OpenMetrics => own.open_metrics = render(format).into(),
        }
        own
    }

    /// For an answer that is kept.
    pub(super) fn both(render: impl Fn(Format) -> Vec<u8>) -> Self {
        Self {
            text: render(Format::Text).into(),
            open_metrics: render(Format::OpenMetrics).into(),
        }
    }
}

/// Lines of one family from one query of one server. Sorts as it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct FamilyPiece {
    family: u32,
    server: u32,
    query: u32,
    column: u32,
}

/// What is sent at once, in bytes; a line more, or what stands before it.
const CHUNK: usize = 16 * 1024;
/// Room for the last line.
const LINE: usize = 2 * 1024;

impl Exposition {
    /// All that the servers brought.
    pub(super) fn new(
        own: SelfMetricsText,
        catalog: Arc<Catalog>,
        servers: Vec<Arc<CollectionResult>>,
    ) -> Self {
        let mut inner = ExpositionData {
            own,
            catalog,
            servers,
            ..ExpositionData::default()
        };
        inner.lay_out();
        Self(Arc::new(inner))
    }

    /// The body in that format, piece by piece.
    pub fn chunks(&self, format: Format) -> impl Iterator<Item = Bytes> + Send + use<> {
        ExpositionChunks {
            inner: Arc::clone(&self.0),
            format,
            stage: WriteStage::Own,
            at: 0,
            row: 0,
        }
    }

    /// What tells the collections of its servers from all others that are held now, one number
    /// each.
    #[must_use]
    pub fn collections(&self) -> Vec<usize> {
        let servers = self.0.servers.iter();
        servers
            .map(|collected| Arc::as_ptr(collected).addr())
            .collect()
    }

    /// What is kept of all samples, in bytes.
    pub(super) fn size(&self) -> usize {
        self.0.servers.iter().map(|one| one.size()).sum()
    }
}

impl ExpositionData {
    /// Lists the pieces in the order they are sent.
    fn lay_out(&mut self) {
        self.extras = self.find_extras();
        let (catalog, extras) = (&self.catalog, &self.extras);
        for (server, collected) in self.servers.iter().enumerate() {
            let own = &collected.catalog;
            for (query, samples) in collected.queries.iter().enumerate() {
                for (column, (family, filled)) in samples.families().enumerate() {
                    if !filled {
                        continue;
                    }
                    let index = own.index_in(catalog, family).or_else(|| {
                        let family = &own.families[family];
                        let at = extras
                            .binary_search_by(|one| one.name.cmp(&family.name))
                            .ok()?;
                        // Of two types under one name the first counts.
                        (extras[at].kind == family.kind).then_some(catalog.families.len() + at)
                    });
                    self.pieces.extend(index.map(|family| FamilyPiece {
                        family: narrow(family),
                        server: narrow(server),
                        query: narrow(query),
                        column: narrow(column),
                    }));
                }
            }
        }
        self.pieces.sort_unstable();
        self.settings = in_order(&self.servers);
    }

    /// Families with lines that the catalogue lacks: a server has metrics of its own, or was asked
    /// before a reload.
    fn find_extras(&self) -> Vec<Arc<Family>> {
        let mut extras = BTreeMap::new();
        for collected in &self.servers {
            let own = &collected.catalog;
            if Arc::ptr_eq(own, &self.catalog) {
                continue;
            }
            let queries = collected.queries.iter();
            let families = queries.flat_map(|query| query.families());
            for (family, _) in families.filter(|(_, filled)| *filled) {
                if own.index_in(&self.catalog, family).is_none() {
                    let family = &own.families[family];
                    extras.entry(&family.name).or_insert(family);
                }
            }
        }
        extras.into_values().cloned().collect()
    }

    /// What a family is in that format, whose first piece is the one at `first`. OpenMetrics has
    /// no counter that is negative or not a number, nor one whose name without `_total` is another
    /// family's: such a counter is of unknown type there.
    fn kind(&self, first: usize, family: &Family, format: Format) -> Kind {
        if (format, family.kind) != (Format::OpenMetrics, Kind::Counter) {
            return family.kind;
        }
        let index = self.pieces[first].family;
        let mut pieces = self.pieces[first..].iter();
        let irregular = pieces
            .by_ref()
            .take_while(|piece| piece.family == index)
            .any(|piece| {
                let queries = &self.servers[piece.server as usize].queries;
                queries[piece.query as usize].is_irregular(piece.column as usize)
            });
        let name = family.name.strip_suffix("_total").unwrap_or_default();
        let taken = self.catalog.family(name).is_some()
            || self.extras.iter().any(|extra| extra.name == name);
        if irregular || taken {
            Kind::Unknown
        } else {
            Kind::Counter
        }
    }

    fn family(&self, index: u32) -> &Family {
        let index = index as usize;
        let listed = self.catalog.families.get(index);
        listed.unwrap_or_else(|| &self.extras[index - self.catalog.families.len()])
    }
}

/// Every setting of every server, by name, then by server.
fn in_order(servers: &[Arc<CollectionResult>]) -> Vec<(u32, u32)> {
    let lists: Vec<(u32, &SettingsSamples)> = servers
        .iter()
        .enumerate()
        .filter_map(|(server, one)| Some((narrow(server), one.settings.as_deref()?)))
        .collect();
    let Some(((_, first), others)) = lists.split_first() else {
        return Vec::new();
    };
    let count = first.len();
    // Servers of one version have the same settings, each list in order.
    if others.iter().all(|(_, other)| other.has_names_of(first)) {
        let all =
            (0..count).flat_map(|at| lists.iter().map(move |(server, _)| (*server, narrow(at))));
        return all.collect();
    }
    let named = |(server, list): &(u32, &SettingsSamples)| {
        let (server, list): (u32, &SettingsSamples) = (*server, list);
        (0..list.len()).map(move |at| (server, narrow(at)))
    };
    let mut all: Vec<(u32, u32)> = lists.iter().flat_map(named).collect();
    let name = |(server, at): &(u32, u32)| {
        let all = servers[*server as usize].settings.as_deref()?;
        let setting = all.get(*at as usize)?;
        Some(setting.family)
    };
    all.sort_by(|a, b| name(a).cmp(&name(b)).then(a.cmp(b)));
    all
}

fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WriteStage {
    Own,
    Families,
    Settings,
    Trailer,
    End,
}

struct ExpositionChunks {
    inner: Arc<ExpositionData>,
    format: Format,
    stage: WriteStage,
    at: usize,
    /// The row of the piece that comes next.
    row: usize,
}

/// Room for a whole chunk at once: to grow step by step would copy it again and again.
fn make_room(out: &mut Vec<u8>) {
    if out.capacity() == 0 {
        out.reserve(CHUNK + LINE);
    }
}

impl Iterator for ExpositionChunks {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let mut out = Vec::new();
        while out.len() < CHUNK {
            match self.stage {
                WriteStage::Own => {
                    self.stage = WriteStage::Families;
                    let own = match self.format {
                        Format::Text => &self.inner.own.text,
                        Format::OpenMetrics => &self.inner.own.open_metrics,
                    };
                    if !own.is_empty() {
                        return Some(own.clone());
                    }
                }
                WriteStage::Families => {
                    if !self.family(&mut out) {
                        (self.stage, self.at) = (WriteStage::Settings, 0);
                    }
                }
                WriteStage::Settings => {
                    if !self.setting(&mut out) {
                        self.stage = WriteStage::Trailer;
                    }
                }
                WriteStage::Trailer => {
                    out.extend_from_slice(self.format.trailer());
                    self.stage = WriteStage::End;
                }
                WriteStage::End => break,
            }
        }
        (!out.is_empty()).then(|| out.into())
    }
}

impl ExpositionChunks {
    /// Writes what comes next of a piece, after its family's head when it is the first of it.
    fn family(&mut self, out: &mut Vec<u8>) -> bool {
        let inner = &*self.inner;
        let Some(piece) = inner.pieces.get(self.at) else {
            return false;
        };
        make_room(out);
        let family = inner.family(piece.family);
        let first = self.at == 0 || inner.pieces[self.at - 1].family != piece.family;
        if first && self.row == 0 {
            let head = FamilyHead {
                name: &family.name,
                kind: inner.kind(self.at, family, self.format),
                help: &family.help,
            };
            write_head(out, head, self.format);
        }
        let samples = &inner.servers[piece.server as usize].queries[piece.query as usize];
        let column = piece.column as usize;
        match samples.write(column, &family.name, self.row, CHUNK, out) {
            Some(row) => self.row = row,
            None => (self.at, self.row) = (self.at + 1, 0),
        }
        true
    }

    fn setting(&mut self, out: &mut Vec<u8>) -> bool {
        let inner = &*self.inner;
        let find = |at: usize| {
            let (server, at) = inner.settings.get(at)?;
            let all = inner.servers[*server as usize].settings.as_deref()?;
            all.get(*at as usize)
        };
        let Some(setting) = find(self.at) else {
            return false;
        };
        make_room(out);
        let first = self
            .at
            .checked_sub(1)
            .and_then(find)
            .is_none_or(|before| before.family != setting.family);
        if first {
            let head = FamilyHead {
                name: setting.family,
                kind: Kind::Gauge,
                help: setting.help,
            };
            write_head(out, head, self.format);
        }
        out.extend_from_slice(setting.line);
        self.at += 1;
        true
    }
}
