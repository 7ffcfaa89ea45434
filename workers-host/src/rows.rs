//! Journal entries on their way from the shell: each as the length of its key, the length of its value (both 32 bits,
//! little-endian), the key, and the value, which is packed unless only keys were wanted.

use bytes::{Buf, Bytes};
use dolake_core::command::Key;

use crate::pack;

/// The entries of a buffer; `None` if it is cut short or no host packed them.
pub fn decode(mut buffer: Bytes) -> Option<Vec<(Key, Bytes)>> {
    let mut entries = Vec::new();
    while !buffer.is_empty() {
        let key_len = buffer.try_get_u32_le().ok()? as usize;
        let value_len = buffer.try_get_u32_le().ok()? as usize;
        if buffer.len() < key_len.checked_add(value_len)? {
            return None;
        }
        let key = buffer.split_to(key_len);
        entries.push((key, pack::unpack(buffer.split_to(value_len))?));
    }
    Some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_out_as_they_went_in() {
        let bytes = b"\x01\0\0\0\x03\0\0\0k\0vv\x03\0\0\0\0\0\0\0key";
        let expected = [("k", "vv"), ("key", "")].map(|(key, value)| (Bytes::from(key), Bytes::from(value)));
        assert_eq!(decode(Bytes::from_static(bytes)), Some(expected.to_vec()));
        assert_eq!(decode(Bytes::new()), Some(Vec::new()));
    }

    #[test]
    fn a_buffer_that_is_cut_short_is_none() {
        for bytes in [
            &b"\x01\0\0"[..],
            b"\x01\0\0\0\x02\0\0\0kv",
            b"\x01\0\0\0\x01\0\0\0k\x09",
            b"\xff\xff\xff\xff\xff\xff\xff\xffkv",
        ] {
            assert_eq!(decode(Bytes::from_static(bytes)), None);
        }
    }
}
