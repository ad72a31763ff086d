//! How a document of the JSON framing is packed: compressed, then encrypted, then in base64. As
//! the C program's 0.9 does it, byte for byte; see `security::FileKey` for the encrypted form.
//!
//! Whatever comes in, no more than [`LONGEST`] bytes come out.

use std::io::{self, Read, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::blocking::BlockingError;
use crate::security::{KeySize, Vault, VaultError};

/// The longest document, in bytes.
pub const LONGEST: usize = 1 << 20;

/// Memory that a zstd stream may ask for, as a power of two: 8 MiB, which every decoder has
/// (RFC 8878, section 3.1.1.1.2).
const ZSTD_WINDOW: u32 = 23;

/// First byte of a JSON frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
    Lz4,
    Bzip2,
}

/// Second byte of a JSON frame: AES-GCM with a key of so many bits, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Encryption {
    None,
    Aes256,
    Aes192,
    Aes128,
}

impl Compression {
    /// All of them, by their byte.
    pub const ALL: [Compression; 5] = [
        Compression::None,
        Compression::Gzip,
        Compression::Zstd,
        Compression::Lz4,
        Compression::Bzip2,
    ];

    /// By its byte.
    #[must_use]
    pub fn of_byte(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte)).copied()
    }

    /// Its byte.
    #[must_use]
    pub fn byte(self) -> u8 {
        self as u8
    }

    /// Its name in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        ["none", "gzip", "zstd", "lz4", "bzip2"][usize::from(self.byte())]
    }
}

impl Encryption {
    /// All of them, by their byte.
    pub const ALL: [Encryption; 4] = [
        Encryption::None,
        Encryption::Aes256,
        Encryption::Aes192,
        Encryption::Aes128,
    ];

    /// By its byte.
    #[must_use]
    pub fn of_byte(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte)).copied()
    }

    /// Its byte.
    #[must_use]
    pub fn byte(self) -> u8 {
        self as u8
    }

    /// Its name in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        ["none", "aes256", "aes192", "aes128"][usize::from(self.byte())]
    }

    /// The length of the key.
    #[must_use]
    pub fn key_size(self) -> Option<KeySize> {
        match self {
            Encryption::None => None,
            Encryption::Aes256 => Some(KeySize::Aes256),
            Encryption::Aes192 => Some(KeySize::Aes192),
            Encryption::Aes128 => Some(KeySize::Aes128),
        }
    }
}

/// Why a document cannot be packed or unpacked.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// Not base64.
    #[error("the document is not base64")]
    Base64,
    /// Cannot be encrypted or decrypted.
    #[error("the document cannot be decrypted or encrypted: {0}")]
    Vault(#[from] VaultError),
    /// Not what the compression makes.
    #[error("the document is not {}: {source}", compression.name())]
    Damaged {
        /// Which was announced.
        compression: Compression,
        /// What the decoder said.
        source: io::Error,
    },
    /// Grows too large.
    #[error("the document unpacks to more than {0} bytes")]
    TooLong(usize),
    /// Nobody was free to do it.
    #[error("the document cannot be packed or unpacked now: {0}")]
    NotRun(BlockingError),
}

/// Packs a document. The key is the vault's; a first use takes some 0.2 s of CPU.
///
/// # Errors
/// There is no master key, or it cannot be read.
pub fn pack(
    document: &[u8],
    compression: Compression,
    encryption: Encryption,
    vault: &Vault,
) -> Result<Vec<u8>, CodecError> {
    if (compression, encryption) == (Compression::None, Encryption::None) {
        return Ok(document.to_vec());
    }
    let mut bytes = compress(document, compression).map_err(|source| CodecError::Damaged {
        compression,
        source,
    })?;
    if let Some(size) = encryption.key_size() {
        bytes = vault.key()?.encrypt(&bytes, size)?;
    }
    Ok(STANDARD.encode(bytes).into_bytes())
}

/// Unpacks the document of a request.
///
/// # Errors
/// It is not what the two bytes of its frame say, or becomes longer than [`LONGEST`].
pub fn unpack(
    document: &[u8],
    compression: Compression,
    encryption: Encryption,
    vault: &Vault,
) -> Result<Vec<u8>, CodecError> {
    unpack_answer(document, compression, encryption, vault, LONGEST)
}

