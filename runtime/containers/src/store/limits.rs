//! How much of an archive is believed before it is refused.

/// Bounds on imports. The defaults are far above real images and far below filling a disk by
/// accident of one small archive.
#[derive(Debug, Clone)]
pub struct ImportLimits {
    /// Bytes of one stored blob.
    pub blob_bytes: u64,
    /// Bytes of a manifest, index or config.
    pub metadata_bytes: u64,
    /// Entries of an archive.
    pub archive_entries: u64,
    /// Layers of an image.
    pub layers: usize,
    /// Bytes of one layer unpacked.
    pub layer_bytes: u64,
    /// Files, directories and links of one layer.
    pub layer_entries: u64,
}

impl Default for ImportLimits {
    fn default() -> Self {
        ImportLimits {
            blob_bytes: 16 << 30,
            metadata_bytes: 4 << 20,
            archive_entries: 100_000,
            layers: 127,
            layer_bytes: 32 << 30,
            layer_entries: 4_000_000,
        }
    }
}
