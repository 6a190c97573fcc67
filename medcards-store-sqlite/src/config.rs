use std::path::{Path, PathBuf};

use medcards_core::{Error, ErrorKind, Result};

/// How a [`SqliteStore`](crate::SqliteStore) is opened.
///
/// ```
/// use medcards_store_sqlite::{Durability, SqliteConfig};
///
/// let config = SqliteConfig::new("medcards.sqlite").with_durability(Durability::Normal);
/// ```
#[derive(Clone, Debug)]
pub struct SqliteConfig {
    path: PathBuf,
    durability: Durability,
    readers: u32,
    case_cache_bytes: u64,
    size_max_bytes: Option<u64>,
}

/// What an acknowledged write survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "power is lost or it is not")]
pub enum Durability {
    /// A crash of the machine, and the loss of power (`synchronous=FULL`).
    #[default]
    Full,
    /// A crash of the process. The last writes before a loss of power may be gone, whole and from
    /// the end, never in part (`synchronous=NORMAL`).
    Normal,
}

impl SqliteConfig {
    /// The most readers: each is a thread with a page cache of 2 MB.
    pub const READERS_MAX: u32 = 64;

    /// Describes the store in this file, which is made if it is missing.
    ///
    /// The folder must exist and be on a disk of this machine: SQLite's write-ahead log needs
    /// shared memory, which network file systems do not have.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            durability: Durability::default(),
            readers: 4,
            case_cache_bytes: 32 * 1024 * 1024,
            size_max_bytes: None,
        }
    }

    /// Sets what an acknowledged write survives. Default: [`Durability::Full`].
    #[must_use]
    pub fn with_durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Sets how many reads run at once, 1 to [`Self::READERS_MAX`]. Default: 4.
    #[must_use]
    pub fn with_readers(mut self, readers: u32) -> Self {
        self.readers = readers;
        self
    }

    /// Sets the size of the cache of case versions, in bytes of their JSON. Default: 32 MiB.
    #[must_use]
    pub fn with_case_cache_bytes(mut self, bytes: u64) -> Self {
        self.case_cache_bytes = bytes;
        self
    }

    /// Sets the size beyond which the file does not grow: writes then fail as on a full disk.
    /// Default: no limit but the disk.
    #[must_use]
    pub fn with_size_max_bytes(mut self, bytes: u64) -> Self {
        self.size_max_bytes = Some(bytes);
        self
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn durability(&self) -> Durability {
        self.durability
    }

    pub(crate) fn readers(&self) -> Result<u32> {
        if (1..=Self::READERS_MAX).contains(&self.readers) {
            return Ok(self.readers);
        }
        let context = format!(
            "readers must be 1 to {}, not {}",
            Self::READERS_MAX,
            self.readers
        );
        Err(Error::new(ErrorKind::Invalid, "open store", context))
    }

    pub(crate) fn case_cache_bytes(&self) -> u64 {
        self.case_cache_bytes
    }

    pub(crate) fn size_max_bytes(&self) -> Option<u64> {
        self.size_max_bytes
    }
}