/// Unpacks an answer, which may be as long as the one who asked says.
///
/// # Errors
/// As [`unpack`].
pub fn unpack_answer(
    document: &[u8],
    compression: Compression,
    encryption: Encryption,
    vault: &Vault,
    longest: usize,
) -> Result<Vec<u8>, CodecError> {
    if (compression, encryption) == (Compression::None, Encryption::None) {
        return Ok(document.to_vec());
    }
    let mut bytes = STANDARD.decode(document).map_err(|_| CodecError::Base64)?;
    if let Some(size) = encryption.key_size() {
        bytes = vault.key()?.decrypt(&bytes, size)?.to_vec();
    }
    decompress(&bytes, compression, longest)
}

fn compress(plain: &[u8], compression: Compression) -> io::Result<Vec<u8>> {
    match compression {
        Compression::None => Ok(plain.to_vec()),
        Compression::Gzip => {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            out.write_all(plain)?;
            out.finish()
        }
        Compression::Zstd => zstd::bulk::compress(plain, zstd::DEFAULT_COMPRESSION_LEVEL),
        Compression::Lz4 => {
            let block = lz4_flex::block::compress(plain);
            // The C program's client has room for four times what it got, and a zero behind.
            if plain.len() < block.len() * 4 {
                Ok(block)
            } else {
                Ok(literals(plain))
            }
        }
        Compression::Bzip2 => {
            let mut out = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
            out.write_all(plain)?;
            out.finish()
        }
    }
}

/// An LZ4 block that repeats nothing ("LZ4 Block Format Description", "End of block conditions").
fn literals(plain: &[u8]) -> Vec<u8> {
    let mut block = Vec::with_capacity(plain.len() + plain.len() / 255 + 2);
    match u8::try_from(plain.len()) {
        Ok(short @ 0..15) => block.push(short << 4),
        _ => {
            block.push(0xf0);
            let mut left = plain.len() - 15;
            while left >= 255 {
                block.push(255);
                left -= 255;
            }
            block.push(u8::try_from(left).unwrap_or_default());
        }
    }
    block.extend_from_slice(plain);
    block
}

fn decompress(
    bytes: &[u8],
    compression: Compression,
    longest: usize,
) -> Result<Vec<u8>, CodecError> {
    let damaged = |source: io::Error| CodecError::Damaged {
        compression,
        source,
    };
    match compression {
        Compression::None if bytes.len() > longest => Err(CodecError::TooLong(longest)),
        Compression::None => Ok(bytes.to_vec()),
        Compression::Gzip => capped(flate2::read::MultiGzDecoder::new(bytes), longest, damaged),
        Compression::Zstd => {
            let mut reader = zstd::stream::read::Decoder::with_buffer(bytes).map_err(damaged)?;
            reader.window_log_max(ZSTD_WINDOW).map_err(damaged)?;
            capped(reader, longest, damaged)
        }
        Compression::Lz4 => {
            // A block cannot become longer than this.
            let room = bytes.len().saturating_mul(255).min(longest) + 1;
            let mut plain = vec![0; room];
            match lz4_flex::block::decompress_into(bytes, &mut plain) {
                Ok(length) if length > longest => Err(CodecError::TooLong(longest)),
                Ok(length) => {
                    plain.truncate(length);
                    Ok(plain)
                }
                Err(lz4_flex::block::DecompressError::OutputTooSmall { .. }) => {
                    Err(CodecError::TooLong(longest))
                }
                Err(error) => Err(damaged(io::Error::other(error.to_string()))),
            }
        }
        Compression::Bzip2 => capped(bzip2::read::MultiBzDecoder::new(bytes), longest, damaged),
    }
}

