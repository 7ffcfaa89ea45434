//! Values of the journal as they lie in the object's storage: one byte that says how, then the bytes; compressed with
//! snappy if they are to be and it makes them shorter. In key-value storage that saves rows, which are small there; in
//! SQLite it would cost more CPU than the pages that it saves.

use bytes::{BufMut, Bytes};
use dolake_core::command::Write;

const PLAIN: u8 = 0;
const SNAPPY: u8 = 1;

/// Shorter values stay plain.
const WORTHWHILE_BYTES: usize = 1_024;

/// The largest value that is unpacked: more than the machine ever saves under one key.
const VALUE_BYTES_MAX: usize = 64 << 20;

/// Packs the values of a transaction.
pub fn pack_all(writes: Vec<Write>, compress: bool) -> Vec<Write> {
    let packed = |write| match write {
        Write::Put(key, value) => Write::Put(key, pack(&value, compress)),
        Write::Delete(key) => Write::Delete(key),
    };
    writes.into_iter().map(packed).collect()
}

fn pack(value: &[u8], compress: bool) -> Bytes {
    if compress && value.len() >= WORTHWHILE_BYTES {
        let mut packed = vec![0; 1 + snap::raw::max_compress_len(value.len())];
        packed[0] = SNAPPY;
        if let Ok(len) = snap::raw::Encoder::new().compress(value, &mut packed[1..])
            && len < value.len()
        {
            packed.truncate(1 + len);
            return packed.into();
        }
    }
    let mut plain = Vec::with_capacity(1 + value.len());
    plain.put_u8(PLAIN);
    plain.put_slice(value);
    plain.into()
}

/// A value as it was; `None` if no host packed it so. Nothing at all is no value: only the key was wanted.
pub fn unpack(packed: Bytes) -> Option<Bytes> {
    match packed.first() {
        None => Some(packed),
        Some(&PLAIN) => Some(packed.slice(1..)),
        Some(&SNAPPY) => {
            let is_sane = snap::raw::decompress_len(&packed[1..]).ok()? <= VALUE_BYTES_MAX;
            let value = is_sane.then(|| snap::raw::Decoder::new().decompress_vec(&packed[1..]))?;
            value.ok().map(Bytes::from)
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_comes_out_as_it_went_in() {
        let noise: Vec<u8> = (0..3_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for value in [&b""[..], b"short", &[b'x'; 5_000], &noise] {
            for compress in [false, true] {
                assert_eq!(unpack(pack(value, compress)).as_deref(), Some(value));
            }
        }
        assert!(pack(&[b'x'; 5_000], true).len() < 500);
        assert!(pack(&noise, true).len() <= noise.len() + 1);
    }

    #[test]
    fn what_no_host_packed_is_none() {
        for damaged in [&[7, 1, 2][..], &[SNAPPY], &[SNAPPY, 255, 255, 255, 255, 15, 0], &[SNAPPY, 9, 0]] {
            assert_eq!(unpack(Bytes::copy_from_slice(damaged)), None, "{damaged:?}");
        }
    }
}
