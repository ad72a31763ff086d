//! The answer to one scrape. Holds what the targets collected and lays it together family by
//! family while it is sent, so that a slow reader costs no copy of it.

use std::sync::Arc;

use bytes::Bytes;

use super::collected::Collected;
use crate::catalog::Catalog;
use crate::exposition::{FamilyHead, Format, write_head};
use crate::model::Kind;

/// What one scrape brought. Cloning is cheap.
#[derive(Clone, Debug, Default)]
pub struct Exposition(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// The exporter's own families: text format, OpenMetrics.
    own: [Bytes; 2],
    catalog: Arc<Catalog>,
    servers: Vec<Arc<Collected>>,
    /// Every piece that holds lines, in the order they are sent.
    pieces: Vec<Piece>,
    /// Every setting of every server, in the order they are sent.
    settings: Vec<(u32, u32)>,
}

/// Lines of one family from one query of one server. Sorts as it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Piece {
    family: u32,
    server: u32,
    query: u32,
    buffer: u32,
}

/// Pieces of the body are at least this long, in bytes, the last one excepted.
const CHUNK: usize = 64 * 1024;

impl Exposition {
    pub(super) fn new(
        own: [Vec<u8>; 2],
        catalog: Arc<Catalog>,
        servers: Vec<Arc<Collected>>,
    ) -> Self {
        let mut pieces = Vec::new();
        let mut settings = Vec::new();
        for (server, collected) in servers.iter().enumerate() {
            let same = Arc::ptr_eq(&catalog, &collected.catalog);
            for (query, samples) in collected.queries.iter().enumerate() {
                for (buffer, (family, lines)) in samples.families.iter().enumerate() {
                    if lines.is_empty() {
                        continue;
                    }
                    // A reload of the catalogue came in between: its names are the same families.
                    let family = if same {
                        Some(*family)
                    } else {
                        catalog.family(&collected.catalog.families[*family].name)
                    };
                    pieces.extend(family.map(|family| Piece {
                        family: narrow(family),
                        server: narrow(server),
                        query: narrow(query),
                        buffer: narrow(buffer),
                    }));
                }
            }
            let count = collected.settings.as_ref().map_or(0, |all| all.len());
            settings.extend((0..count).map(|at| (narrow(server), narrow(at))));
        }
        pieces.sort_unstable();
        let name = |(server, at): &(u32, u32)| {
            let all = servers[*server as usize].settings.as_deref();
            let setting = all.and_then(|all| all.get(*at as usize));
            setting.map_or("", |setting| setting.family)
        };
        settings.sort_by(|a, b| name(a).cmp(name(b)).then(a.cmp(b)));
        let own = own.map(Bytes::from);
        Self(Arc::new(Inner {
            own,
            catalog,
            servers,
            pieces,
            settings,
        }))
    }

    /// The body in that format, piece by piece.
    pub fn chunks(&self, format: Format) -> impl Iterator<Item = Bytes> + Send + 'static {
        Chunks {
            inner: Arc::clone(&self.0),
            format,
            stage: Stage::Own,
            at: 0,
        }
    }

    /// Size of all samples in bytes.
    pub(super) fn size(&self) -> usize {
        self.0.servers.iter().map(|server| server.size()).sum()
    }
}

fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Own,
    Families,
    Settings,
    Trailer,
    End,
}

struct Chunks {
    inner: Arc<Inner>,
    format: Format,
    stage: Stage,
    at: usize,
}

impl Iterator for Chunks {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let mut out = Vec::new();
        while out.len() < CHUNK {
            match self.stage {
                Stage::Own => {
                    self.stage = Stage::Families;
                    let own = match self.format {
                        Format::Text => &self.inner.own[0],
                        Format::OpenMetrics => &self.inner.own[1],
                    };
                    if !own.is_empty() {
                        return Some(own.clone());
                    }
                }
                Stage::Families => {
                    if !self.family(&mut out) {
                        (self.stage, self.at) = (Stage::Settings, 0);
                    }
                }
                Stage::Settings => {
                    if !self.setting(&mut out) {
                        self.stage = Stage::Trailer;
                    }
                }
                Stage::Trailer => {
                    out.extend_from_slice(self.format.trailer());
                    self.stage = Stage::End;
                }
                Stage::End => break,
            }
        }
        (!out.is_empty()).then(|| Bytes::from(out))
    }
}

impl Chunks {
    /// Writes the next piece, after its family's head when it is the first of it.
    fn family(&mut self, out: &mut Vec<u8>) -> bool {
        let inner = &*self.inner;
        let Some(piece) = inner.pieces.get(self.at) else {
            return false;
        };
        if out.is_empty() {
            out.reserve(CHUNK + 16 * 1024);
        }
        if self.at == 0 || inner.pieces[self.at - 1].family != piece.family {
            let family = &inner.catalog.families[piece.family as usize];
            let head = FamilyHead {
                name: &family.name,
                kind: family.kind,
                help: &family.help,
            };
            write_head(out, head, self.format);
        }
        let samples = &inner.servers[piece.server as usize].queries[piece.query as usize];
        out.extend_from_slice(&samples.families[piece.buffer as usize].1);
        self.at += 1;
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