fn capped(
    reader: impl Read,
    longest: usize,
    damaged: impl Fn(io::Error) -> CodecError,
) -> Result<Vec<u8>, CodecError> {
    let mut plain = Vec::new();
    reader
        .take(longest as u64 + 1)
        .read_to_end(&mut plain)
        .map_err(damaged)?;
    if plain.len() > longest {
        return Err(CodecError::TooLong(longest));
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::Secret;

    const DOCUMENT: &[u8] = br#"{"Header": {"Command": 5}, "Request": {}}"#;

    fn vault() -> (tempfile::TempDir, Vault) {
        let home = tempfile::tempdir().unwrap();
        let vault = Vault::new(Some(home.path()));
        vault
            .create_key(&Secret::new("Sup3r-s3cret master!".to_owned()))
            .unwrap();
        (home, vault)
    }

    fn packed(bytes: &[u8]) -> Vec<u8> {
        STANDARD.encode(bytes).into_bytes()
    }

    #[test]
    fn every_pair_packs_and_unpacks() {
        let (_home, vault) = vault();
        for compression in Compression::ALL {
            for encryption in Encryption::ALL {
                for plain in [&b""[..], DOCUMENT, &vec![b' '; 70_000]] {
                    let packed = pack(plain, compression, encryption, &vault).unwrap();
                    let again = unpack(&packed, compression, encryption, &vault).unwrap();
                    assert!(again == plain, "{compression:?} {encryption:?}");
                }
            }
        }
    }

    /// Made with the programs gzip, zstd, lz4 (its block, cut out of the frame) and bzip2.
    #[test]
    fn what_others_packed_unpacks() {
        let plain = br#"{"Header": {"Command": 5, "Header": {"Command": 5}}, "Request": {}}"#;
        for (compression, text) in [
            (
                Compression::Gzip,
                "H4sIAAAAAAAAA6tW8khNTEktUrJSqFZyzs/NTcxLAbJNdRRwSNTWAqWCUgtLU4tLQHK1tQDzy4OMQwAAAA==",
            ),
            (
                Compression::Zstd,
                "KLUv/SRDnQEAxAJ7IkhlYWRlciI6IHsiQ29tbWFuZCI6IDUsIH19LCAiUmVxdWVzdCI6IHt9fQEAcj3HdLIblg==",
            ),
            (
                Compression::Lz4,
                "/wt7IkhlYWRlciI6IHsiQ29tbWFuZCI6IDUsIBkABPADfX0sICJSZXF1ZXN0Ijoge319",
            ),
            (
                Compression::Bzip2,
                "QlpoOTFBWSZTWbY+gnEAAB6fgFAEAhAIQBAAJgO+CiAAQJSJp6j0mMpp6hQNNDIyYlSyDDnvyKdzUYQ0OQQORklTYpsYJnJqlB4/F3JFOFCQtj6CcQ==",
            ),
        ] {
            let bytes = text.as_bytes();
            let found = unpack(bytes, compression, Encryption::None, &Vault::new(None));
            assert_eq!(found.unwrap(), plain, "{compression:?}");
        }
    }

    #[test]
    fn bombs_stop_at_the_cap() {
        let long = vec![b'a'; LONGEST + 1];
        let most = &long[..LONGEST];
        let none = Vault::new(None);
        for compression in Compression::ALL.into_iter().skip(1) {
            let bytes = match compression {
                Compression::Lz4 => lz4_flex::block::compress(&long),
                other => compress(&long, other).unwrap(),
            };
            assert!(bytes.len() < 10_000, "{compression:?}");
            let bomb = unpack(&packed(&bytes), compression, Encryption::None, &none);
            assert!(
                matches!(bomb, Err(CodecError::TooLong(LONGEST))),
                "{compression:?}"
            );
            let bytes = pack(most, compression, Encryption::None, &none).unwrap();
            let fits = unpack(&bytes, compression, Encryption::None, &none).unwrap();
            assert_eq!(fits.len(), LONGEST, "{compression:?}");
        }
    }

    #[test]
    fn what_is_torn_or_altered_is_refused() {
        let (_home, vault) = vault();
        for compression in Compression::ALL {
            for encryption in Encryption::ALL {
                if (compression, encryption) == (Compression::None, Encryption::None) {
                    continue;
                }
                let text = pack(DOCUMENT, compression, encryption, &vault).unwrap();
                let bytes = STANDARD.decode(&text).unwrap();
                for end in 0..bytes.len() {
                    let torn = unpack(&packed(&bytes[..end]), compression, encryption, &vault);
                    // A block of LZ4 does not say where it ends.
                    assert!(torn.is_err() || torn.unwrap() != DOCUMENT);
                }
                let bad = unpack(b"no base64!", compression, encryption, &vault);
                assert!(matches!(bad, Err(CodecError::Base64)));
                if encryption != Encryption::None {
                    let mut altered = bytes.clone();
                    *altered.last_mut().unwrap() ^= 1;
                    let bad = unpack(&packed(&altered), compression, encryption, &vault);
                    assert!(matches!(bad, Err(CodecError::Vault(VaultError::WrongKey))));
                }
            }
        }
        let nobody = pack(
            DOCUMENT,
            Compression::None,
            Encryption::Aes256,
            &Vault::new(None),
        );
        assert!(matches!(nobody, Err(CodecError::Vault(VaultError::NoHome))));
    }

    #[test]
    fn lz4_answers_fit_into_the_room_that_the_c_client_has() {
        for length in [0, 1, 14, 15, 16, 269, 270, 271, 5000, 100_000] {
            let plain = vec![b'x'; length];
            let block = compress(&plain, Compression::Lz4).unwrap();
            assert!(plain.len() < block.len() * 4, "{length}");
            assert_eq!(
                decompress(&block, Compression::Lz4, LONGEST).unwrap(),
                plain
            );
        }
    }
}
