//! Frames: the bytes around a document. Pure: bytes go in, a head or "not yet" comes out.
//!
//! ```text
//! id framing     id: u8 (16 and above)   length: u32   payload
//! JSON framing   compression: u8 (0–4)   encryption: u8 (0–3)   length: u32   document
//! ```
//!
//! Integers are big-endian. The length is looked at before anything is kept for it.

use super::codec::{Compression, Encryption, LONGEST};

/// The lowest first byte of the id framing.
const FIRST_ID: u8 = 16;
/// The first byte above those of the JSON framing.
const FIRST_RESERVED: u8 = 5;

/// How a frame is framed; its answer is framed the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// With the id.
    Id(u8),
    /// With how the document is packed.
    Json(Compression, Encryption),
}

/// A plain JSON frame: for answers to who could not be understood.
pub const PLAIN: Framing = Framing::Json(Compression::None, Encryption::None);

/// The part before the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    /// Which framing it is.
    pub framing: Framing,
    /// Bytes of the head itself.
    pub size: usize,
    /// Bytes of the document.
    pub length: usize,
}

/// What is wrong with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// First byte 5 to 15.
    #[error("the first byte is {0}, which does not start a frame")]
    Reserved(u8),
    /// Second byte of a JSON frame.
    #[error("encryption {0} is not known; use 0 to 3")]
    Encryption(u8),
    /// The length is above what is read.
    #[error("the frame has {length} bytes, and the limit is {longest}")]
    TooLong {
        /// What it announces.
        length: u32,
        /// What is read.
        longest: usize,
    },
}

/// Reads the head of a request's frame. `None` while there is not all of it.
///
/// # Errors
/// What no further byte can mend.
pub fn head(bytes: &[u8]) -> Result<Option<FrameHead>, FrameError> {
    head_of_answer(bytes, LONGEST)
}

/// The same for an answer, which may be as long as the one who asked says.
///
/// # Errors
/// What no further byte can mend.
pub fn head_of_answer(bytes: &[u8], longest: usize) -> Result<Option<FrameHead>, FrameError> {
    let Some(&first) = bytes.first() else {
        return Ok(None);
    };
    let (framing, at) = if first >= FIRST_ID {
        (Framing::Id(first), 1)
    } else if first < FIRST_RESERVED {
        let Some(compression) = Compression::of_byte(first) else {
            return Err(FrameError::Reserved(first));
        };
        let Some(&second) = bytes.get(1) else {
            return Ok(None);
        };
        let encryption = Encryption::of_byte(second).ok_or(FrameError::Encryption(second))?;
        (Framing::Json(compression, encryption), 2)
    } else {
        return Err(FrameError::Reserved(first));
    };
    let Some(length) = bytes.get(at..at + 4) else {
        return Ok(None);
    };
    let length = length
        .iter()
        .fold(0_u32, |length, byte| (length << 8) | u32::from(*byte));
    match usize::try_from(length) {
        Ok(length) if length <= longest => Ok(Some(FrameHead {
            framing,
            size: at + 4,
            length,
        })),
        _ => Err(FrameError::TooLong { length, longest }),
    }
}

/// Writes a whole frame.
#[must_use]
pub fn frame(framing: Framing, document: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(document.len() + 6);
    match framing {
        Framing::Id(id) => bytes.push(id),
        Framing::Json(compression, encryption) => {
            bytes.extend([compression.byte(), encryption.byte()]);
        }
    }
    // A document of ours is far from 4 GiB.
    let length = u32::try_from(document.len()).unwrap_or(u32::MAX);
    bytes.extend(length.to_be_bytes());
    bytes.extend_from_slice(document);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_when_all_of_it_is_there_and_not_before() {
        for (bytes, framing) in [
            (&[16, 0, 0, 1, 2][..], Framing::Id(16)),
            (&[255, 0, 0, 1, 2], Framing::Id(255)),
            (&[0, 0, 0, 0, 1, 2], PLAIN),
            (
                &[4, 3, 0, 0, 1, 2],
                Framing::Json(Compression::Bzip2, Encryption::Aes128),
            ),
        ] {
            for torn in 0..bytes.len() {
                assert_eq!(head(&bytes[..torn]), Ok(None), "{bytes:?} {torn}");
            }
            let found = head(bytes).unwrap().unwrap();
            assert_eq!(
                (found.framing, found.size, found.length),
                (framing, bytes.len(), 258)
            );
        }
    }

    #[test]
    fn what_begins_no_frame_is_refused_at_the_first_byte_that_says_so() {
        for first in 5..16 {
            assert_eq!(head(&[first]), Err(FrameError::Reserved(first)));
        }
        assert_eq!(head(&[0, 4]), Err(FrameError::Encryption(4)));
    }

    #[test]
    fn a_length_above_the_cap_is_refused_and_the_cap_is_not() {
        assert_eq!(head(&[16, 0, 16, 0, 0]).unwrap().unwrap().length, LONGEST);
        for bytes in [&[16, 0, 16, 0, 1][..], &[0, 0, 255, 255, 255, 255]] {
            assert!(matches!(head(bytes), Err(FrameError::TooLong { .. })));
        }
    }

    #[test]
    fn a_written_frame_is_read_again() {
        for framing in [
            Framing::Id(22),
            Framing::Json(Compression::Zstd, Encryption::Aes256),
        ] {
            let bytes = frame(framing, b"{}");
            let found = head(&bytes).unwrap().unwrap();
            assert_eq!(found.framing, framing);
            assert_eq!(&bytes[found.size..][..found.length], b"{}");
        }
    }
}
