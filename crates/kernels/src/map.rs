//! Turns an open file into bytes without copying it.

use std::fs::File;
use std::io;
use std::ops::Deref;

/// A file's bytes, read by the system as they are touched.
///
/// The mapping is private and read-only. As with every program that maps files: if another process
/// shortens the file meanwhile, touching what is gone ends this process (SIGBUS). Where the system
/// cannot map, the file is read into memory instead.
pub struct MappedFile {
    bytes: imp::Bytes,
}

impl MappedFile {
    /// Maps the whole of `file`, which may be closed afterwards.
    pub fn new(file: &File) -> io::Result<MappedFile> {
        let length = usize::try_from(file.metadata()?.len())
            .map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        Ok(MappedFile { bytes: imp::Bytes::new(file, length)? })
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.as_slice()
    }
}

impl std::fmt::Debug for MappedFile {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "MappedFile({} bytes)", self.len())
    }
}

#[cfg(all(unix, target_pointer_width = "64"))]
mod imp {
    use std::ffi::{c_int, c_void};
    use std::fs::File;
    use std::io;
    use std::os::fd::AsRawFd;
    use std::ptr::{NonNull, null_mut};

    // The same numbers on Linux, macOS and the BSDs.
    const PROT_READ: c_int = 1;
    const MAP_PRIVATE: c_int = 2;

    unsafe extern "C" {
        // `offset` is an off_t, which has 64 bits wherever pointers have.
        fn mmap(
            address: *mut c_void,
            length: usize,
            protection: c_int,
            flags: c_int,
            descriptor: c_int,
            offset: i64,
        ) -> *mut c_void;
        fn munmap(address: *mut c_void, length: usize) -> c_int;
    }

    /// A mapping; an empty one has no address, since the system refuses to map nothing.
    pub(super) struct Bytes {
        start: NonNull<u8>,
        length: usize,
    }

    // SAFETY: the mapping is owned, and nobody writes to it.
    unsafe impl Send for Bytes {}
    // SAFETY: as above.
    unsafe impl Sync for Bytes {}

    impl Bytes {
        pub(super) fn new(file: &File, length: usize) -> io::Result<Bytes> {
            if length == 0 {
                return Ok(Bytes { start: NonNull::dangling(), length });
            }
            let descriptor = file.as_raw_fd();
            // SAFETY: a new mapping at an address of the system's choice touches no other memory;
            // the descriptor is open while `file` is borrowed.
            let start = unsafe { mmap(null_mut(), length, PROT_READ, MAP_PRIVATE, descriptor, 0) };
            // The system reports failure by the address -1.
            match NonNull::new(start.cast::<u8>()) {
                Some(start) if start.as_ptr() as isize != -1 => Ok(Bytes { start, length }),
                _ => Err(io::Error::last_os_error()),
            }
        }

        pub(super) fn as_slice(&self) -> &[u8] {
            // SAFETY: mapped and readable for `length` bytes until dropped (or dangling and empty);
            // every bit pattern is a byte. That others may change the file is documented above.
            unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
        }
    }

    impl Drop for Bytes {
        fn drop(&mut self) {
            if self.length > 0 {
                // SAFETY: mapped by `new` with this length; no borrow outlives `self`.
                unsafe { munmap(self.start.as_ptr().cast(), self.length) };
            }
        }
    }
}

#[cfg(not(all(unix, target_pointer_width = "64")))]
mod imp {
    use std::fs::File;
    use std::io::{self, Read};

    /// The file's contents, copied.
    pub(super) struct Bytes(Vec<u8>);

    impl Bytes {
        pub(super) fn new(mut file: &File, length: usize) -> io::Result<Bytes> {
            let mut bytes = Vec::new();
            bytes.try_reserve_exact(length).map_err(|_| io::ErrorKind::OutOfMemory)?;
            file.read_to_end(&mut bytes)?;
            Ok(Bytes(bytes))
        }

        pub(super) fn as_slice(&self) -> &[u8] {
            &self.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// A file under a name of its own, removed at the end.
    struct Scratch(std::path::PathBuf);

    impl Scratch {
        fn new(name: &str, bytes: &[u8]) -> Scratch {
            let name = format!("myriad-map-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(name);
            File::create(&path).and_then(|mut file| file.write_all(bytes)).expect("a scratch file");
            Scratch(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn a_mapping_has_the_bytes_of_its_file_even_when_that_is_closed() {
        for length in [0, 1, 4095, 4096, 4097, 300_000] {
            let bytes: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
            let scratch = Scratch::new("bytes", &bytes);
            let mapped = MappedFile::new(&File::open(&scratch.0).unwrap()).unwrap();
            assert_eq!(&mapped[..], &bytes[..]);
        }
    }

    #[test]
    fn what_cannot_be_mapped_is_an_error() {
        let scratch = Scratch::new("write-only", b"text");
        let file = File::options().append(true).open(&scratch.0).unwrap();
        assert!(MappedFile::new(&file).is_err());
    }
}
