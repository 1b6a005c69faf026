//! Turns the bytes of a header into numbers, never beyond its end, its limits, or its memory.

use crate::error::GgufError;
use crate::limits::{HEADER_BYTES_MAX, PARSING_SLACK_BYTES};

/// A place in a file's header, and the memory that parsing may still take.
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
    memory_max: u64,
    memory_used: u64,
}

impl<'a> Cursor<'a> {
    /// The beginning of a file.
    pub(crate) fn new(bytes: &'a [u8]) -> Cursor<'a> {
        let memory_max = bytes.len() as u64 + PARSING_SLACK_BYTES;
        Cursor { bytes, position: 0, memory_max, memory_used: 0 }
    }

    /// Bytes from the beginning of the file.
    pub(crate) fn position(&self) -> usize {
        self.position
    }

    /// Bytes up to the end of the file.
    pub(crate) fn left(&self) -> usize {
        self.bytes.len() - self.position
    }

    /// The next `length` bytes; `what` they are goes into the error.
    pub(crate) fn take(&mut self, length: u64, what: &'static str) -> Result<&'a [u8], GgufError> {
        let (position, left) = (self.position, self.left());
        let Some(length) = usize::try_from(length).ok().filter(|length| *length <= left) else {
            return Err(GgufError::Truncated { what, position, needed: length, left });
        };
        let end = position + length;
        if end > HEADER_BYTES_MAX {
            return Err(GgufError::HeaderSize { what, position, max: HEADER_BYTES_MAX });
        }
        self.position = end;
        Ok(&self.bytes[position..end])
    }

    /// The next `N` bytes.
    pub(crate) fn array<const N: usize>(
        &mut self,
        what: &'static str,
    ) -> Result<[u8; N], GgufError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64, what)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, GgufError> {
        Ok(self.array::<1>(what)?[0])
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, GgufError> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, GgufError> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// Goes back to an earlier place, to read it again.
    pub(crate) fn rewind(&mut self, position: usize) {
        self.position = position;
    }

    /// Checks that `count` things of `bytes_min` bytes each can stand in what is left.
    pub(crate) fn check_count(
        &self,
        what: &'static str,
        count: u64,
        bytes_min: u64,
    ) -> Result<(), GgufError> {
        let max = self.left() as u64 / bytes_min;
        if count > max {
            let position = self.position;
            return Err(GgufError::CountBeyondFile { what, count, position, max });
        }
        Ok(())
    }

    /// Books memory that is about to be allocated, so that all of it together stays within the
    /// size of the file.
    pub(crate) fn book(&mut self, bytes: u64, what: &'static str) -> Result<(), GgufError> {
        match self.memory_used.checked_add(bytes) {
            Some(used) if used <= self.memory_max => {
                self.memory_used = used;
                Ok(())
            }
            _ => Err(GgufError::Memory { what, position: self.position, max: self.memory_max }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_read_beyond_the_end() {
        let mut cursor = Cursor::new(&[1, 0, 0, 0, 9]);
        assert_eq!(cursor.u32("a number").unwrap(), 1);
        for length in [2, 1 << 40, u64::MAX] {
            let error = cursor.take(length, "a thing").unwrap_err();
            let told = matches!(
                error,
                GgufError::Truncated { what: "a thing", position: 4, needed, left: 1 }
                    if needed == length
            );
            assert!(told, "{error}");
        }
        assert_eq!(cursor.u8("a byte").unwrap(), 9);
        assert!(cursor.u8("a byte").is_err());
    }

    #[test]
    fn memory_is_booked_up_to_the_size_of_the_file_and_a_little() {
        let bytes = [0; 100];
        let mut cursor = Cursor::new(&bytes);
        cursor.book(PARSING_SLACK_BYTES, "a table").unwrap();
        cursor.book(100, "a table").unwrap();
        assert!(matches!(cursor.book(1, "a table"), Err(GgufError::Memory { .. })));
        assert!(matches!(cursor.book(u64::MAX, "a table"), Err(GgufError::Memory { .. })));
    }

    #[test]
    fn a_header_without_end_is_cut_off() {
        let bytes = vec![0; HEADER_BYTES_MAX + 1];
        let mut cursor = Cursor::new(&bytes);
        cursor.take(HEADER_BYTES_MAX as u64, "a table").unwrap();
        assert!(matches!(cursor.u8("a byte"), Err(GgufError::HeaderSize { .. })));
    }
}
