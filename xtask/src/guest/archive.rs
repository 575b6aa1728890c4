//! A cpio archive in the format that Linux takes as its first root file system ("newc").
//!
//! Owns the bytes only; never touches a file. See `Documentation/driver-api/early-userspace` in
//! Linux.

/// An archive in the making.
pub(crate) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// An empty one.
    pub(crate) const fn new() -> Self {
        Self { bytes: Vec::new(), entries: 0 }
    }

    /// Adds a folder; those above it come first.
    pub(crate) fn folder(&mut self, path: &str) -> anyhow::Result<()> {
        self.entry(path, 0o040_755, &[])
    }

    /// Adds a file that may be executed.
    pub(crate) fn file(&mut self, path: &str, content: &[u8]) -> anyhow::Result<()> {
        self.entry(path, 0o100_755, content)
    }

    /// Adds a symbolic link.
    pub(crate) fn link(&mut self, path: &str, to: &str) -> anyhow::Result<()> {
        self.entry(path, 0o120_777, to.as_bytes())
    }

    /// The whole, with its end.
    pub(crate) fn end(mut self) -> anyhow::Result<Vec<u8>> {
        self.entry("TRAILER!!!", 0, &[])?;
        Ok(self.bytes)
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) -> anyhow::Result<()> {
        self.entries += 1;
        let size = u32::try_from(content.len())?;
        let name = u32::try_from(path.len() + 1)?;
        // Magic; then inode, mode, owner, group, links, time, size, four device numbers, the
        // length of the name with its zero, and a checksum that is not used.
        self.bytes.extend_from_slice(b"070701");
        for field in [self.entries, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name, 0] {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
        Ok(())
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_as_the_kernel_reads_them() {
        let mut archive = Archive::new();
        archive.folder("bin").expect("a folder");
        archive.file("bin/a", b"hello").expect("a file");
        let bytes = archive.end().expect("an archive");
        let folder = "07070100000001000041ed000000000000000000000001000000000000000000000000\
                      0000000000000000000000000000000400000000bin\0";
        let file = "07070100000002000081ed000000000000000000000001000000000000000500000000\
                    0000000000000000000000000000000600000000bin/a\0";
        let mut want = folder.as_bytes().to_vec();
        want.resize(want.len().next_multiple_of(4), 0);
        want.extend_from_slice(file.as_bytes());
        want.resize(want.len().next_multiple_of(4), 0);
        want.extend_from_slice(b"hello\0\0\0");
        assert_eq!(bytes.get(..want.len()), Some(want.as_slice()));
        assert!(bytes.ends_with(b"TRAILER!!!\0\0\0\0"), "{bytes:?}");
    }
}
